"""Signed tokens with typed claims: one codec per purpose, keys from the ring, rotation included."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Generic, NoReturn, TypeVar

import msgspec

from ..errors import ConfigurationError, TokenExpired, TokenMalformed
from ..types import Clock, RedactedStruct
from .encoding import b64url_encode
from .jws import header_segment, sign_compact, verify_compact
from .keys import KeyRing
from .signer import Signer
from .signers import SIGNERS, SignerFactory

MAX_TOKEN_BYTES = 4096
CLOCK_SKEW = 60
"""Seconds by which another machine's clock may be ahead of ours when it issues a token."""


class Claims(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every token says. Subclasses add fields; a claim that no field takes is refused.

    Times are whole seconds since the epoch. ``exp`` None: the token does not expire.
    """

    iat: int
    exp: int | None = None


C = TypeVar("C", bound=Claims)


class TokenCodec(Generic[C]):
    """Writes and reads the tokens of one purpose.

    Each secret of the ring gives one key per purpose and algorithm, so a token passes only where
    purpose, algorithm and key are those it was made with. New tokens are signed with ``algorithm``
    and the newest key; those of older keys, and of the algorithms named in ``accept``, verify too.
    ``signers`` gives the factories by algorithm name.

    Raises ConfigurationError if a signer is missing or is of another algorithm than its name says.
    """

    def __init__(
        self,
        *,
        purpose: str,
        claims: type[C],
        keys: KeyRing,
        clock: Clock,
        algorithm: str = "HS256",
        signers: Mapping[str, SignerFactory] = SIGNERS,
        accept: Sequence[str] = (),
        max_bytes: int = MAX_TOKEN_BYTES,
    ) -> None:
        self.purpose = purpose
        self._claims = claims
        self._clock = clock
        self._max_bytes = max_bytes
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(claims).decode
        self._table: dict[bytes, Signer] = {}
        self._kids: dict[str, bytes] = {}
        for name in dict.fromkeys((algorithm, *accept)):
            for material in keys.keys(f"token/{purpose}/{name}"):
                signer = _make(signers, name, material)
                kid = _kid(material)
                header = header_segment(name, kid, f"{purpose}+jwt")
                self._table[header] = signer
                self._kids[kid] = header
        self._trusted = {header.decode() for header in self._table}
        self._header, self._signer = next(iter(self._table.items()))

    def __repr__(self) -> str:
        return f"<TokenCodec {self.purpose!r}, {len(self._table)} key(s)>"

    def sign(self, claims: C) -> str:
        """The token. Raises ValueError if it would be longer than ``max_bytes``."""
        token = sign_compact(self._header, self._encode(claims), self._signer)
        if len(token) > self._max_bytes:
            raise ValueError(f"The token would have {len(token)} bytes; {self._max_bytes} are the most.")
        return token

    def verify(self, token: str) -> C:
        """The claims of a token of this purpose whose signature, form and time are good.

        Raises TokenMalformed, TokenSignatureInvalid or TokenExpired.
        """
        payload = verify_compact(token, self._table, self._max_bytes)
        try:
            claims = self._decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _malformed("The token's claims are not those of its purpose.")
        # What we encode ourselves comes out the same; only another writer's JSON is searched for
        # members that are there twice (RFC 7519, section 4).
        if self._encode(claims) != payload:
            _reject_duplicates(payload)
        now = self._clock()
        if claims.exp is not None and now >= claims.exp:
            raise TokenExpired("The token has expired.")
        if claims.iat > now + CLOCK_SKEW:
            _malformed("The token says it was issued in the future.")
        return claims

    # -- keys ------------------------------------------------------------------------------------

    def trusts(self, header: str) -> bool:
        """True if a token that begins with this header segment may still verify."""
        return header in self._trusted

    def retire(self, kid: str) -> None:
        """Trust the key ``kid`` no longer, from the next token on.

        Raises ValueError if it is unknown, or the one that signs.
        """
        header = self._kids.get(kid)
        if header is None or header == self._header:
            raise ValueError("Only a known key that does not sign can be retired.")
        del self._kids[kid], self._table[header]
        self._trusted.discard(header.decode())

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of the keys that are trusted; the one that signs comes first."""
        return tuple(self._kids)

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys (RFC 7517, section 5) of all trusted keys that have one.

        None while tokens are signed with a symmetric key: nobody else can verify those.
        """
        found: list[dict[str, str]] = []
        if self._signer.public_jwk() is None:
            return found
        for kid, header in self._kids.items():
            signer = self._table[header]
            if (jwk := signer.public_jwk()) is not None:
                found.append({**jwk, "kid": kid, "use": "sig", "alg": signer.algorithm})
        return found


def _make(signers: Mapping[str, SignerFactory], name: str, material: bytes) -> Signer:
    factory = signers.get(name)
    if factory is None:
        known = ", ".join(sorted(signers))
        raise ConfigurationError(f"There is no token signer {name!r}. Known: {known}.")
    signer = factory(material)
    if signer.algorithm != name:
        raise ConfigurationError(f"The token signer {name!r} signs with {signer.algorithm!r}.")
    return signer


def _kid(material: bytes) -> str:
    """A key's public name: says nothing about the key, the same in every process."""
    return b64url_encode(hmac.digest(material, b"asok-auth-core/1/kid", "sha256")[:9]).decode()


def _reject_duplicates(payload: bytes) -> None:
    def distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) != len(pairs):
            _malformed("The token names a claim twice.")
        return members

    json.loads(payload, object_pairs_hook=distinct)


def _malformed(reason: str) -> NoReturn:
    raise TokenMalformed(reason) from None
