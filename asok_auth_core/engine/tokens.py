"""Signed tokens for one purpose each: JWS compact serialisation (RFC 7515 section 7.1).

A verifier never parses the header it is given. The header segment is looked up, byte for byte, in
the table of headers this key ring itself writes; what is not there is no token of ours, whatever
algorithm, key or URL it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from ..errors import TokenExpired, TokenMalformed, TokenSignatureInvalid
from ..types import Clock
from .encoding import b64url_decode, b64url_encode
from .keys import KeyRing
from .signer import Signer
from .signers import HS256

MAX_BYTES = 4096
LEEWAY = 60
"""Seconds by which another machine's clock may be ahead of ours."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every token says: when it was issued and when it ends, in seconds since the epoch."""

    iat: int
    exp: int | None = None


C = TypeVar("C", bound=Claims)


class TokenCodec(Generic[C]):
    """Signs and verifies the tokens of one purpose.

    ``signer`` writes; ``accept`` are further signers whose tokens verify too (after a change of
    algorithm). Each key of the ring and each signer has its own key: a token of one purpose,
    algorithm or key never passes for another's. ``prefix`` is put before the token, for secret
    scanners.
    """

    def __init__(
        self,
        *,
        purpose: str,
        claims: type[C],
        keys: KeyRing,
        clock: Clock,
        signer: Callable[[bytes], Signer] = HS256,
        accept: Iterable[Callable[[bytes], Signer]] = (),
        prefix: str = "",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._prefix = prefix
        self._max = max_bytes
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(claims, strict=True).decode
        self._signers: dict[bytes, Signer] = {}
        for factory in dict.fromkeys((signer, *accept)):
            algorithm = factory(bytes(32)).algorithm
            for material in keys.keys(f"token/{purpose}/{algorithm}"):
                made = factory(material)
                self._signers.setdefault(_header(made, material, purpose), made)
        self._header, self._signer = next(iter(self._signers.items()))

    def sign(self, claims: C) -> str:
        """``claims`` as a token under the newest key."""
        message = self._header + b"." + b64url_encode(self._encode(claims))
        return self._prefix + (message + b"." + b64url_encode(self._signer.sign(message))).decode()

    def verify(self, token: str) -> C:
        """The claims of a token of this purpose that is in force.

        Raises TokenMalformed, TokenSignatureInvalid, TokenExpired.
        """
        prefix = self._prefix
        if len(token) > self._max or not token.startswith(prefix) or not token.isascii():
            raise TokenMalformed("This is not a token of this app.")
        message, _, signature = token[len(prefix) :].encode().rpartition(b".")
        header, _, payload = message.partition(b".")
        signer = self._signers.get(header)
        if signer is None:
            raise TokenMalformed("This is not a token of this app, or its key has been retired.")
        try:
            genuine = signer.verify(message, b64url_decode(signature))
        except ValueError:
            raise TokenMalformed("This token is damaged.") from None
        if not genuine:
            raise TokenSignatureInvalid("This token was not signed by this app.")
        try:
            claims = self._decode(b64url_decode(payload))
        except (ValueError, msgspec.DecodeError):
            raise TokenMalformed("This token does not say what it should.") from None
        now = self._clock()
        if claims.exp is not None and claims.exp <= now:
            raise TokenExpired("This token has expired.")
        if claims.iat > now + LEEWAY:
            raise TokenMalformed("This token was issued in the future; check the clocks.")
        return claims


def key_id(signer: Signer, material: bytes) -> str:
    """The ``kid`` of a key: names it, tells nothing about it."""
    digest = hashlib.sha256(b"asok-auth-core kid/" + signer.algorithm.encode() + b"/" + material).digest()
    return b64url_encode(digest[:9]).decode()


def _header(signer: Signer, material: bytes, purpose: str) -> bytes:
    fields = {"alg": signer.algorithm, "kid": key_id(signer, material), "typ": f"{purpose}+jwt"}
    return b64url_encode(msgspec.json.encode(fields))
