"""What logins in progress have in common: their cookie and what they keep."""

from __future__ import annotations

import msgspec
from msgspec.structs import asdict

from ..auth import Auth
from ..types import Identity, LoginAttempt, Newcomer, Proof, User
from ..web import WebRequest


def pending_cookie(request: WebRequest) -> str:
    """The name of a pending login's cookie.

    ``__Host-`` keeps other hosts of the domain from setting it.
    """
    return "__Host-asok_auth_login" if request.secure else "asok_auth_login"


def login_attempt(auth: Auth, request: WebRequest, user: User | Newcomer, proof: Proof) -> LoginAttempt:
    """What plugins are told about a login that happens now."""
    return LoginAttempt(user, proof.method, request.client_ip, auth.clock(), proof.identity, proof.trusted)


class StoredIdentity(msgspec.Struct, frozen=True):
    """An identity without the provider's raw answer, which is not needed to link it."""

    issuer: str
    subject: str
    provider: str
    email: str | None
    email_verified: bool
    name: str | None
    picture: str | None

    @classmethod
    def of(cls, identity: Identity) -> StoredIdentity:
        """``identity`` as it is kept."""
        return msgspec.convert(identity, cls, from_attributes=True)

    @property
    def identity(self) -> Identity:
        """The identity, without ``raw``."""
        return Identity(**asdict(self))
