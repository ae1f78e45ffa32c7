"""API tokens of users: create, verify, list and revoke them, with scopes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from ..auth import Auth
from ..engine.encoding import b64url_encode
from ..engine.permissions import is_well_formed
from ..engine.tokens import TokenClaims, TokenCodec
from ..errors import ConfigurationError, StoreUnavailable, TokenError, TokenExpired
from ..types import Credential

logger = logging.getLogger("asok_auth")

KIND = "api_token"
PURPOSE = "asok-api"
MAX_CACHED = 4096
RECHECK = 60
"""Seconds for which a record is cached unless a revocation occurs; the precision of "last used"."""

MAX_SCOPES = 64
MAX_NAME = 100


class ApiClaims(TokenClaims, frozen=True, kw_only=True):
    """``scope`` is None, or patterns separated by spaces (RFC 8693, section 4.2).

    ``aud`` is the id of the database that ``sub`` is a user of; tokens of before have none.
    """

    shown = ("iat", "exp", "sub", "jti", "scope", "aud")

    sub: str
    jti: str
    scope: str | None = None
    aud: str | None = None


@dataclass(frozen=True, slots=True)
class ApiToken:
    """The record of a token, without the token itself. Times are seconds since the epoch.

    ``scopes`` None: all permissions of its owner. ``expires_at`` None: permanent.
    """

    id: str
    user_id: str
    name: str | None
    scopes: tuple[str, ...] | None
    created_at: int
    expires_at: int | None
    last_used_at: float | None = None


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
    ) -> tuple[str, ApiToken]:
        """Create a token; return it, which cannot be shown again, and its record.

        ``expires_in`` is in seconds; None creates a permanent token. ``scopes`` are permission
        patterns; None means all permissions of the owner. Raises ValueError for invalid arguments.
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
        claims = ApiClaims(
            iat=now,
            exp=None if expires_in is None else now + int(expires_in),
            sub=str(user_id),
            jti=b64url_encode(self._auth.random(15)).decode(),
            scope=None if patterns is None else " ".join(patterns),
            aud=self._auth.installation().id,
        )
        token = self.codec.sign(claims)
        made = ApiToken(claims.jti, claims.sub, name, patterns, now, claims.exp)
        self._auth.credentials.add(
            made.user_id,
            KIND,
            made.id,
            {
                "name": name,
                "scopes": None if patterns is None else list(patterns),
                "exp": claims.exp,
                "iat": now,
            },
        )
        if claims.exp is None and not self.checked:
            logger.warning("A permanent API token was created that cannot be revoked; pass expires_in.")
        self._auth.events.emit("token.created", user=owner, token=made.id, permanent=claims.exp is None)
        return token, made

    # -- verifying -------------------------------------------------------------------------------

    def verify(self, token: str) -> VerifiedToken:
        """The content of ``token``, if it is valid. The caller checks whether its owner may log in.

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
            self._cache.pop((database, token), None)
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
            if record is None or record.user_id != claims.sub:
                raise TokenError("The token has been revoked.", code="token_revoked")
            self._note_use(record, now)
        scopes = None if claims.scope is None else tuple(claims.scope.split())
        verified = VerifiedToken(claims.jti, claims.sub, scopes, claims.exp)
        if len(self._cache) >= MAX_CACHED:
            # Clear everything: LRU order would cost every request more than this costs one in 4,096.
            self._cache.clear()
        ends = float("inf") if claims.exp is None else float(claims.exp)
        self._cache[database, token] = (verified, token.partition(".")[0], ends, now + RECHECK, mark)
        return verified

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
        """A user's valid tokens, oldest first. Records of expired ones are removed."""
        now = self._clock()
        found = []
        for record in self._auth.credentials.list(str(user_id), KIND):
            token = _described(record)
            if token.expires_at is not None and token.expires_at <= now:
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
    """``scopes`` without duplicates. Raises ValueError for an invalid permission pattern."""
    if isinstance(scopes, str):
        raise ValueError(f"scopes must be a list of patterns, not a string; write [{scopes!r}].")
    patterns = tuple(dict.fromkeys(scopes))
    for pattern in patterns:
        if not is_well_formed(pattern):
            raise ValueError(f'{pattern!r} is not a permission pattern such as "posts.view" or "posts.*".')
    if len(patterns) > MAX_SCOPES:
        raise ValueError(f"A token can have at most {MAX_SCOPES} scopes.")
    return patterns


def _described(record: Credential) -> ApiToken:
    try:
        data = cast("dict[str, object]", json.loads(record.data))
        scopes = data["scopes"]
        return ApiToken(
            id=record.identifier,
            user_id=record.user_id,
            name=cast("str | None", data["name"]),
            scopes=None if scopes is None else tuple(cast("list[str]", scopes)),
            created_at=cast("int", data["iat"]),
            expires_at=cast("int | None", data["exp"]),
            last_used_at=record.last_used_at,
        )
    except (ValueError, KeyError, TypeError):
        raise TokenError("The record of an API token cannot be read.", code="token_malformed") from None
