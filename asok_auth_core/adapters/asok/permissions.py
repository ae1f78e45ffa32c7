"""The permissions of an app's users, looked up once per request."""

from __future__ import annotations

from asok.request import Request

from ...flows.permissions import Explanation, Held, can, explain, permissions_of
from ...types import User
from .app_auth import AppAuth, app_auth_of

_HELD = "asok_auth.held"


def held_by(app_auth: AppAuth, request: Request | None, user: User) -> Held:
    """The permissions of ``user``; plugins are called once per user and request.

    The owner of the request's API token has no more than the token's scopes.
    """
    if request is None or app_auth_of(request) is not app_auth:
        return permissions_of(app_auth.auth, user)
    # Keep a reference to the user, so that its id() is not reused during the request.
    known: dict[int, tuple[User, Held]] = request.environ.setdefault(_HELD, {})
    if id(user) not in known:
        current = app_auth.current_user(request)
        same = current is not None and (current is user or str(current.id) == str(user.id))
        scopes = app_auth.web_request(request).scopes if same else None
        known[id(user)] = user, permissions_of(app_auth.auth, user, scopes)
    return known[id(user)][1]


def user_can(
    app_auth: AppAuth,
    request: Request | None,
    user: User | None,
    permission: str,
    resource: object = None,
) -> bool:
    """True if ``user`` has ``permission`` (for ``resource``); False without a user."""
    if user is None:
        return False
    return can(app_auth.auth, user, permission, resource, held=held_by(app_auth, request, user))


def user_explain(
    app_auth: AppAuth,
    request: Request | None,
    user: User | None,
    permission: str,
    resource: object = None,
) -> Explanation:
    """The verdict of :func:`user_can`, and the reasons for it."""
    held = None if user is None else held_by(app_auth, request, user)
    return explain(app_auth.auth, user, permission, resource, held=held)
