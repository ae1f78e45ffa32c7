"""Verify an email address by a mailed link and code; using one voids the other."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import msgspec

from ..auth import Auth
from ..engine.email_address import account_key
from ..engine.encoding import b64url_encode
from ..engine.keys import digest
from ..engine.tokens import TokenClaims, TokenCodec
from ..errors import CredentialRejected, StoreUnavailable, TokenError
from ..types import Random, RedactedStruct, StateOperation, User
from .epoch import epoch

logger = logging.getLogger("asok_auth")

CODE_LENGTH = 8
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""No 0, O, 1, I or L, which users confuse: 31 symbols, so 8 of them have 39 bits."""

NOBODY = "-"
"""No user has this id."""
REJECTED = "This link or code has expired, was already used, or is incomplete. Request a new one."


class LinkClaims(TokenClaims, frozen=True, kw_only=True):
    """The claims of a signed link: the email address and the grant's random handle."""

    sub: str
    jti: str


class EmailGrant(RedactedStruct, frozen=True):
    """The stored grant, kept in the StateStore under the digest of its handle."""

    email: str
    code_keys: tuple[str, ...]
    next_url: str | None = None
    epoch: int = 0
    """The epoch of the email address's account when the grant was issued; 0 without an account."""
    user: str | None = None
    """The id of that account, or None."""
    until: float = 0
    """When it expires, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class TakenGrant:
    """A grant that was consumed, and the digest of its handle."""

    handle: str = field(repr=False)
    grant: EmailGrant


@dataclass(frozen=True, slots=True)
class IssuedProof:
    """The two secrets of one email."""

    token: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifiedEmail:
    """What a link or code verified: email address, account and requested URL."""

    email: str
    user: User | None
    next_url: str | None = field(repr=False)
    epoch: int = 0
    """The epoch of the account at which the grant was in force; 0 without an account."""
    taken: TakenGrant | None = field(default=None, repr=False, compare=False)
    """For :meth:`EmailProofs.give_back`."""


class EmailProofs:
    """Issues and consumes grants for one ``purpose``; others do not exist for it.

    A grant is void once everything of its account was ended, by logging out everywhere for example, and
    once its account has another email address. Only one of several concurrent callers can consume it. The
    caller limits mails and attempts.
    """

    def __init__(self, auth: Auth, purpose: str) -> None:
        self._auth = auth
        self._purpose = purpose
        self._codec = TokenCodec(
            purpose=f"{purpose}-link", claims=LinkClaims, keys=auth.keys, clock=auth.clock
        )

    def issue(
        self,
        email: str,
        lifetime: int,
        next_url: str | None = None,
        *,
        user: User | None = None,
        usable: bool = True,
    ) -> IssuedProof:
        """Create a link token and a code for ``email``, valid for ``lifetime`` seconds.

        ``user`` is the account with this email address, if there is one. If not ``usable``, the link is void
        from the start and the code is returned to nobody, at the same cost. Raises StoreUnavailable.
        """
        random = self._auth.random
        linked, other = (b64url_encode(random(24)).decode() for _ in range(2))
        handle = linked if usable else other
        code = _code(random)
        code_key = self._code_keys(email, code)[0]
        now = self._auth.clock()
        user_id = None if user is None else str(user.id)
        grant = EmailGrant(email, (code_key,), next_url, self._epoch(user), user_id, now + lifetime)
        self._put(TakenGrant(digest(handle), grant), lifetime)
        issued = int(now)
        token = self._codec.sign(LinkClaims(iat=issued, exp=issued + lifetime, sub=email, jti=linked))
        return IssuedProof(token, code if usable else "")

    def look(self, token: str) -> VerifiedEmail:
        """What a link would verify. Raises CredentialRejected, StoreUnavailable."""
        claims = self._verify(token)
        raw = self._auth.state.get(self._grant_key(digest(claims.jti)))
        return self._in_force(self._open(raw, claims.sub))

    def take_link(self, token: str) -> VerifiedEmail:
        """Consume a link; CredentialRejected for all but one caller, StoreUnavailable."""
        claims = self._verify(token)
        return self._use(self._consume(digest(claims.jti), claims.sub))

    def take_code(self, email: str, code: str) -> VerifiedEmail:
        """Consume a code as typed. Raises CredentialRejected, StoreUnavailable."""
        found = (self._auth.state.get(key) for key in self._code_keys(email, normalize_code(code)))
        grant = next((raw for raw in found if raw is not None), None)
        if grant is None:
            raise CredentialRejected(REJECTED)
        return self._use(self._consume(grant.decode(), None))

    def give_back(self, verified: VerifiedEmail) -> None:
        """Make a consumed link and its code usable again, until they expire.

        For a caller whose own store failed before anything was done with them. If the state store fails too,
        they stay used.
        """
        taken = verified.taken
        if taken is None or (lifetime := int(taken.grant.until - self._auth.clock())) < 1:
            return
        try:
            self._put(taken, lifetime)
        except StoreUnavailable:
            logger.warning("A mailed link stays used although the login failed.", exc_info=True)

    def _put(self, taken: TakenGrant, lifetime: int) -> None:
        grant, handle = msgspec.json.encode(taken.grant), taken.handle.encode()
        puts = [StateOperation("put", self._grant_key(taken.handle), grant, lifetime)]
        puts += [StateOperation("put", key, handle, lifetime) for key in taken.grant.code_keys]
        self._auth.state.batch(puts)

    def _use(self, taken: TakenGrant) -> VerifiedEmail:
        """What a consumed grant verifies; given back if that cannot be found out."""
        try:
            return replace(self._in_force(taken.grant), taken=taken)
        except StoreUnavailable:
            self.give_back(VerifiedEmail(taken.grant.email, None, None, taken=taken))
            raise

    def _epoch(self, user: User | None) -> int:
        """The epoch of ``user``; 0 without an account, found with the same statement."""
        return epoch(self._auth, NOBODY if user is None else str(user.id))

    def _in_force(self, grant: EmailGrant) -> VerifiedEmail:
        """What ``grant`` verifies.

        Raises CredentialRejected if everything of its account was ended since, or if the email address is
        no longer that account's.
        """
        user = self._auth.users.by_email(grant.email)
        moved = grant.user is not None and (user is None or str(user.id) != grant.user)
        if self._epoch(user) != grant.epoch or moved:
            raise CredentialRejected(REJECTED)
        return VerifiedEmail(grant.email, user, grant.next_url, grant.epoch)

    def _consume(self, handle_digest: str, email: str | None) -> TakenGrant:
        grant = self._open(self._auth.state.take(self._grant_key(handle_digest)), email)
        # The code is void too: what it leads to is gone. Its own entry expires by itself.
        return TakenGrant(handle_digest, grant)

    def _grant_key(self, handle_digest: str) -> str:
        return f"{self._purpose}:grant:{handle_digest}"

    def _code_keys(self, email: str, code: str) -> tuple[str, ...]:
        """The keys under which a code's grant may be: one per secret, newest first."""
        digests = self._auth.keys.digests(f"{self._purpose}-code", account_key(email), code)
        return tuple(f"{self._purpose}:code:{one}" for one in digests)

    def _verify(self, token: str) -> LinkClaims:
        # Mail programs break long links, and take the punctuation after one for a part of it.
        trimmed = "".join(token.split()).rstrip(">.,;)]'\"")
        try:
            return self._codec.verify(trimmed)
        except TokenError as error:
            raise CredentialRejected(REJECTED) from error

    @staticmethod
    def _open(raw: bytes | None, email: str | None) -> EmailGrant:
        if raw is None:
            raise CredentialRejected(REJECTED)
        grant = msgspec.json.decode(raw, type=EmailGrant)
        if email is not None and grant.email != email:
            raise CredentialRejected(REJECTED)
        return grant


def normalize_code(text: str) -> str:
    """Return a typed code as issued: upper case, without spaces and dashes."""
    return "".join(sign for sign in text[:64].upper() if sign not in " -\u2010\u2011\u2012\u2013\u2014\t")


def _code(random: Random) -> str:
    """Draw eight uniform symbols; bytes above a multiple of 31 would bias them."""
    signs: list[str] = []
    while len(signs) < CODE_LENGTH:
        signs += [ALPHABET[byte % 31] for byte in random(16) if byte < 248]
    return "".join(signs[:CODE_LENGTH])
