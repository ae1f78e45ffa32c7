"""Disable and enable accounts, for operators."""

from __future__ import annotations

from ..auth import Auth
from ..types import User
from .sessions import end_sessions, sessions_of


def disable_account(auth: Auth, user: User) -> int:
    """Disable the account of ``user``; return how many sessions ended for good.

    Pending logins and mailed links are void too; API tokens are suspended. Can be repeated. Raises
    ConfigurationError if accounts of this app cannot be disabled, StoreUnavailable.
    """
    sessions = len(sessions_of(auth, user))
    auth.users.set_active(user, False)
    # The framework may have told the core already, but then a store that fails is only logged.
    end_sessions(auth, user)
    auth.events.emit("account.disabled", user=user, sessions=sessions)
    return sessions


def enable_account(auth: Auth, user: User) -> None:
    """Enable the account of ``user``; API tokens work again, sessions do not.

    Raises ConfigurationError if accounts of this app cannot be enabled, StoreUnavailable.
    """
    auth.users.set_active(user, True)
    auth.events.emit("account.enabled", user=user)
