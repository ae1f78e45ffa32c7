"""Who has a second factor, and who must have one: ``AUTH["REQUIRE_2FA"]``."""

from __future__ import annotations

from ..auth import Auth
from ..contracts import SecondFactor
from ..types import User
from .permissions import permissions_of


def enrolled_factors(auth: Auth, user: User) -> dict[str, SecondFactor]:
    """The second factors ``user`` has, by name. An error in any of them denies the login."""
    return {name: factor for name, factor in auth.second_factors.items() if factor.is_enrolled(user)}


def second_factor_required(auth: Auth, user: User) -> bool:
    """True if ``user`` may not be let in without a second factor.

    With a pattern: if any permission that the pattern matches is granted to the user. A plugin that
    cannot say what it grants may have granted one, so then it is required too.
    """
    policy = auth.settings.require_2fa
    if isinstance(policy, bool):
        return policy
    held = permissions_of(auth, user)
    return bool(held.failed) or held.permissions.covers_any(policy)
