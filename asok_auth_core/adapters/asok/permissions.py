"""The permissions of an app's users, with or without a request."""

from __future__ import annotations

from asok.request import Request

from ...flows import permissions
from ...flows.permissions import Explanation, Held, permissions_in, permissions_of
from ...types import User
from .app_auth import AppAuth, app_auth_of


def held_by(app_auth: AppAuth, request: Request | None, user: User) -> Held:
    """The permissions of ``user``; in ``request`` if this app handles it."""
    if request is None or app_auth_of(request) is not app_auth:
        return permissions_of(app_auth.auth, user)
    return permissions_in(app_auth.auth, app_auth.web_request(request), user)


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
    held = held_by(app_auth, request, user)
    return permissions.user_can(app_auth.auth, user, permission, resource, held=held)


def user_explain(
    app_auth: AppAuth,
    request: Request | None,
    user: User | None,
    permission: str,
    resource: object = None,
) -> Explanation:
    """The verdict of :func:`user_can`, and the reasons for it."""
    held = None if user is None else held_by(app_auth, request, user)
    return permissions.user_explain(app_auth.auth, user, permission, resource, held=held)
