"""Compare a StateStore with a model of it, a dictionary, over random histories."""

from __future__ import annotations

import secrets

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ..contracts import StateStore
from .fakes import FrozenClock

KEYS = ("a", "b", "c", "d" * 900)
KEY = st.sampled_from(KEYS)
VALUE = st.binary(max_size=64)
TTL = st.integers(1, 20)


class StateMachine(RuleBasedStateMachine):
    """One random history. Without a ``clock``, time stands still and TTLs are long."""

    def __init__(self, store: StateStore, clock: FrozenClock | None) -> None:
        super().__init__()
        self.store = store
        self.clock = clock
        self.prefix = f"{secrets.token_hex(8)}:"
        self.model: dict[str, tuple[bytes, float]] = {}
        self.counters: dict[str, tuple[int, float]] = {}

    @property
    def now(self) -> float:
        return self.clock.now if self.clock else 0.0

    def ttl(self, ttl: int) -> int:
        return ttl if self.clock else 3600

    def live(self, key: str) -> bytes | None:
        value, expires = self.model.get(key, (None, 0.0))
        return value if expires > self.now else None

    @rule(key=KEY, value=VALUE, ttl=TTL)
    def put(self, key: str, value: bytes, ttl: int) -> None:
        self.store.put(self.prefix + key, value, self.ttl(ttl))
        self.model[key] = (value, self.now + self.ttl(ttl))

    @rule(key=KEY)
    def get(self, key: str) -> None:
        assert self.store.get(self.prefix + key) == self.live(key)

    @rule(key=KEY)
    def take(self, key: str) -> None:
        assert self.store.take(self.prefix + key) == self.live(key)
        self.model.pop(key, None)

    @rule(key=KEY, value=VALUE, ttl=TTL)
    def add(self, key: str, value: bytes, ttl: int) -> None:
        free = self.live(key) is None
        assert self.store.add(self.prefix + key, value, self.ttl(ttl)) is free
        if free:
            self.model[key] = (value, self.now + self.ttl(ttl))

    @rule(key=KEY)
    def delete(self, key: str) -> None:
        self.store.delete(self.prefix + key)
        self.model.pop(key, None)

    @rule(key=KEY, ttl=TTL)
    def incr(self, key: str, ttl: int) -> None:
        number, expires = self.counters.get(key, (0, 0.0))
        if expires <= self.now:
            number, expires = 0, self.now + self.ttl(ttl)
        assert self.store.incr(f"{self.prefix}counter:{key}", self.ttl(ttl)) == number + 1
        self.counters[key] = (number + 1, expires)

    @rule(key=KEY)
    def delete_counter(self, key: str) -> None:
        self.store.delete(f"{self.prefix}counter:{key}")
        self.counters.pop(key, None)

    @precondition(lambda self: self.clock is not None)
    @rule(halves=st.integers(1, 30))
    def time_passes(self, halves: int) -> None:
        assert self.clock is not None
        self.clock.advance(halves / 2)

    @rule()
    def reopen(self) -> None:
        self.store.close()

    @invariant()
    def all_keys_agree(self) -> None:
        for key in KEYS:
            assert self.store.get(self.prefix + key) == self.live(key), key
