"""Can everybody who must have a second factor set one up?"""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding


def second_factor(auth: Auth) -> Iterator[Finding]:
    """``AUTH["REQUIRE_2FA"]`` without a factor to enrol keeps people out for good."""
    if auth.settings.require_2fa is False:
        return
    if not any(factor.enrol_path for factor in auth.second_factors.values()):
        yield Finding(
            "second_factor",
            "error",
            f'AUTH["REQUIRE_2FA"] is {auth.settings.require_2fa!r}, but no plugin has a second factor that '
            "people can set up: whoever has none cannot log in.",
            "Install asok-totp, or set REQUIRE_2FA to False.",
        )
