"""API tokens of users: create, verify, list and revoke them, with scopes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from ..auth import Auth
from ..engine.encoding import b64url_encode
from ..engine.permissions import compile_grants, is_well_formed
from ..engine.tokens import TokenClaims, TokenCodec
from ..errors import ConfigurationError, PermissionDenied, StoreUnavailable, TokenError, TokenExpired
from ..types import Authentication, Credential, RedactedStruct

logger = logging.getLogger("asok_auth")

KIND = "api_token"
PURPOSE = "asok-api"
MAX_CACHED = 4096
RECHECK = 60
"""Seconds for which a record is cached unless a revocation occurs; the precision of "last used"."""

MAX_SCOPES = 64
MAX_PARENTS = 8
"""Each parent costs a lookup when a token is verified for the first time."""
MAX_NAME = 100


class ApiClaims(TokenClaims, frozen=True, kw_only=True):
    """``scope`` is None, or patterns separated by spaces (RFC 8693, section 4.2).

    ``aud`` is the id of the database that ``sub`` is a user of; older tokens have none.
    """

    shown = ("iat", "exp", "sub", "jti", "scope", "aud")

    sub: str
    jti: str
    scope: str | None = None
    aud: str | None = None


class TokenRow(RedactedStruct, frozen=True):
    """What the record of a token holds; ``parents`` as in :class:`ApiToken`.

    ``key`` is the id of the secret that signed it; records of earlier versions lack it.
    """

    shown = ("name", "scopes", "exp", "iat", "parents", "key")

    name: str | None
    scopes: tuple[str, ...] | None
    exp: int | None
    iat: int
    parents: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True, slots=True)
class ApiToken:
    """The record of a token, without the token. Times are seconds since the epoch.

    ``scopes`` None: all permissions of its owner. ``expires_at`` None: permanent. ``parents`` are the
    ids of the token that it was made with, of the one that was made with, and so on, the first one first:
    it is valid only while all their records exist.
    """

    id: str
    user_id: str
    name: str | None
    scopes: tuple[str, ...] | None
    created_at: int
    expires_at: int | None
    last_used_at: float | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A valid token."""

    id: str
    user_id: str
    scopes: tuple[str, ...] | None
    expires_at: int | None


