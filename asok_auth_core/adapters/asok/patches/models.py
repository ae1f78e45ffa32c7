"""``user.can`` and ``user.explain`` on model classes, and the Admin's screens asking the same.

Asok loads a model file more than once, and each time a new class takes the registry's place. So the
methods are put on the class that is there when an app starts, on every class that later replaces one
that has them, and on the class of whoever a request is from. Model and Admin are changed once for the
process; each change looks for the app's extension and does what Asok does if there is none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

from asok.admin import Admin
from asok.admin import rbac as asok_rbac
from asok.context import request_var
from asok.orm import MODELS_REGISTRY, Model
from asok.request import Request

from ....flows.permissions import Explanation
from ....types import User
from ..app_auth import ATTRIBUTE, IMPERSONATOR_KEY, app_auth_of, latest
from ..permissions import held_by, user_can, user_explain
from ..threads import in_thread

logger = logging.getLogger("asok_auth")

_ASOK_ADMIN_CAN = Admin._can
_ASOK_MAY_ENTER = Admin._is_admin_or_has_roles
_ASOK_MAY_LOG_IN = Admin._has_admin_access
_ASOK_ACT_AS_ANOTHER = Admin._maybe_apply_impersonation
_TAKEN_OVER = ("roles", "role_ids")


def install_on_models() -> None:
    """Watch for model classes that replace others, and stand before the Admin's screens."""
    Model.__init_subclass__ = classmethod(cast("Callable[..., None]", _succeed))
    Admin._can = _admin_can
    Admin._is_admin_or_has_roles = _may_enter
    Admin._has_admin_access = _may_log_in
    Admin._maybe_apply_impersonation = _act_as_another


def install_on_class(model: type) -> None:
    """Put our methods on one model class. Doing it again changes nothing.

    The Admin's ``can`` is replaced; one that the app wrote itself is left alone, with a warning.
    """
    if getattr(model, "can", None) is _can:
        return
    if has_own_can(model):
        if not model.__dict__.get("_asok_auth_warned"):
            logger.warning("%s has its own can(); it is left in place.", model.__name__)
            model._asok_auth_warned = True  # type: ignore[attr-defined]
        return
    for name, method in (("can", _can), ("explain", _explain), ("acan", _acan), ("aexplain", _aexplain)):
        setattr(model, name, method)


def has_own_can(model: type) -> bool:
    """True if the app wrote a ``can`` of its own on this model."""
    return getattr(model, "can", None) not in (None, _can, asok_rbac._user_can)


def _succeed(cls: type[Model], **options: object) -> None:
    """A new class of the same name takes over what the Admin and we had put on the one before."""
    super(Model, cls).__init_subclass__(**options)
    before = MODELS_REGISTRY.get(cls.__name__)
    if before is None or before.__dict__.get("can") not in (_can, asok_rbac._user_can):
        return
    getter = getattr(before.__dict__.get("roles"), "fget", None)
    if getter is asok_rbac._user_roles_accessor:
        for name in _TAKEN_OVER:
            setattr(cls, name, before.__dict__[name])
        cls._relations.setdefault("roles", before._relations["roles"])
    install_on_class(cls)


def _can(self: User, permission: str, resource: object = None) -> bool:
    """May this user do ``permission`` (to ``resource``)?"""
    request = request_var.get()
    extension = app_auth_of(request) if request is not None else latest()
    if extension is None:
        return bool(asok_rbac._user_can(self, permission))
    return user_can(extension, request, self, permission, resource)


def _explain(self: User, permission: str, resource: object = None) -> Explanation:
    """What ``can`` answers to the same question, and why."""
    request = request_var.get()
    extension = app_auth_of(request) if request is not None else latest()
    if extension is None:
        raise AttributeError("explain() needs app.register_extension(AuthExtension()) in this app.")
    return user_explain(extension, request, self, permission, resource)


async def _acan(self: User, permission: str, resource: object = None) -> bool:
    """``can`` off the event loop."""
    return await in_thread(_can, self, permission, resource)


async def _aexplain(self: User, permission: str, resource: object = None) -> Explanation:
    """``explain`` off the event loop."""
    return await in_thread(_explain, self, permission, resource)


def _admin_can(self: Admin, request: Request, slug: str, verb: str) -> bool:
    """Each of the Admin's screens and buttons: superusers are subject to refusals and scopes too."""
    extension = getattr(self.app, ATTRIBUTE, None)
    if extension is None:
        return bool(_ASOK_ADMIN_CAN(self, request, slug, verb))
    return user_can(extension, request, request.user, f"{slug}.{verb}")


def _may_enter(self: Admin, user: User | None) -> bool:
    """Into the Admin: by role as Asok does, or by what a plugin grants there.

    Not with an API token of limited scopes: some screens ask for nothing but ``is_admin``.
    """
    extension = getattr(self.app, ATTRIBUTE, None)
    if extension is None or user is None:
        return bool(_ASOK_MAY_ENTER(self, user))
    held = held_by(extension, request_var.get(), user)
    if held.scopes is not None and not held.scopes.allows("*"):
        return False
    return bool(_ASOK_MAY_ENTER(self, user)) or _holds_something(self, user)


def _may_log_in(self: Admin, user: User | None) -> bool:
    return bool(_ASOK_MAY_LOG_IN(self, user)) or _holds_something(self, user)


def _act_as_another(self: Admin, request: Request) -> None:
    """Only with a session that is in force: Asok looks at nothing but what it wrote there."""
    extension = getattr(self.app, ATTRIBUTE, None)
    if extension is None or (
        IMPERSONATOR_KEY in request.session and extension.session_user(request) is not None
    ):
        _ASOK_ACT_AS_ANOTHER(self, request)


def _holds_something(admin: Admin, user: User | None) -> bool:
    extension = getattr(admin.app, ATTRIBUTE, None)
    if extension is None or user is None:
        return False
    permissions = held_by(extension, request_var.get(), user).permissions
    return any(permissions.allows(f"{slug}.{verb}") for slug in admin._registered for verb in _VERBS)


_VERBS = ("view", "add", "edit", "delete", "export")
