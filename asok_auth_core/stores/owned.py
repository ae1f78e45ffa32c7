"""The state store of one app: its entries belong to the app's database."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import cast

from ..contracts import MARK_KEY, RevocationMark, StateStore, StoredMark
from ..engine.keys import KeyRing
from ..engine.sealing import NONCE_BYTES, SEALING_BYTES, Sealer
from ..errors import SealError, StoreError
from ..types import Finding, Random, StateOperation, StateResult
from .bounds import MAX_KEY, MAX_VALUE, checked_value, encoded_key

logger = logging.getLogger("asok_auth")

PURPOSE = "state"
LARGEST = MAX_VALUE - SEALING_BYTES
"""Bytes of a value, so that ``store`` can hold it sealed."""


class OwnedStateStore(StateStore):
    """``store`` for one app: keys prefixed with ``owner()``, values sealed.

    ``owner`` returns the id of the app's database, or of the current tenant's. What another app, tenant or
    key wrote does not exist here. Counters are prefixed only: a store must be able to add to them.
    """

    def __init__(self, store: StateStore, keys: KeyRing, random: Random, owner: Callable[[], str]) -> None:
        self._store = store
        self._sealer = Sealer(keys, PURPOSE)
        self._random = random
        self._owner = owner

    def put(self, key: str, value: bytes, ttl: int) -> None:
        key = self._key(key)
        self._store.put(key, self._sealed(key, value), ttl)

    def get(self, key: str) -> bytes | None:
        key = self._key(key)
        return self._opened(key, self._store.get(key))

    def take(self, key: str) -> bytes | None:
        key = self._key(key)
        return self._opened(key, self._store.take(key))

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        key = self._key(key)
        return self._store.add(key, self._sealed(key, value), ttl)

    def incr(self, key: str, ttl: int) -> int:
        return self._store.incr(self._key(key), ttl)

    def delete(self, key: str) -> None:
        self._store.delete(self._key(key))

    def batch(self, operations: Sequence[StateOperation]) -> Sequence[StateResult]:
        owned = [replace(operation, key=self._key(operation.key)) for operation in operations]
        for number, one in enumerate(owned):
            if one.name in ("put", "add"):
                owned[number] = replace(one, value=self._sealed(one.key, one.value))
        results = self._store.batch(owned)
        return [
            self._opened(one.key, cast("bytes | None", result)) if one.name in ("get", "take") else result
            for one, result in zip(owned, results, strict=True)
        ]

    def check(self) -> Iterable[Finding]:
        return self._store.check()

    def revocation_mark(self, random: Random) -> RevocationMark:
        if type(self._store).revocation_mark is not StateStore.revocation_mark:
            # All apps on the store share this one: what one revokes makes the others read once more.
            return self._store.revocation_mark(random)
        # Not sealed: a worker that lacks the key could neither read nor replace it. It is random anyway.
        return StoredMark(self._store, random, lambda: self._key(MARK_KEY))

    def close(self) -> None:
        self._store.close()

    def _key(self, key: str) -> str:
        raw, owner = encoded_key(key), self._owner()
        if len(raw) + len(owner) < MAX_KEY:
            return f"{owner}:{key}"
        return f"{owner}#{hashlib.sha256(raw).hexdigest()}"

    def _sealed(self, key: str, value: bytes) -> bytes:
        if len(checked_value(value)) > LARGEST:
            raise StoreError(f"A state value must have at most {LARGEST} bytes, got {len(value)}.")
        return self._sealer.seal_bytes(value, self._random(NONCE_BYTES), key)

    def _opened(self, key: str, sealed: bytes | None) -> bytes | None:
        if sealed is None:
            return None
        try:
            return self._sealer.open_bytes(sealed, key)
        except SealError as error:
            logger.warning(
                "An entry of the state store counts as missing (%s): it was changed, or written by a worker "
                "with another SECRET_KEY.",
                error.code,
            )
            return None
