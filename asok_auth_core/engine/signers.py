"""The signers the core brings: HS256, EdDSA and ES256 (RFC 7518 section 3, RFC 8037 section 3.1).

Each is made from 32 bytes of key material that belong to one purpose, so no key is ever stored.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .encoding import b64url_encode
from .signer import Signer

MATERIAL_BYTES = 32
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class HS256(Signer):
    """HMAC-SHA256 (RFC 2104) with both hash states prepared: a message costs two short hashes."""

    algorithm: ClassVar[str] = "HS256"

    def __init__(self, material: bytes) -> None:
        key = _checked(material).ljust(64, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER))
        self._outer = hashlib.sha256(key.translate(_OUTER))

    def sign(self, message: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def verify(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(message), signature)


class EdDSA(Signer):
    """Ed25519 (RFC 8032); the material is the private key."""

    algorithm: ClassVar[str] = "EdDSA"

    def __init__(self, material: bytes) -> None:
        self._private = ed25519.Ed25519PrivateKey.from_private_bytes(_checked(material))
        self._public = self._private.public_key()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def public_jwk(self) -> dict[str, str]:
        raw = self._public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "x": b64url_encode(raw).decode(),
        }


class ES256(Signer):
    """ECDSA on P-256 with SHA-256; signatures are r and s, 32 bytes each (RFC 7518 section 3.4)."""

    algorithm: ClassVar[str] = "ES256"

    def __init__(self, material: bytes) -> None:
        # 64 bytes before the reduction, so that no scalar is likelier than another (FIPS 186-5 A.2.1).
        wide = hashlib.sha512(b"asok-auth-core ES256 key" + _checked(material)).digest()
        scalar = int.from_bytes(wide, "big") % (P256_ORDER - 1) + 1
        self._private = ec.derive_private_key(scalar, ec.SECP256R1())
        self._public = self._private.public_key()

    def sign(self, message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(self._private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def verify(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != 64:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._public.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    def public_jwk(self) -> dict[str, str]:
        point = self._public.public_numbers()
        x, y = (b64url_encode(number.to_bytes(32, "big")).decode() for number in (point.x, point.y))
        return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "x": x, "y": y}


def _checked(material: bytes) -> bytes:
    if len(material) != MATERIAL_BYTES:
        raise ValueError(f"A signer needs {MATERIAL_BYTES} bytes of key material, got {len(material)}.")
    return material
