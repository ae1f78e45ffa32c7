"""A provider's public keys (RFC 7517) that may verify signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ..errors import IDTokenInvalid, OAuthError
from ..types import JSON
from .encoding import b64url_decode
from .message import read_object

MIN_RSA_BITS = 2048
MIN_EXPONENT = 65537
MAX_KEYS = 100

PublicKey = RSAKey | ECKey | OKPKey

_MEMBERS: Mapping[str, tuple[type[RSAKey] | type[ECKey] | type[OKPKey], tuple[str, ...]]] = {
    "RSA": (RSAKey, ("n", "e")),
    "EC": (ECKey, ("crv", "x", "y")),
    "OKP": (OKPKey, ("crv", "x")),
}
"""Public members of each key type. Symmetric keys (``oct``) are never accepted."""

ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None), "RS384": ("RSA", None), "RS512": ("RSA", None),
    "PS256": ("RSA", None), "PS384": ("RSA", None), "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "Ed25519": ("OKP", "Ed25519"),
}  # fmt: skip
"""Algorithms that ID tokens may be signed with, and the key type and curve each one needs."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key and what its owner declares about its use."""

    key: PublicKey | None = field(repr=False)
    """None for a key that is too weak to use."""
    kty: str
    kid: str | None = None
    alg: str | None = None
    crv: str | None = None


def read_key_set(body: bytes) -> tuple[SigningKey, ...]:
    """The keys of a JWK set that may verify signatures (RFC 7517, section 5).

    Raises OAuthError ``oauth_reply`` if it is not a key set.
    """
    keys = read_object(body).get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise OAuthError("The provider's keys could not be read. Please try again.", code="oauth_reply")
    found = (_read_key(entry) for entry in keys if isinstance(entry, dict))
    return tuple(key for key in found if key is not None)


def choose(keys: Sequence[SigningKey], *, kid: str | None, alg: str) -> PublicKey:
    """The key that ``kid`` and ``alg`` select; ``kid`` is only compared.

    Without ``kid`` exactly one key must match. Raises IDTokenInvalid:
    ``oauth_key_unknown`` or ``oauth_key_weak``.
    """
    kty, crv = ALGORITHMS[alg]
    matching = [
        key
        for key in keys
        if key.kty == kty and (crv is None or key.crv == crv) and key.alg in (None, alg)
        and (kid is None or key.kid == kid)
    ]  # fmt: skip
    if len(matching) != 1:
        raise IDTokenInvalid(
            "The provider signed this login with a key it does not publish.", code="oauth_key_unknown"
        )
    key = matching[0].key
    if key is None:
        raise IDTokenInvalid(
            "The provider signed this login with a key that is too short to be safe.", code="oauth_key_weak"
        )
    return key


def _read_key(entry: Mapping[str, JSON]) -> SigningKey | None:
    kty, kid, alg, crv = (entry.get(name) for name in ("kty", "kid", "alg", "crv"))
    operations = entry.get("key_ops")
    if not isinstance(kty, str) or kty not in _MEMBERS or entry.get("use", "sig") != "sig":
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    kind, names = _MEMBERS[kty]
    members = {name: value for name in names if isinstance(value := entry.get(name), str)}
    if len(members) != len(names):
        return None
    try:
        # Checked before the import: the library only warns of a short key.
        key = None if kty == "RSA" and _is_weak(members) else kind.import_key({"kty": kty, **members})
        if key is not None:
            _ = key.public_key
    except (JoseError, ValueError, TypeError):
        return None
    return SigningKey(
        key,
        kty,
        kid if isinstance(kid, str) else None,
        alg if isinstance(alg, str) else None,
        crv if isinstance(crv, str) else None,
    )


def _is_weak(members: Mapping[str, str]) -> bool:
    """True for an RSA key under 2,048 bits or with an exponent below 65,537."""
    modulus, exponent = (_number(members[name]) for name in ("n", "e"))
    return modulus.bit_length() < MIN_RSA_BITS or exponent < MIN_EXPONENT


def _number(text: str) -> int:
    return int.from_bytes(b64url_decode(text.encode()), "big")