class ApiTokens:
    """The API tokens of one app.

    With ``AUTH["TOKEN_REVOCATION"] = "checked"`` a token is valid only while its record exists; with
    ``"stateless"`` no store is read, and a token is valid until it expires.
    """

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._clock = auth.clock
        self.checked = auth.settings.token_revocation == "checked"  # noqa: S105 - not a password
        self.codec: TokenCodec[ApiClaims] = TokenCodec(
            purpose=PURPOSE,
            claims=ApiClaims,
            keys=auth.keys,
            clock=auth.clock,
            algorithm=auth.settings.signer,
            signers=auth.signers,
            accept=tuple(auth.signers),
        )
        self._mark = auth.state.revocation_mark(auth.random)
        self._trusts = self.codec.trusts
        # (id of the database, token):
        # (its content, its header, its expiry, when to read its record again, revocation mark)
        self._cache: dict[tuple[str, str], tuple[VerifiedToken, str, float, float, bytes | None]] = {}

    # -- creating --------------------------------------------------------------------------------

    def create(
        self,
        user_id: int | str,
        expires_in: int | None = None,
        scopes: Iterable[str] | None = None,
        name: str | None = None,
        *,
        made_with: Authentication | None = None,
    ) -> tuple[str, ApiToken]:
        """Create a token; return it, which cannot be shown again, and its record.

        ``expires_in`` is in seconds; None creates a permanent token. ``scopes`` are permission
        patterns; None means all permissions of the owner. Raises ValueError for invalid arguments.

        ``made_with`` is the proof of the request that asks for the token, if it has one: then the token
        has at most its scopes and its lifetime, which are the defaults, and is void when that is revoked.
        Raises PermissionDenied if more is asked for.
        """
        owner = self._auth.users.by_id(str(user_id))
        if owner is None:
            raise ValueError("There is no user with this id.")
        if expires_in is not None and (isinstance(expires_in, bool) or int(expires_in) < 1):
            raise ValueError(
                f"expires_in must be a number of seconds of at least 1, or None; got {expires_in!r}."
            )
        patterns = None if scopes is None else checked_scopes(scopes)
        if name is not None and not 1 <= len(name) <= MAX_NAME:
            raise ValueError(f"A token's name must have 1 to {MAX_NAME} characters.")
        now = int(self._clock())
        expires_at = None if expires_in is None else now + int(expires_in)
        parents: tuple[str, ...] = ()
        if made_with is not None:
            patterns, expires_at = _within(made_with, str(user_id), patterns, expires_at)
            parents = self._with_parents(made_with)
        claims = ApiClaims(
            iat=now,
            exp=expires_at,
            sub=str(user_id),
            jti=b64url_encode(self._auth.random(15)).decode(),
            scope=None if patterns is None else " ".join(patterns),
            aud=self._auth.installation().id,
        )
        token = self.codec.sign(claims)
        made = ApiToken(claims.jti, claims.sub, name, patterns, now, expires_at, parents=parents)
        row = TokenRow(name, patterns, expires_at, now, parents, self._auth.keys.ids[0])
        self._auth.credentials.add(made.user_id, KIND, made.id, msgspec.to_builtins(row))
        if claims.exp is None and not self.checked:
            logger.warning("A permanent API token was created that cannot be revoked; pass expires_in.")
        self._auth.events.emit("token.created", user=owner, token=made.id, permanent=claims.exp is None)
        return token, made

    def _with_parents(self, made_with: Authentication) -> tuple[str, ...]:
        """The parents of a token made with ``made_with``: that one's, and itself."""
        if made_with.token_id is None:
            return ()
        record = self._auth.credentials.find(KIND, made_with.token_id)
        if record is None:
            raise TokenError("The token has been revoked.", code="token_revoked")
        parents = (*_row(record).parents, record.identifier)
        if len(parents) > MAX_PARENTS:
            raise PermissionDenied(
                "This token was itself made with a token, and so on, too many times to create another one."
            )
        return parents

    # -- verifying -------------------------------------------------------------------------------

    def verify(self, token: str) -> VerifiedToken:
        """The content of ``token``, if valid. The caller checks its owner.

        Raises TokenError, TokenExpired among them, or StoreUnavailable.
        """
        database = self._auth.installation().id
        known = self._cache.get((database, token)) if type(token) is str else None
        if known is not None:
            verified, header, ends, recheck, mark = known
            now = self._clock()
            if (
                now < ends
                and now < recheck
                and self._trusts(header)
                and (mark is None or mark == self._mark.current())
            ):
                return verified
            self._forget(database, token)
        return self._verify(token, database)

    def _verify(self, token: str, database: str) -> VerifiedToken:
        claims = self.codec.verify(token)
        # Without a record to look up, only the claim tells another tenant's token from ours.
        if claims.aud != database and (claims.aud is not None or not self.checked):
            raise TokenError("The token belongs to another database.", code="token_revoked")
        now = self._clock()
        # Read before the record: a revocation in between changes the mark.
        mark = self._mark.current() if self.checked else None
        if self.checked:
            record = self._auth.credentials.find(KIND, claims.jti)
            if record is None or record.user_id != claims.sub or not self._has_all_parents(record):
                raise TokenError("The token has been revoked.", code="token_revoked")
            self._note_use(record, now)
        scopes = None if claims.scope is None else tuple(claims.scope.split())
        verified = VerifiedToken(claims.jti, claims.sub, scopes, claims.exp)
        if len(self._cache) >= MAX_CACHED:
            # Clear everything: LRU order would cost every request more than this costs one in 4,096.
            self._cache.clear()
        ends = float("inf") if claims.exp is None else float(claims.exp)
        self._cache[database, token] = (verified, token.partition(".")[0], ends, now + RECHECK, mark)
        # Its record may be one that only this transaction sees, and that a rollback undoes.
        self._auth.credentials.repeat_after_transaction(lambda: self._forget(database, token))
        return verified

    def _forget(self, database: str, token: str) -> None:
        self._cache.pop((database, token), None)

    def _has_all_parents(self, record: Credential) -> bool:
        return all(self._auth.credentials.find(KIND, parent) for parent in _row(record).parents)

    def _note_use(self, record: Credential, now: float) -> None:
        minute = now - now % RECHECK
        if record.last_used_at is None or record.last_used_at < minute:
            try:
                self._auth.credentials.touch(record, minute)
            except StoreUnavailable:
                # The record was read, so the token is valid; only "last used" is not up to date.
                logger.warning("The last use of an API token could not be stored.", exc_info=True)

    # -- revoking and listing --------------------------------------------------------------------

    def revoke(self, token: str) -> bool:
        """Revoke ``token``. False if it was no longer valid."""
        try:
            claims = self.codec.verify(token)
        except TokenExpired:
            return False
        return self.revoke_id(claims.sub, claims.jti)

    def revoke_id(self, user_id: int | str, token_id: str) -> bool:
        """Revoke the token of ``user_id`` with this id. False if there is none."""
        self._reject_stateless()
        record = self._auth.credentials.find(KIND, token_id)
        if record is None or record.user_id != str(user_id):
            return False
        return self._remove([record]) == 1

    def revoke_all(self, user_id: int | str) -> int:
        """Revoke all tokens of a user; return their number."""
        self._reject_stateless()
        return self._remove(self._auth.credentials.list(str(user_id), KIND))

    def list(self, user_id: int | str) -> list[ApiToken]:
        """A user's valid tokens, oldest first; records of void ones are removed.

        A damaged record is left out, with an event: the user still sees the others.
        """
        now = self._clock()
        found = []
        records = self._auth.credentials.list(str(user_id), KIND)
        known = {record.identifier for record in records}
        for record in records:
            try:
                token = _described(record)
            except TokenError:
                logger.error("The record of API token %r cannot be read. Revoke it.", record.identifier)
                owner = self._auth.users.by_id(record.user_id)
                self._auth.events.emit("token.damaged", user=owner, token=record.identifier)
                continue
            expired = token.expires_at is not None and token.expires_at <= now
            if expired or not known.issuperset(token.parents):
                self._auth.credentials.remove(record)
            else:
                found.append(token)
        return found

    def _remove(self, records: Iterable[Credential]) -> int:
        # Before the removal, so that nothing is removed if other workers cannot be notified. And after it,
        # because another worker may have read a record in between. In a transaction of the app's, others
        # may see the records until it has ended.
        self._mark.advance()
        removed = 0
        for record in records:
            if self._auth.credentials.remove(record):
                removed += 1
                owner = self._auth.users.by_id(record.user_id)
                self._auth.events.emit("token.revoked", user=owner, token=record.identifier)
        self._mark.advance()
        self._auth.credentials.repeat_after_transaction(self._mark.advance)
        return removed

    def _reject_stateless(self) -> None:
        if not self.checked:
            raise ConfigurationError(
                'Tokens cannot be revoked with AUTH["TOKEN_REVOCATION"] = "stateless": they are valid until '
                'they expire or their key is retired. Set it to "checked".'
            )


def checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """``scopes`` without duplicates. Raises ValueError for an invalid pattern."""
    if isinstance(scopes, str):
        raise ValueError(f"scopes must be a list of patterns, not a string; write [{scopes!r}].")
    patterns = tuple(dict.fromkeys(scopes))
    for pattern in patterns:
        if not is_well_formed(pattern):
            raise ValueError(f'{pattern!r} is not a permission pattern such as "posts.view" or "posts.*".')
    if len(patterns) > MAX_SCOPES:
        raise ValueError(f"A token can have at most {MAX_SCOPES} scopes.")
    return patterns


def _within(
    made_with: Authentication, user_id: str, patterns: tuple[str, ...] | None, expires_at: int | None
) -> tuple[tuple[str, ...] | None, int | None]:
    """Scopes and expiry of a token made with ``made_with``, within its own."""
    if user_id != str(made_with.user.id):
        raise PermissionDenied("A token can create tokens of its own user only.")
    if made_with.ambient is False and made_with.token_id is None:
        # Nothing here would void the new token when the other one is revoked.
        raise PermissionDenied("This kind of token cannot create API tokens. Log in to create one.")
    if made_with.scopes is not None:
        own = compile_grants(made_with.scopes, "token scopes")
        patterns = checked_scopes(made_with.scopes) if patterns is None else patterns
        if not all(own.allows(pattern) for pattern in patterns):
            raise PermissionDenied("A scoped token cannot create one with broader scopes.")
    if made_with.expires_at is not None:
        latest = int(made_with.expires_at)
        expires_at = latest if expires_at is None else expires_at
        if expires_at > latest:
            raise PermissionDenied("A token cannot create one that is valid for longer than itself.")
    return patterns, expires_at


def _row(record: Credential) -> TokenRow:
    try:
        return msgspec.json.decode(record.data, type=TokenRow)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise TokenError("The record of an API token cannot be read.", code="token_malformed") from None


def _described(record: Credential) -> ApiToken:
    row = _row(record)
    return ApiToken(
        id=record.identifier,
        user_id=record.user_id,
        name=row.name,
        scopes=row.scopes,
        created_at=row.iat,
        expires_at=row.exp,
        last_used_at=record.last_used_at,
        parents=row.parents,
    )
