"""Check that users who need a second factor can set one up."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding


def second_factor(auth: Auth) -> Iterator[Finding]:
    """Report ``AUTH["REQUIRE_2FA"]`` without any factor that users can enroll in."""
    if auth.settings.require_2fa is False:
        return
    if not any(factor.enrol_path for factor in auth.second_factors.values()):
        yield Finding(
            "second_factor",
            "error",
            f'AUTH["REQUIRE_2FA"] is {auth.settings.require_2fa!r}, but no plugin has a second factor that '
            "users can set up: users without one cannot log in.",
            "Install asok-totp, or set REQUIRE_2FA to False.",
        )
