"""``AUTH["TOTP"]``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .totp import Parameters


class TotpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """Settings of the authenticator app factor.

    All but ``DRIFT`` apply to new enrollments only.
    """

    issuer: str | None = None
    """The name shown in the authenticator app; None: ``AUTH["APP_NAME"]``."""
    algorithm: Literal["SHA1", "SHA256", "SHA512"] = "SHA1"
    """Every authenticator app supports ``SHA1``."""
    digits: Literal[6, 8] = 6
    drift: Annotated[int, Meta(ge=0, le=10)] = 1
    """Time steps of 30 seconds that a user's clock may be off, either way."""
    enrolment_lifetime: Annotated[int, Meta(ge=60, le=86_400)] = 900
    """Seconds within which a new secret must be confirmed with a code."""

    @property
    def parameters(self) -> Parameters:
        """The code parameters of new enrollments."""
        return Parameters(self.algorithm, self.digits)
