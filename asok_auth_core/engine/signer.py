"""The interface of token signers; plugins import it from :mod:`asok_auth_core.contracts`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from .encoding import b64url_decode


class Signer(ABC):
    """Signs and verifies with one key. A factory makes it from 32 bytes of key material.

    ``algorithm`` is the JWS ``alg`` value (RFC 7518 section 3.1, RFC 8037 section 3.1).
    """

    algorithm: ClassVar[str]

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``."""

    @abstractmethod
    def verify(self, message: bytes, signature: bytes) -> bool:
        """True only if ``signature`` is the whole, exact signature of ``message``; constant time."""

    def verify_encoded(self, message: bytes, signature: bytes) -> bool:
        """Like :meth:`verify`, for a signature in base64url; only its canonical form is accepted."""
        try:
            decoded = b64url_decode(signature)
        except ValueError:
            return False
        return self.verify(message, decoded)

    def public_jwk(self) -> dict[str, str] | None:
        """The public key as a JWK (RFC 7517) without ``kid``, or None for a symmetric key."""
        return None
