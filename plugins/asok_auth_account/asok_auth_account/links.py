"""The secret part of a mailed link, of which only a digest is stored."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from urllib.parse import quote

from asok_auth_core.plugin import Auth, WebRequest, digest

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
        """The token in a link; None for any text but what :attr:`text` returns."""
        owner, _, secret = text.partition(".")
        try:
            found = cls(bytes.fromhex(owner).decode(), secret)
        except ValueError:
            return None
        return found if owner and secret and found.text == text else None

    @property
    def text(self) -> str:
        """The token as it stands in a link."""
        return f"{self.owner.encode().hex()}.{self.secret}"

    @property
    def digest(self) -> str:
        """What is stored of the secret."""
        return digest(self.secret)

    def matches(self, stored: str) -> bool:
        """True if ``stored`` is the digest of the secret."""
        return hmac.compare_digest(self.digest, stored)


def with_token(path: str, token: str) -> str:
    """``path`` with ``token`` in its query: frameworks log the path of every request."""
    return f"{path}?token={quote(token, safe='')}"


def token_of(request: WebRequest) -> str:
    """The token in the link that was opened, or in the form on its page."""
    return request.query.get("token", "")


def action_of(request: WebRequest) -> str:
    """Where the form on the page of a link is sent."""
    return with_token(request.path, token_of(request))
