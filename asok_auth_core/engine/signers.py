"""Signers for JWS: HS256, EdDSA with Ed25519, and ES256."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .encoding import b64url_encode
from .signer import Signer

MIN_KEY_BYTES = 32

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ECDSA_SHA256 = ec.ECDSA(SHA256())

SignerFactory = Callable[[bytes], Signer]
"""Makes a signer from 32 bytes of key material."""


class HS256(Signer):
    """HMAC with SHA-256 (RFC 2104; RFC 7518, 3.2). The key has at least 32 bytes."""

    algorithm = "HS256"

    def __init__(self, material: bytes) -> None:
        if len(material) < MIN_KEY_BYTES:
            raise ValueError(f"An HS256 key needs at least {MIN_KEY_BYTES} bytes, got {len(material)}.")
        # Set up once: copying it costs less than setting up an HMAC for each message.
        self._hmac = hmac.new(material, digestmod="sha256")

    def sign(self, message: bytes) -> bytes:
        """32 bytes."""
        mac = self._hmac.copy()
        mac.update(message)
        return mac.digest()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """True only for the whole HMAC, not a truncated one (RFC 2104, section 5)."""
        return hmac.compare_digest(self.sign(message), signature)

    def verify_encoded(self, message: bytes, signature: bytes) -> bool:
        """Compare the encoded forms: encoding one is cheaper than decoding the other."""
        return hmac.compare_digest(b64url_encode(self.sign(message)), signature)


class EdDSA(Signer):
    """Ed25519 (RFC 8032, RFC 8037). ``material`` is the 32-byte private seed."""

    algorithm = "EdDSA"

    def __init__(self, material: bytes) -> None:
        self._private = ed25519.Ed25519PrivateKey.from_private_bytes(material)
        self._public = self._private.public_key()

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """See :func:`verify_ed25519`."""
        return verify_ed25519(self._public, message, signature)

    def public_jwk(self) -> dict[str, str]:
        """An ``OKP`` key (RFC 8037, section 2)."""
        x = b64url_encode(self._public.public_bytes_raw()).decode()
        return {"kty": "OKP", "crv": "Ed25519", "x": x}


class ES256(Signer):
    """ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).

    The private scalar is derived from ``material`` with 64 bits more than the group order has, as
    FIPS 186-5, appendix A.2.1, requires, so that its bias is negligible.
    """

    algorithm = "ES256"

    def __init__(self, material: bytes) -> None:
        if len(material) < MIN_KEY_BYTES:
            raise ValueError(f"An ES256 key needs at least {MIN_KEY_BYTES} bytes, got {len(material)}.")
        wide = HKDFExpand(algorithm=SHA256(), length=40, info=b"asok-auth-core/1/P-256 scalar").derive(
            material
        )
        scalar = int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1
        self._private = ec.derive_private_key(scalar, ec.SECP256R1())
        self._public = self._private.public_key()

    def sign(self, message: bytes) -> bytes:
        """64 bytes: r and s, 32 bytes each, big-endian."""
        r, s = decode_dss_signature(self._private.sign(message, _ECDSA_SHA256))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def verify(self, message: bytes, signature: bytes) -> bool:
        """See :func:`verify_p256`."""
        return verify_p256(self._public, message, signature)

    def public_jwk(self) -> dict[str, str]:
        """An ``EC`` key (RFC 7518, section 6.2.1)."""
        point = self._public.public_numbers()
        x, y = (b64url_encode(value.to_bytes(32, "big")).decode() for value in (point.x, point.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


SIGNERS: Mapping[str, SignerFactory] = MappingProxyType({"HS256": HS256, "EdDSA": EdDSA, "ES256": ES256})
"""The built-in signers by algorithm name."""


def verify_ed25519(key: ed25519.Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
    """True for an Ed25519 signature of ``message``: 64 bytes, s below the order."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def verify_p256(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    """True if ``signature`` is r and s of ``message``, 32 bytes each; no DER."""
    if len(signature) != 64:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        return False
    try:
        key.verify(encode_dss_signature(r, s), message, _ECDSA_SHA256)
    except InvalidSignature:
        return False
    return True
