"""``user.can``, ``user.explain`` and their awaitable twins."""

from __future__ import annotations

import logging

from asok.admin import rbac as asok_rbac
from asok.context import request_var

from ...errors import ConfigurationError
from ...flows.permissions import Explanation
from ...types import User
from .app_auth import AppAuth, app_auth_of, app_auth_of_user
from .permissions import user_can, user_explain
from .threads import in_thread

logger = logging.getLogger("asok_auth")


def can(self: User, permission: str, resource: object = None) -> bool:
    """True if this user has ``permission`` (for ``resource``)."""
    try:
        app_auth = _app_auth(self)
    except ConfigurationError as error:
        logger.error("user.can(%r) is False outside of a request: %s", permission, error)
        return False
    if app_auth is None:
        return bool(asok_rbac._user_can(self, permission))
    return user_can(app_auth, request_var.get(), self, permission, resource)


def explain(self: User, permission: str, resource: object = None) -> Explanation:
    """The verdict of ``can`` with the same arguments, and the reasons for it."""
    try:
        app_auth = _app_auth(self)
    except ConfigurationError as error:
        return Explanation(permission, allowed=False, note=error.message)
    if app_auth is None:
        raise AttributeError("explain() needs app.register_extension(AuthExtension()) in this app.")
    return user_explain(app_auth, request_var.get(), self, permission, resource)


async def acan(self: User, permission: str, resource: object = None) -> bool:
    """``can`` without blocking the event loop."""
    return await in_thread(can, self, permission, resource)


async def aexplain(self: User, permission: str, resource: object = None) -> Explanation:
    """``explain`` without blocking the event loop."""
    return await in_thread(explain, self, permission, resource)


METHODS = {"can": can, "explain": explain, "acan": acan, "aexplain": aexplain}


def has_own_can(model: type) -> bool:
    """True if the app's model has a ``can`` method of its own."""
    return getattr(model, "can", None) not in (None, can, asok_rbac._user_can)


def _app_auth(user: User) -> AppAuth | None:
    """The app of the current request, else the one that ``user`` belongs to, or None."""
    request = request_var.get()
    return app_auth_of_user(user) if request is None else app_auth_of(request)
