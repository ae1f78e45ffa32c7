"""State stores for tests: the size of a long run, and stores with a race."""

from __future__ import annotations

import os
import time

from asok_auth_core.stores.sqlite import SQLiteStateStore


class AtLength:
    """The size of a slow run of StateStoreContract; ASOK_AUTH_KILLS scales it."""

    processes = 8
    secrets = 2000
    kills = int(os.environ.get("ASOK_AUTH_KILLS", "20"))
    examples = 50


class RacyTakes(SQLiteStateStore):
    """Looks, then takes, as the framework's magic links did: a race."""

    pause = 0.001

    def take(self, key: str) -> bytes | None:
        value = self.get(key)
        time.sleep(self.pause)
        self.delete(key)
        return value


class RacyStateStore(RacyTakes):
    """Looks, then acts, in each operation."""

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        if self.get(key) is not None:
            return False
        time.sleep(self.pause)
        self.put(key, value, ttl)
        return True

    def incr(self, key: str, ttl: int) -> int:
        number = int(self.get(key) or b"0") + 1
        self.put(key, b"%d" % number, ttl)
        return number
