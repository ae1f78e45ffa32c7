"""What support staff ask about an account; nothing in it is a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..auth import Auth
from ..errors import AuthError, StoreError
from ..types import SessionRecord, User
from .api_tokens import ApiToken, ApiTokens
from .factor_index import kept_names
from .linking import LinkedIdentity, linked
from .plugin_faults import Part, verdict
from .recovery_codes import recovery_codes_left
from .sessions import sessions_of
from .trusted_devices import trusted_devices
from .verified_emails import verified_emails

AVAILABLE, MISSING, UNKNOWN = "available", "missing", "unknown"
"""A login method or second factor works; no loaded plugin provides it; its plugin failed."""


@dataclass(frozen=True, slots=True)
class AccountOverview:
    """How a user can log in, and what the account has.

    ``login_methods`` and ``second_factors`` map names to ``available``, ``missing`` or ``unknown``.
    """

    id: str
    email: str | None
    active: bool
    email_verified: bool
    verified_emails: list[str]
    login_methods: dict[str, str]
    identities: list[LinkedIdentity]
    second_factors: dict[str, str]
    recovery_codes_left: int
    api_tokens: list[ApiToken]
    sessions: list[SessionRecord]
    trusted_browsers: int


def account_overview(auth: Auth, user: User) -> AccountOverview:
    """All of it, as it is now. Raises StoreUnavailable."""
    email, verified = auth.users.email_of(user), verified_emails(auth, user)
    return AccountOverview(
        id=str(user.id),
        email=email,
        active=auth.users.is_active(user),
        email_verified=email in verified,
        verified_emails=verified,
        login_methods=_login_methods(auth, user),
        identities=linked(auth, user),
        second_factors=_second_factors(auth, user),
        recovery_codes_left=recovery_codes_left(auth, user),
        api_tokens=ApiTokens(auth).list(str(user.id)),
        sessions=sessions_of(auth, user),
        trusted_browsers=len(trusted_devices(auth, user)),
    )


def _login_methods(auth: Auth, user: User) -> dict[str, str]:
    asked = {name: _asked(auth, one, one.can_log_in, user) for name, one in auth.login_methods.items()}
    return {name: state for name, state in asked.items() if state is not None}


def _second_factors(auth: Auth, user: User) -> dict[str, str]:
    """The user's second factors, by the index or their own answers; no backups."""
    kept = kept_names(auth, str(user.id))
    asked = {
        name: AVAILABLE if name in kept else _asked(auth, one, one.is_enrolled, user)
        for name, one in auth.second_factors.items()
        if not one.backup
    }
    states = {name: state for name, state in asked.items() if state is not None}
    return states | dict.fromkeys(sorted(kept - auth.second_factors.keys()), MISSING)


def _asked(auth: Auth, part: Part, call: Callable[[User], bool], user: User) -> str | None:
    """The state to show; None if the answer is no."""
    try:
        answer = verdict(auth, part, call, user)
    except StoreError:
        raise
    except AuthError:
        answer = None
    return {True: AVAILABLE, False: None, None: UNKNOWN}[answer]
