"""Signed tokens with typed claims: one codec per purpose, with rotation."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Generic, NoReturn, TypeVar

import msgspec

from ..errors import ConfigurationError, SignerUnavailable, TokenError, TokenExpired
from ..types import Clock, RedactedStruct
from .coroutines import reject_coroutines
from .encoding import b64url_encode
from .jws import header_segment, sign_compact, verify_compact
from .keys import KeyRing
from .signer import Signer
from .signers import SIGNERS, SignerFactory

logger = logging.getLogger("asok_auth")

MAX_TOKEN_BYTES = 4096
CLOCK_SKEW = 60
"""Seconds by which the clock of another machine that issues tokens may be ahead."""


class TokenClaims(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The claims of every token. Subclasses add fields; unknown claims are rejected.

    Times are whole seconds since the epoch. ``exp`` None: the token does not expire.
    """

    iat: int
    exp: int | None = None


logger = logging.getLogger("asok_auth")

C = TypeVar("C", bound=TokenClaims)


class TokenCodec(Generic[C]):
    """Signs and verifies the tokens of one purpose.

    Each secret of the ring yields one key per purpose and algorithm, so a token is valid only for
    the purpose, algorithm and key it was signed with. New tokens are signed with ``algorithm`` and
    the newest key; older keys and the algorithms in ``accept`` verify too. ``signers`` maps
    algorithm names to factories.

    Raises ConfigurationError if a signer is missing or has another algorithm than its name.
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
        self._published: dict[bytes, dict[str, str] | None] = {}
        """The public keys that signers have told of, by header: a remote one is asked once."""
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
            raise ValueError(f"The token would have {len(token)} bytes; the maximum is {self._max_bytes}.")
        return token

    def verify(self, token: str) -> C:
        """The claims of a token of this purpose with a valid signature, format and time.

        Raises TokenExpired, or TokenError: ``token_malformed`` or ``token_signature``.
        """
        payload = verify_compact(token, self._table, self._max_bytes)
        try:
            claims = self._decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _malformed("The token has other claims than tokens of its purpose.")
        # Our own JSON encodes to the same bytes; only other JSON is searched for duplicate names
        # (RFC 7519, section 4).
        if self._encode(claims) != payload:
            _reject_duplicates(payload)
        now = self._clock()
        if claims.exp is not None and now >= claims.exp:
            raise TokenExpired("The token has expired.")
        if claims.iat > now + CLOCK_SKEW:
            _malformed("The token was issued in the future.")
        return claims

    # -- keys ------------------------------------------------------------------------------------

    def trusts(self, header: str) -> bool:
        """True if tokens with this header segment may still verify."""
        return header in self._trusted

    def retire(self, kid: str) -> None:
        """Stop trusting the key ``kid``, from the next token on.

        Raises ValueError if it is unknown, or is the signing key.
        """
        header = self._kids.get(kid)
        if header is None or header == self._header:
            raise ValueError("Only a known key other than the signing key can be retired.")
        del self._kids[kid], self._table[header]
        self._trusted.discard(header.decode())

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of the trusted keys; the signing key is first."""
        return tuple(self._kids)

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys (RFC 7517, section 5) of all trusted keys that have one.

        Empty if tokens are signed with a symmetric key: only this app can verify them. Raises
        SignerUnavailable if the signing key cannot be read; another key is left out then.
        """
        found: list[dict[str, str]] = []
        if self._public_jwk(self._header) is None:
            return found
        for kid, header in self._kids.items():
            try:
                jwk = self._public_jwk(header)
            except SignerUnavailable:
                logger.warning("The public key %s is left out of the published ones.", kid, exc_info=True)
                continue
            if jwk is not None:
                found.append({**jwk, "kid": kid, "use": "sig", "alg": self._table[header].algorithm})
        return found

    def _public_jwk(self, header: bytes) -> dict[str, str] | None:
        if header not in self._published:
            signer = self._table[header]
            try:
                jwk = signer.public_jwk()
                private = PRIVATE_MEMBERS.intersection(jwk or ())
            except Exception as error:
                name = type(error).__name__
                raise SignerUnavailable(
                    f"public_jwk() of the token signer {signer.algorithm!r} failed with {name}."
                ) from error
            if private:
                raise SignerUnavailable(
                    f"public_jwk() of the token signer {signer.algorithm!r} holds private parts: "
                    f"{', '.join(sorted(private))}."
                )
            self._published[header] = jwk
        return self._published[header]


PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""The members of a JWK that must stay secret (RFC 7518, section 6)."""


def _make(signers: Mapping[str, SignerFactory], name: str, material: bytes) -> Signer:
    factory = signers.get(name)
    if factory is None:
        known = ", ".join(sorted(signers))
        raise ConfigurationError(f"There is no token signer {name!r}; there is: {known}.")
    signer = factory(material)
    if signer.algorithm != name:
        raise ConfigurationError(f"The token signer {name!r} signs with {signer.algorithm!r}.")
    reject_coroutines(signer, Signer)
    return signer


def _kid(material: bytes) -> str:
    """The public id of a key: the same in every process; it reveals nothing."""
    return b64url_encode(hmac.digest(material, b"asok-auth-core/1/kid", "sha256")[:9]).decode()


def _reject_duplicates(payload: bytes) -> None:
    def distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) != len(pairs):
            _malformed("The token names a claim twice.")
        return members

    json.loads(payload, object_pairs_hook=distinct)


def _malformed(reason: str) -> NoReturn:
    raise TokenError(reason, code="token_malformed") from None
