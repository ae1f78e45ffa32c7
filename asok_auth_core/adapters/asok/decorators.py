"""``@requires`` and ``@requires_recent_login`` for page handlers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from asok.context import request_var
from asok.request import Request

from ...engine.permissions import is_well_formed
from ...errors import ConfigurationError
from ...flows.permissions import require
from ...flows.recent_login import require_recent_login
from .app_auth import AppAuth, app_auth_of
from .threads import in_thread

P = ParamSpec("P")
R = TypeVar("R")


def requires(permission: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a handler only if the current user holds ``permission``.

    Otherwise it raises LoginRequired (401) without a user, else PermissionDenied (403); both
    become a page, or JSON below ``/api``. Raises ValueError at once if ``permission`` is malformed.
    An ``async`` handler stays async, and the check does not block the event loop.
    """
    if not is_well_formed(permission):
        raise ValueError(f'{permission!r} is not a permission; write one like "posts.edit".')

    def check(request: Request) -> None:
        app_auth = _app_auth(request)
        require(app_auth.auth, app_auth.web_request(request), permission)

    return lambda handler: _guarded(handler, check)


def requires_recent_login(handler: Callable[P, R]) -> Callable[P, R]:
    """Run a handler only within ``AUTH["RECENT_LOGIN"]`` seconds of a full login.

    Otherwise it raises LoginRequired (401) without a user, else RecentLoginRequired (403),
    with a link to log in again. An ``async`` handler stays async, and the check does not block the
    event loop.
    """

    def check(request: Request) -> None:
        app_auth = _app_auth(request)
        require_recent_login(app_auth.auth, app_auth.web_request(request))

    return _guarded(handler, check)


def _guarded(handler: Callable[P, R], check: Callable[[Request], None]) -> Callable[P, R]:
    """Run ``handler`` unless ``check`` raises; check in a thread if it is async."""
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def check_and_await(*arguments: P.args, **named: P.kwargs) -> object:
            await in_thread(check, _request_among(arguments, named))
            return await handler(*arguments, **named)

        return cast("Callable[P, R]", check_and_await)

    @functools.wraps(handler)
    def check_and_call(*arguments: P.args, **named: P.kwargs) -> R:
        check(_request_among(arguments, named))
        return handler(*arguments, **named)

    return check_and_call


def _request_among(arguments: tuple[object, ...], named: dict[str, object]) -> Request:
    for value in (*arguments, *named.values(), request_var.get()):
        if isinstance(value, Request):
            return value
    raise ConfigurationError(
        "There is no request to check. @requires and @requires_recent_login guard page handlers, whose "
        "first argument is the request."
    )


def _app_auth(request: Request) -> AppAuth:
    app_auth = app_auth_of(request)
    if app_auth is None:
        raise ConfigurationError(
            "A handler is guarded by @requires or @requires_recent_login, but this app has no "
            "AuthExtension, so access is denied. Add app.register_extension(AuthExtension()) to wsgi.py."
        )
    return app_auth
