"""The interface of token signers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from .encoding import b64url_decode


class Signer(ABC):
    """Signs and verifies with one key, made from 32 bytes of key material.

    ``algorithm`` is the JWS ``alg`` value (RFC 7518 section 3.1, RFC 8037 section 3.1).
    """

    algorithm: ClassVar[str]

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``."""

    @abstractmethod
    def verify(self, message: bytes, signature: bytes) -> bool:
        """True only for the exact signature of ``message``; takes constant time."""

    def verify_encoded(self, message: bytes, signature: bytes) -> bool:
        """Like :meth:`verify`, for a signature in canonical base64url only."""
        try:
            decoded = b64url_decode(signature)
        except ValueError:
            return False
        return self.verify(message, decoded)

    def public_jwk(self) -> dict[str, str] | None:
        """The public key as a JWK (RFC 7517) without ``kid``; None if symmetric."""
        return None
