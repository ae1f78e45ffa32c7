"""The secret part of a mailed link, of which only a digest is stored."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from asok_auth_core.plugin import Auth, digest

SECRET_BYTES = 24


@dataclass(frozen=True, slots=True)
class LinkToken:
    """What stands in a link. ``owner`` finds the row that the link is about."""

    owner: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls, auth: Auth, owner: str) -> LinkToken:
        """A token with a new secret."""
        return cls(owner, auth.random(SECRET_BYTES).hex())

    @classmethod
    def read(cls, text: str) -> LinkToken | None:
        """The token in a path; None if it is none of ours."""
        owner, _, secret = text.partition(".")
        try:
            return cls(bytes.fromhex(owner).decode(), secret) if owner and secret else None
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """The token as it stands in a path."""
        return f"{self.owner.encode().hex()}.{self.secret}"

    @property
    def digest(self) -> str:
        """What is stored of the secret."""
        return digest(self.secret)

    def matches(self, stored: str) -> bool:
        """True if ``stored`` is the digest of the secret."""
        return hmac.compare_digest(self.digest, stored)
