"""What support staff may do to the accounts of other users.

Nobody changes the account of a user who may do more than they may themselves: whoever takes the second factor
off an administrator's account is halfway into it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..auth import Auth
from ..errors import PermissionDenied
from ..types import User
from ..web import WebRequest
from .account_overview import AccountOverview, account_overview
from .account_status import disable_account, enable_account
from .api_tokens import ApiTokens
from .current_user import require_session_login
from .linking import unlink
from .permissions import can, permissions_in, permissions_of, require
from .recent_login import require_recent_login
from .second_factor import reset_factors
from .sessions import end_session_of, end_sessions
from .trusted_devices import forget_devices

VIEW, CHANGE = "auth.support.view", "auth.support.change"
"""The permissions to see how users log in, and to change it."""


def supports(auth: Auth, request: WebRequest) -> bool:
    """True if the current user may open the support pages of this app."""
    return auth.settings.support_pages and can(auth, request, VIEW)


def require_viewer(auth: Auth, request: WebRequest) -> User:
    """The current user, who may see how others log in.

    Raises LoginRequired and PermissionDenied, for an API token and during impersonation too.
    """
    require_session_login(request)
    return require(auth, request, VIEW)


def view_account(auth: Auth, request: WebRequest, user: User) -> AccountOverview:
    """How ``user`` can log in, for the current user, who is told to observers.

    Raises what ``require_viewer`` raises, and StoreUnavailable.
    """
    staff = require_viewer(auth, request)
    auth.events.emit("support.viewed", user=user, client_ip=request.client_ip, staff=str(staff.id))
    return account_overview(auth, user)


def may_change(auth: Auth, request: WebRequest, user: User) -> bool:
    """True if the current user may change the account of ``user``.

    False for their own, for which there is the account page; without the permission; and if ``user`` may do
    something that they may not, or if what ``user`` may do could not be found out.
    """
    staff = require_session_login(request)
    if str(staff.id) == str(user.id):
        return False
    held, others = permissions_in(auth, request, staff), permissions_of(auth, user)
    covers = not others.failed and all(held.permissions.allows(one.pattern) for one in others.permissions)
    return covers and can(auth, request, CHANGE)


def change_account(auth: Auth, request: WebRequest, user: User, action: str, item: str = "") -> None:
    """Change the account of ``user`` as support staff.

    ``action`` is a key of :data:`ACTIONS`; ``item`` is the id of a session, token or identity, or the name of
    a second factor. An item that is gone is no error. Each action emits ``support.acted``, beside the event
    of what it did.

    Raises LoginRequired, RecentLoginRequired, PermissionDenied, OAuthError if the identity is the user's last
    login method, ConfigurationError if the app's accounts cannot be disabled, StoreUnavailable; KeyError for
    an unknown action.
    """
    act = ACTIONS[action]
    staff = require_recent_login(auth, request)
    require(auth, request, CHANGE)
    if not may_change(auth, request, user):
        raise PermissionDenied(
            "You cannot change this account: it is your own, or its user may do more than you may."
        )
    act(auth, user, item)
    auth.events.emit(
        "support.acted", user=user, client_ip=request.client_ip, staff=str(staff.id), action=action
    )


def _end_session(auth: Auth, user: User, item: str) -> None:
    end_session_of(auth, item, user_id=str(user.id))


def _end_sessions(auth: Auth, user: User, item: str) -> None:
    end_sessions(auth, user)
    auth.events.emit("sessions.ended", user=user)


def _revoke_token(auth: Auth, user: User, item: str) -> None:
    ApiTokens(auth).revoke_id(str(user.id), item)


def _unlink(auth: Auth, user: User, item: str) -> None:
    unlink(auth, user, item)


def _reset_factor(auth: Auth, user: User, item: str) -> None:
    reset_factors(auth, user, item)


def _forget_browsers(auth: Auth, user: User, item: str) -> None:
    forget_devices(auth, user)


def _disable(auth: Auth, user: User, item: str) -> None:
    disable_account(auth, user)


def _enable(auth: Auth, user: User, item: str) -> None:
    enable_account(auth, user)


ACTIONS: dict[str, Callable[[Auth, User, str], None]] = {
    "end-session": _end_session,
    "end-sessions": _end_sessions,
    "revoke-token": _revoke_token,
    "unlink": _unlink,
    "reset-factor": _reset_factor,
    "forget-browsers": _forget_browsers,
    "disable": _disable,
    "enable": _enable,
}
"""What support staff can do, by name."""
