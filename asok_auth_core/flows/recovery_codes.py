"""Recovery codes: ten single-use codes of 80 bits each, shown once.

One row per user holds the keyed hashes of the remaining codes. So an attempt costs one hash, however
many codes are left; new codes void all old ones in one step; and if several attempts use one code
concurrently, exactly one of them replaces the row.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Sequence
from typing import cast

import msgspec

from ..auth import Auth
from ..contracts import CredentialStore
from ..engine.keys import KeyRing, keyed_digests
from ..engine.sealing import NONCE_BYTES, Sealer
from ..errors import CredentialExists, CredentialRejected, SealError
from ..stores.rows import change_row
from ..stores.sealed_rows import SealedRows
from ..types import JSON, Credential, Random, RedactedStruct, User
from ..web import WebRequest
from .factor_policy import factor_names
from .plugin_faults import ask, verdict
from .recent_login import require_recent_login

NAME = "recovery"
"""The name of the second factor."""
KIND = "recovery_codes"
PURPOSE = "recovery-code"
SEALED_KEYS = "keys"
"""What sealed keys are bound to, besides their user: they are no imported codes."""
COUNT = 10
CODE_BYTES = 10
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without I, L, O and U, which are easily misread."""
SYMBOLS = CODE_BYTES * 8 // 5
MISREAD = str.maketrans("ILO", "110")
IMPORTED_SYMBOLS = 8
IMPORTED_ROUNDS = 600_000


class RecoveryRow(RedactedStruct, frozen=True, omit_defaults=True):
    """The stored data: keyed hashes, and sealed hashes imported from Asok.

    ``key`` is the id of the secret that the hashes were made with; rows of earlier versions lack it.
    ``sealed_keys``: the keys that they may have been made with, sealed by ``asok-auth keys reseal``.
    """

    shown = ("imported_left", "key")

    codes: tuple[str, ...] = ()
    imported: str | None = None
    imported_left: int = 0
    key: str | None = None
    sealed_keys: str | None = None


