"""The request that is being handled, for code that is not passed one.

Such as observers and policies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..auth import Auth
from ..web import WebRequest

_handled: ContextVar[tuple[Auth, WebRequest] | None] = ContextVar("asok_auth_request", default=None)


def current_request(auth: Auth) -> WebRequest | None:
    """The request in which the calling code runs.

    None in a job, a command or a thread of its own. For observers and policies, whose hooks are not passed
    the request: ``asok_auth_event`` and ``asok_auth_before_login``.
    """
    handled = _handled.get()
    if handled is not None and handled[0] is auth:
        return handled[1]
    return auth.find_request()


@contextmanager
def handling(auth: Auth, request: WebRequest) -> Iterator[None]:
    """Make ``request`` the current one of ``auth``."""
    token = _handled.set((auth, request))
    try:
        yield
    finally:
        _handled.reset(token)
