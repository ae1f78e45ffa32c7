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
from ..engine.keys import KeyRing
from ..engine.sealing import NONCE_BYTES, Sealer
from ..errors import CredentialExists, CredentialRejected
from ..stores.rows import change_row
from ..types import JSON, Credential, Random, RedactedStruct, User
from ..web import WebRequest
from .factor_policy import factor_names
from .plugin_faults import ask, verdict
from .recent_login import require_recent_login

NAME = "recovery"
"""The name of the second factor."""
KIND = "recovery_codes"
PURPOSE = "recovery-code"
COUNT = 10
CODE_BYTES = 10
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without I, L, O and U, which are easily misread."""
SYMBOLS = CODE_BYTES * 8 // 5
MISREAD = str.maketrans("ILO", "110")
IMPORTED_SYMBOLS = 8
IMPORTED_ROUNDS = 600_000


class RecoveryRow(RedactedStruct, frozen=True, omit_defaults=True):
    """The stored data: keyed hashes, and sealed hashes imported from Asok."""

    shown = ("imported_left",)

    codes: tuple[str, ...] = ()
    imported: str | None = None
    imported_left: int = 0


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
        self._store(user_id, RecoveryRow(codes=hashes))
        return codes

    def adopt(self, user_id: str, hashes: Sequence[str]) -> None:
        """Import ``salt$hash`` lines of Asok's Admin; checks stay as slow as there."""
        sealed = self._sealer.seal(msgspec.json.encode(tuple(hashes)), self._random(NONCE_BYTES), user_id)
        self._store(user_id, RecoveryRow(imported=sealed, imported_left=len(hashes)))

    def claim(self, user_id: str, text: str) -> bool:
        """Consume the user's code ``text``; exactly one of several callers gets True.

        Raises StoreUnavailable, and SealError for imported codes whose key is missing.
        """
        code = read(text)
        if code is None:
            return False
        digests = self._digests(user_id, code) if len(code) == SYMBOLS else ()

        def without(stored: Credential | None) -> JSON:
            row = None if stored is None else msgspec.json.decode(stored.data, type=RecoveryRow)
            left = None if row is None else self._without(user_id, row, code, digests)
            return None if left is None else _data(left)

        busy = "Your recovery codes are in use in another session. Try again."
        return change_row(self._credentials, KIND, user_id, without, busy=busy) is not None

    def remaining(self, user_id: str) -> int:
        """The number of codes left."""
        stored = self._credentials.find(KIND, user_id)
        if stored is None:
            return 0
        row = msgspec.json.decode(stored.data, type=RecoveryRow)
        return len(row.codes) + row.imported_left

    def is_imported(self, user_id: str) -> bool:
        """True if codes imported from Asok's Admin are left."""
        stored = self._credentials.find(KIND, user_id)
        return stored is not None and msgspec.json.decode(stored.data, type=RecoveryRow).imported is not None

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