class RecoveryCodes:
    """The recovery codes of all users."""

    def __init__(self, credentials: CredentialStore, keys: KeyRing, random: Random) -> None:
        self._credentials = credentials
        self._keys = keys
        self._random = random
        self._sealer = Sealer(keys, KIND)

    def issue(self, user_id: str) -> tuple[str, ...]:
        """Create ten codes, to be shown once; all earlier ones become void.

        Raises CredentialRejected if another request does the same at that moment.
        """
        codes = tuple(write(self._random(CODE_BYTES)) for _ in range(COUNT))
        hashes = tuple(self._digests(user_id, code.replace("-", ""))[0] for code in codes)
        self._store(user_id, RecoveryRow(codes=hashes, key=self._keys.ids[0]))
        return codes

    def adopt(self, user_id: str, hashes: Sequence[str]) -> None:
        """Import ``salt$hash`` lines of Asok's Admin; checks stay as slow as there."""
        sealed = self._sealer.seal(msgspec.json.encode(tuple(hashes)), self._random(NONCE_BYTES), user_id)
        self._store(user_id, RecoveryRow(imported=sealed, imported_left=len(hashes)))

    def claim(self, user_id: str, text: str) -> bool:
        """Consume the user's code ``text``; exactly one of several callers gets True.

        Raises StoreUnavailable, and SealError if the key that the codes need is missing.
        """
        code = read(text)
        if code is None:
            return False
        digests = self._digests(user_id, code) if len(code) == SYMBOLS else ()

        def without(stored: Credential | None) -> JSON:
            row = None if stored is None else _row(stored)
            left = None if row is None else self._without(user_id, row, code, digests)
            return None if left is None else _data(left)

        busy = "Your recovery codes are in use in another session. Try again."
        return change_row(self._credentials, KIND, user_id, without, busy=busy) is not None

    def remaining(self, user_id: str) -> int:
        """The number of codes left."""
        stored = self._credentials.find(KIND, user_id)
        if stored is None:
            return 0
        row = _row(stored)
        return len(row.codes) + row.imported_left

    def is_imported(self, user_id: str) -> bool:
        """True if codes imported from Asok's Admin are left."""
        stored = self._credentials.find(KIND, user_id)
        return stored is not None and _row(stored).imported is not None

    def void(self, user_id: str) -> None:
        """Remove all of the user's codes."""
        while (stored := self._credentials.find(KIND, user_id)) is not None:
            self._credentials.remove(stored)

    def _digests(self, user_id: str, code: str) -> tuple[str, ...]:
        return self._keys.digests(PURPOSE, user_id, code)

    def _store(self, user_id: str, row: RecoveryRow) -> None:
        stored = self._credentials.find(KIND, user_id)
        try:
            if stored is None:
                self._credentials.add(user_id, KIND, user_id, _data(row))
                return
        except CredentialExists:
            stored = None
        if stored is None or self._credentials.replace(stored, _data(row)) is None:
            raise CredentialRejected("Your recovery codes were changed in another window. Try again.")

    def _without(
        self, user_id: str, row: RecoveryRow, code: str, digests: tuple[str, ...]
    ) -> RecoveryRow | None:
        """``row`` without ``code``, or None if it does not contain the code."""
        if digests and row.codes:
            digests = self._digests_of(user_id, row, code, digests)
        used = next((digest for digest in digests if digest in row.codes), None)
        if used is not None:
            return msgspec.structs.replace(row, codes=tuple(one for one in row.codes if one != used))
        if row.imported is None or len(code) != IMPORTED_SYMBOLS:
            return None
        raw = self._sealer.open(row.imported, user_id)
        hashes = msgspec.json.decode(raw, type=tuple[str, ...])
        match = next((line for line in hashes if _imported_matches(line, code)), None)
        if match is None:
            return None
        rest = tuple(line for line in hashes if line != match)
        sealed = self._sealer.seal(msgspec.json.encode(rest), self._random(NONCE_BYTES), user_id)
        return msgspec.structs.replace(row, imported=sealed if rest else None, imported_left=len(rest))

    def _digests_of(
        self, user_id: str, row: RecoveryRow, code: str, digests: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The hashes of ``code`` under the keys of ``row``.

        ``digests`` are those under the keys of the ring. Raises SealError if the key is missing.
        """
        if row.sealed_keys is not None:
            return keyed_digests(_open_keys(self._sealer, row.sealed_keys, user_id), user_id, code)
        if row.key is not None and row.key not in self._keys.ids:
            raise SealError(
                f"The recovery codes were made with key {row.key!r}, which is no longer in the key ring. Add "
                "the old SECRET_KEY to SECRET_KEY_FALLBACKS.",
                code="seal_key_retired",
            )
        return digests


class SealedCodes(SealedRows):
    """Recovery codes, for ``asok-auth keys``.

    A keyed hash cannot be made again without the code. So resealing keeps the old hash, and seals the key
    that it was made with, which is derived from the secret for this purpose alone.
    """

    kind = KIND
    label = "sets of recovery codes"

    def __init__(self, auth: Auth) -> None:
        super().__init__(auth.credentials, auth.keys)
        self._random = auth.random

    def is_readable(self, value: Credential, keys: KeyRing) -> bool:
        row, sealer = _row(value), Sealer(keys, KIND)
        sealed = [one for one in (row.imported, row.sealed_keys) if one is not None]
        if not all(map(sealer.has_key, sealed)):
            return False
        if not row.codes or row.sealed_keys is not None:
            return True
        # Without the key's id, it may be any key of the app's.
        return {*self.keys.ids} <= {*keys.ids} if row.key is None else row.key in keys.ids

    def resealed(self, row: Credential) -> JSON:
        stored, sealer = _row(row), Sealer(self.keys, KIND)
        imported = stored.imported
        if imported is not None and not sealer.is_current(imported):
            imported = sealer.seal(sealer.open(imported, row.user_id), self._random(NONCE_BYTES), row.user_id)
        return _data(
            msgspec.structs.replace(
                stored, imported=imported, sealed_keys=self._sealed_keys(sealer, stored, row.user_id)
            )
        )

    def _sealed_keys(self, sealer: Sealer, row: RecoveryRow, user_id: str) -> str | None:
        """The keys of the row's hashes, sealed; None if the newest made them."""
        if not row.codes or (row.sealed_keys is None and row.key == self.keys.ids[0]):
            return None
        if row.sealed_keys is not None:
            keys = _open_keys(sealer, row.sealed_keys, user_id)
        else:
            named = zip(self.keys.ids, self.keys.keys(PURPOSE), strict=True)
            keys = [key for name, key in named if row.key in (None, name)]
        if not keys:
            raise SealError("The key of these recovery codes is missing.", code="seal_key_retired")
        text = msgspec.json.encode([key.hex() for key in keys])
        return sealer.seal(text, self._random(NONCE_BYTES), user_id, SEALED_KEYS)


def _open_keys(sealer: Sealer, sealed: str, user_id: str) -> list[bytes]:
    raw = sealer.open(sealed, user_id, SEALED_KEYS)
    return [bytes.fromhex(key) for key in msgspec.json.decode(raw, type=list[str])]


def write(raw: bytes) -> str:
    """Format ten bytes as ``XXXX-XXXX-XXXX-XXXX``."""
    number = int.from_bytes(raw, "big")
    symbols = [ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(SYMBOLS))]
    return "-".join("".join(symbols[start : start + 4]) for start in range(0, SYMBOLS, 4))


