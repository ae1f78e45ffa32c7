"""``@requires_recent_login`` for handlers of pages that change something that matters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar, cast

from asok.request import Request

from ...errors import ConfigurationError
from ...flows.recent_login import require_recent_login
from .app_auth import app_auth_of
from .threads import in_thread

H = TypeVar("H", bound=Callable[..., object])


def requires_recent_login(handler: H) -> H:
    """Run ``handler(request)`` only for who logged in, with all factors, within ``AUTH["RECENT_LOGIN"]``.

    Anybody else gets 401 (nobody is logged in) or 403 (too long ago) and a way to log in again.
    An ``async def`` stays one; the check does not hold up the event loop.
    """
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def checked_async(request: Request, *arguments: object, **named: object) -> object:
            await in_thread(_check, request)
            return await handler(request, *arguments, **named)

        return cast("H", checked_async)

    @functools.wraps(handler)
    def checked(request: Request, *arguments: object, **named: object) -> object:
        _check(request)
        return handler(request, *arguments, **named)

    return cast("H", checked)


def _check(request: Request) -> None:
    extension = app_auth_of(request)
    if extension is None:
        raise ConfigurationError("This app has no AuthExtension, so nobody's login can be recent.")
    require_recent_login(extension.auth, extension.web_request(request))
