"""``can`` and ``explain`` for whoever a request is from, and ``requires`` for handlers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from asok.context import request_var
from asok.request import Request

from ...engine.permissions import is_well_formed
from ...errors import ConfigurationError
from ...flows.permissions import Explanation, Held, can, explain, permissions_of, require
from ...types import User
from .app_auth import app_auth_of
from .threads import in_thread

if TYPE_CHECKING:
    from .extension import AuthExtension

P = ParamSpec("P")
R = TypeVar("R")

_HELD = "asok_auth.held"


def held_by(extension: AuthExtension, request: Request | None, user: User) -> Held:
    """What ``user`` holds; the plugins are asked once for each user and request.

    The user whose API token the request came with holds no more than the token's scopes.
    """
    if request is None or app_auth_of(request) is not extension:
        return permissions_of(extension.auth, user)
    # Kept with the user, so that the id is not given to another object while the request lasts.
    known: dict[int, tuple[User, Held]] = request.environ.setdefault(_HELD, {})
    if id(user) not in known:
        current = extension.current_user(request)
        same = current is not None and (current is user or str(current.id) == str(user.id))
        scopes = extension.web_request(request).scopes if same else None
        known[id(user)] = user, permissions_of(extension.auth, user, scopes)
    return known[id(user)][1]


def user_can(
    extension: AuthExtension,
    request: Request | None,
    user: User | None,
    permission: str,
    resource: object = None,
) -> bool:
    """May ``user`` do this now?"""
    if user is None:
        return False
    return can(extension.auth, user, permission, resource, held=held_by(extension, request, user))


def user_explain(
    extension: AuthExtension,
    request: Request | None,
    user: User | None,
    permission: str,
    resource: object = None,
) -> Explanation:
    """What :func:`user_can` answers, and why."""
    held = None if user is None else held_by(extension, request, user)
    return explain(extension.auth, user, permission, resource, held=held)


def template_can(request: Request) -> Callable[..., bool]:
    """``can("posts.edit")`` in a template: may the person who asked for this page do it?"""
    extension = app_auth_of(request)
    assert extension is not None

    def can_here(permission: str, resource: object = None) -> bool:
        return user_can(extension, request, request.user, permission, resource)

    return can_here


def requires(permission: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a handler run only for somebody who may do ``permission``.

    Otherwise it raises LoginRequired (401) if nobody is logged in, PermissionDenied (403) if
    somebody is; both become a page, or JSON below ``/api``. The handler may be ``async``; then the
    check does not hold up the event loop. Raises ValueError at once if ``permission`` is not one.
    """
    if not is_well_formed(permission):
        raise ValueError(f'{permission!r} is not a permission; write one like "posts.edit".')

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(handler):

            @functools.wraps(handler)
            async def check_and_await(*arguments: P.args, **named: P.kwargs) -> object:
                request = _request_among(arguments, named)
                await in_thread(_check, request, permission)
                return await handler(*arguments, **named)

            return cast("Callable[P, R]", check_and_await)

        @functools.wraps(handler)
        def check_and_call(*arguments: P.args, **named: P.kwargs) -> R:
            _check(_request_among(arguments, named), permission)
            return handler(*arguments, **named)

        return check_and_call

    return decorate


def _request_among(arguments: tuple[object, ...], named: dict[str, object]) -> Request:
    for value in (*arguments, *named.values(), request_var.get()):
        if isinstance(value, Request):
            return value
    raise ConfigurationError("@requires guards handlers, whose first argument is the request.")


def _check(request: Request, permission: str) -> None:
    extension = app_auth_of(request)
    if extension is None:
        raise ConfigurationError(
            "@requires needs app.register_extension(AuthExtension()) in this app; nobody is let through."
        )
    user = request.user
    held = None if user is None else held_by(extension, request, user)
    require(extension.auth, user, permission, held=held)
