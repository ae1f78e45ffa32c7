"""State in this process's memory, for development and tests; lost when it ends."""

from __future__ import annotations

import threading
import time

from ..contracts import StateStore
from ..types import Clock
from .bounds import checked_ttl, checked_value, encoded_key


class MemoryStateStore(StateStore):
    """``memory:``. Atomic across threads; never for more than one process.

    ``clock`` returns seconds since the epoch.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._writes_until_sweep = 64

    def put(self, key: str, value: bytes, ttl: int) -> None:
        encoded_key(key)
        entry = (checked_value(value), self._clock() + checked_ttl(ttl))
        with self._lock:
            self._set(key, entry)

    def get(self, key: str) -> bytes | None:
        encoded_key(key)
        with self._lock:
            entry = self._live(key)
        return None if entry is None else entry[0]

    def take(self, key: str) -> bytes | None:
        encoded_key(key)
        with self._lock:
            entry = self._live(key)
            self._entries.pop(key, None)
        return None if entry is None else entry[0]

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        encoded_key(key)
        checked_value(value)
        checked_ttl(ttl)
        with self._lock:
            if self._live(key) is not None:
                return False
            self._set(key, (value, self._clock() + ttl))
            return True

    def incr(self, key: str, ttl: int) -> int:
        encoded_key(key)
        checked_ttl(ttl)
        with self._lock:
            value, expires = self._live(key) or (b"0", self._clock() + ttl)
            count = int(value) + 1
            self._set(key, (b"%d" % count, expires))
            return count

    def delete(self, key: str) -> None:
        encoded_key(key)
        with self._lock:
            self._entries.pop(key, None)

    def _live(self, key: str) -> tuple[bytes, float] | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry[1] > self._clock() else None

    def _set(self, key: str, entry: tuple[bytes, float]) -> None:
        self._entries[key] = entry
        self._writes_until_sweep -= 1
        if self._writes_until_sweep <= 0:
            # One sweep per as many writes as there are entries: constant cost a write on average,
            # and never more expired entries than live ones plus 64.
            now = self._clock()
            self._entries = {k: e for k, e in self._entries.items() if e[1] > now}
            self._writes_until_sweep = max(64, len(self._entries))
