"""Make the screens of Asok's Admin check permissions like everything else.

``Admin`` is patched once per process; in an app without the extension, each patch does what Asok does.
"""

from __future__ import annotations

from asok.admin import Admin
from asok.context import request_var
from asok.request import Request

from ....errors import PermissionDenied
from ....flows.sessions import impersonate
from ....types import User
from ..app_auth import app_auth_on
from ..asok_names import original
from ..permissions import held_by, user_can
from ..users import AsokUsers
from .models import install_on_class

_ASOK_CAN = original(Admin, "_can")
_ASOK_MAY_ENTER = original(Admin, "_is_admin_or_has_roles")
_ASOK_MAY_LOG_IN = original(Admin, "_has_admin_access")
_ASOK_IMPERSONATE = original(Admin, "_maybe_apply_impersonation")
_ASOK_INJECT = original(Admin, "_inject_user_methods")
_ASOK_START = original(Admin, "_setup_impersonation")
_ASOK_STOP = original(Admin, "_stop_impersonate")

_VERBS = ("view", "add", "edit", "delete", "export")


def install_on_admin() -> None:
    """Replace the Admin's checks with ours. Idempotent."""
    Admin._can = _can
    Admin._is_admin_or_has_roles = _may_enter
    Admin._has_admin_access = _may_log_in
    Admin._maybe_apply_impersonation = _impersonate
    Admin._inject_user_methods = _inject
    Admin._setup_impersonation = _start
    Admin._stop_impersonate = _stop


def _inject(self: Admin) -> None:
    """Put our ``can`` back over the Admin's: a job has no request that would do so."""
    _ASOK_INJECT(self)
    if app_auth_on(self.app) is not None:
        install_on_class(AsokUsers(self.app).model)


def _can(self: Admin, request: Request, slug: str, verb: str) -> bool:
    """Check access to a screen or button; denials and scopes bind superusers too."""
    app_auth = app_auth_on(self.app)
    if app_auth is None:
        return bool(_ASOK_CAN(self, request, slug, verb))
    return user_can(app_auth, request, request.user, f"{slug}.{verb}")


def _may_enter(self: Admin, user: User | None) -> bool:
    """Admit users with a role, as Asok does, and users with a plugin's grant there.

    Reject scoped API tokens, because some screens check nothing but ``is_admin``.
    """
    app_auth = app_auth_on(self.app)
    if app_auth is None or user is None:
        return bool(_ASOK_MAY_ENTER(self, user))
    held = held_by(app_auth, request_var.get(), user)
    if held.scopes is not None and not held.scopes.allows("*"):
        return False
    return bool(_ASOK_MAY_ENTER(self, user)) or _holds_something(self, user)


def _may_log_in(self: Admin, user: User | None) -> bool:
    return bool(_ASOK_MAY_LOG_IN(self, user)) or _holds_something(self, user)


def _impersonate(self: Admin, request: Request) -> None:
    """Name the impersonator of the session record; Asok checks only its own session."""
    app_auth = app_auth_on(self.app)
    if app_auth is None:
        _ASOK_IMPERSONATE(self, request)
        return
    current = app_auth.current(request)
    if current.impersonator is not None:
        request.impersonator = current.impersonator


def _start(self: Admin, request: Request, impersonator: User, target: User, model: str) -> None:
    """Store the impersonation in the session record, then redirect as Asok does."""
    app_auth = app_auth_on(self.app)
    if app_auth is not None:
        auth, record = app_auth.auth, app_auth.current(request).record
        if record is None or record.user_id != str(impersonator.id):
            raise PermissionDenied("Log in with this browser to impersonate users. An API token cannot.")
        if not auth.users.is_active(target):
            raise PermissionDenied("This account is disabled, so nobody can impersonate its user.")
        impersonate(auth, record, str(target.id))
    _ASOK_START(self, request, impersonator, target, model)


def _stop(self: Admin, request: Request) -> None:
    app_auth = app_auth_on(self.app)
    record = None if app_auth is None else app_auth.current(request).record
    if app_auth is not None and record is not None:
        impersonate(app_auth.auth, record, None)
    _ASOK_STOP(self, request)


def _holds_something(admin: Admin, user: User | None) -> bool:
    app_auth = app_auth_on(admin.app)
    if app_auth is None or user is None:
        return False
    permissions = held_by(app_auth, request_var.get(), user).permissions
    return any(permissions.allows(f"{slug}.{verb}") for slug in admin._registered for verb in _VERBS)
