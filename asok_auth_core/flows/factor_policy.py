"""Which users have a second factor, and which must have one: ``AUTH["REQUIRE_2FA"]``."""

from __future__ import annotations

from ..auth import Auth
from ..contracts import SecondFactor
from ..types import User
from .permissions import permissions_of


def enrolled_factors(auth: Auth, user: User) -> dict[str, SecondFactor]:
    """The user's second factors, by name. An error in any of them denies the login."""
    return {name: factor for name, factor in auth.second_factors.items() if factor.is_enrolled(user)}


def second_factor_required(auth: Auth, user: User) -> bool:
    """True if ``user`` must not log in without a second factor.

    If the setting is a pattern, it applies to users who have a permission that it matches, or may have
    one because a plugin failed to answer.
    """
    policy = auth.settings.require_2fa
    if isinstance(policy, bool):
        return policy
    held = permissions_of(auth, user)
    return bool(held.failed) or held.permissions.covers_any(policy)