def read(text: str) -> str | None:
    """Normalize typed text to bare symbols, or None if it cannot be a recovery code.

    Ignores case, spaces, hyphens and full-width forms. In our own codes, but not in imported ones,
    I and L are read as 1 and O as 0.
    """
    if len(text) > 64:
        return None
    folded = unicodedata.normalize("NFKC", text).upper()
    code = "".join(c for c in folded if not (c.isspace() or unicodedata.category(c) in ("Pd", "Cf")))
    if len(code) == SYMBOLS:
        code = code.translate(MISREAD)
        return code if set(code) <= set(ALPHABET) else None
    return code if len(code) == IMPORTED_SYMBOLS and code.isascii() and code.isalnum() else None


def _imported_matches(line: str, code: str) -> bool:
    """Compare with ``salt$hex``: PBKDF2-HMAC-SHA256, 600,000 rounds, text salt."""
    salt, _, expected = line.partition("$")
    digest = hashlib.pbkdf2_hmac("sha256", code.encode(), salt.encode(), IMPORTED_ROUNDS).hex()
    return hmac.compare_digest(digest, expected)


def _row(stored: Credential) -> RecoveryRow:
    return msgspec.json.decode(stored.data, type=RecoveryRow)


def _data(row: RecoveryRow) -> JSON:
    return cast("JSON", msgspec.to_builtins(row))


def recovery_codes(auth: Auth) -> RecoveryCodes:
    """The recovery codes of the app's users."""
    return RecoveryCodes(auth.credentials, auth.keys, auth.random)


def issue_recovery_codes(auth: Auth, user: User) -> tuple[str, ...]:
    """Create ten codes for ``user``, who just set up a factor, to be shown once.

    All earlier ones become void, imported ones too. Raises CredentialRejected if another request does the
    same at that moment.
    """
    run_imports(auth, user)
    return recovery_codes(auth).issue(str(user.id))


def renew_recovery_codes(auth: Auth, request: WebRequest) -> tuple[str, ...]:
    """As :func:`issue_recovery_codes`, for the current user, who has a second factor.

    Raises LoginRequired, RecentLoginRequired, CredentialRejected without a second factor.
    """
    user = require_recent_login(auth, request)
    if not factor_names(auth, user).all:
        raise CredentialRejected("Set up a second factor first.")
    codes = issue_recovery_codes(auth, user)
    auth.events.emit("recovery_codes.issued", user=user, method=NAME, client_ip=request.client_ip)
    return codes


def recovery_codes_left(auth: Auth, user: User) -> int:
    """The number of codes that ``user`` has left."""
    return recovery_codes(auth).remaining(str(user.id))


def waits_for_import(auth: Auth, user: User) -> bool:
    """True if a factor of ``user`` is yet to be imported, with its backup codes."""
    factors = auth.second_factors.values()
    return any(verdict(auth, factor, factor.waits_for_import, user) is True for factor in factors)


def run_imports(auth: Auth, user: User) -> None:
    """Import the pending factors of ``user``. Raises what a factor raises."""
    for factor in auth.second_factors.values():
        ask(auth, factor, factor.run_import, user)
