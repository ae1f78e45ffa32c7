"""``AUTH["TOTP"]``."""

from __future__ import annotations

import msgspec

from asok_auth_core.errors import SettingError
from asok_auth_core.settings import Settings

from .totp import ALGORITHMS, DIGITS, Parameters

SECTION = "TOTP"
MAX_DRIFT = 10


class TotpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """Settings of the authenticator app factor.

    Except for ``DRIFT``, they apply to new enrollments only.
    """

    issuer: str | None = None
    """The name shown in the authenticator app; None: ``AUTH["APP_NAME"]``."""
    algorithm: str = "SHA1"
    """``SHA1`` (supported by every app), ``SHA256`` or ``SHA512``."""
    digits: int = 6
    """6 or 8."""
    drift: int = 1
    """Time steps of 30 seconds that a user's clock may be off, either way."""
    enrolment_lifetime: int = 900
    """Seconds within which a new secret must be confirmed with a code."""

    @property
    def parameters(self) -> Parameters:
        """The code parameters of new enrollments."""
        return Parameters(self.algorithm, self.digits)


def read(settings: Settings) -> TotpSettings:
    """Read ``AUTH["TOTP"]``. Raises SettingError that names the key and its allowed values."""
    own = settings.section(TotpSettings, SECTION)
    for key, value, good, wanted in (
        ("ALGORITHM", own.algorithm, own.algorithm in ALGORITHMS, " or ".join(ALGORITHMS)),
        ("DIGITS", own.digits, own.digits in DIGITS, " or ".join(map(str, DIGITS))),
        ("DRIFT", own.drift, 0 <= own.drift <= MAX_DRIFT, f"0 to {MAX_DRIFT} time steps"),
        (
            "ENROLMENT_LIFETIME",
            own.enrolment_lifetime,
            60 <= own.enrolment_lifetime <= 86_400,
            "60 to 86400 s",
        ),
    ):
        if not good:
            raise SettingError(f'AUTH["{SECTION}"]["{key}"] must be {wanted}, got {value!r}.')
    return own
