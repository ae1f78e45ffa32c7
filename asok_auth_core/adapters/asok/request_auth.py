"""``request.auth``: login methods and second factors, bound to the request."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from asok.request import Request

from ...engine.storable import storable
from .app_auth import AppAuth
from .threads import in_thread


def _storable(argument: object) -> object:
    return storable(argument) if isinstance(argument, str) else argument


class RequestAuth:
    """The object behind ``request.auth``."""

    def __init__(self, request: Request, app_auth: AppAuth) -> None:
        self._request = request
        self._app_auth = app_auth

    def __getattr__(self, name: str) -> BoundApi:
        auth = self._app_auth.auth
        part = auth.login_methods.get(name) or auth.second_factors.get(name)
        if part is None or part.api is None:
            names = sorted({*auth.login_methods, *auth.second_factors})
            raise AttributeError(
                f"request.auth has no {name!r}. Installed: {', '.join(names) or 'nothing'}. "
                "Run 'asok-auth plugins' to see what was found and why something is missing."
            )
        return BoundApi(part.api, self._request, self._app_auth)


class BoundApi:
    """A plugin's public functions, called with Asok's own request.

    The request may be the first argument, as Asok documents it, or be left out. ``asend`` is ``send``
    without blocking the event loop; every function has such a twin.
    """

    def __init__(self, api: object, request: Request, app_auth: AppAuth) -> None:
        self._api = api
        self._request = request
        self._app_auth = app_auth

    def __getattr__(self, name: str) -> Callable[..., object]:
        function = None if name.startswith("_") else getattr(self._api, name, None)
        if callable(function):
            return self._bind(function)
        function = getattr(self._api, name[1:], None) if name[:1] == "a" and name[1:2] != "_" else None
        if callable(function):
            return self._twin(self._bind(function))
        raise AttributeError(f"{type(self._api).__name__} has no {name!r}")

    def _bind(self, function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def call(*arguments: object, **named: object) -> object:
            request = named.pop("request", None)
            if arguments and isinstance(arguments[0], Request):
                request, *rest = arguments
                arguments = tuple(rest)
            asok_request = request if isinstance(request, Request) else self._request
            # What the page read from Asok's request is as the client sent it.
            texts = [_storable(argument) for argument in arguments]
            options = {name: _storable(argument) for name, argument in named.items()}
            return function(self._app_auth.web_request(asok_request), *texts, **options)

        return call

    @staticmethod
    def _twin(function: Callable[..., object]) -> Callable[..., Awaitable[object]]:
        @functools.wraps(function)
        async def call(*arguments: object, **named: object) -> object:
            return await in_thread(function, *arguments, **named)

        return call
