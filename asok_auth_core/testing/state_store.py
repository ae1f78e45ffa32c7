"""The contract of a state store, as tests to inherit.

::

    class TestMyStore(StateStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return functools.partial(MyStateStore, tmp_path / "state")
"""

from __future__ import annotations

import itertools
import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from ..contracts import StateStore
from ..errors import StoreError
from ..types import StateOperation
from .fakes import FrozenClock
from .processes import HEAD_START, Workers
from .races import add_each, check_after_kill, count, exactly_once, in_threads, take_each, work_until_killed
from .state_model import StateMachine

KEYS_PER_KILL = 100

OpenStore = Callable[..., StateStore]
"""Opens a state store; takes ``clock=`` if the suite's ``takes_clock`` is True."""
Name = Literal["put", "get", "take", "add", "incr", "delete"]


class StateStoreContract:
    """Inherit, name the class ``Test…`` and define the fixture :meth:`open_store`.

    Needs ``hypothesis``.
    """

    takes_clock: ClassVar[bool] = True
    """False if ``open_store`` does not accept ``clock=``; tests of expiry then wait for a few seconds."""
    shared: ClassVar[bool] = True
    """Stores opened by other processes see the same state. False only for a store in memory."""
    processes: ClassVar[int] = 4
    """How many processes compete."""
    secrets: ClassVar[int] = 50
    """How many secrets all processes compete for, of each kind."""
    largest: ClassVar[int] = 65_536
    """Bytes of the largest value."""
    kills: ClassVar[int] = 3
    """How often a process is killed in the middle of its work."""
    examples: ClassVar[int] = 25
    """How many random histories are compared with the model."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """What opens your store: called with ``clock=clock`` if ``takes_clock``.

        Called several times, here and in other processes, it opens the same store each time. It is pickled
        for them: a class, a function of a module, or a ``functools.partial`` of one with arguments that can
        be pickled, but no lambda and no function inside another. ``clock`` is a function that returns
        seconds; the store takes the time from it.
        """
        raise NotImplementedError("define a fixture open_store that returns a function opening your store")

    @pytest.fixture
    def clock(self) -> FrozenClock:
        """The clock of the store, if ``takes_clock``."""
        return FrozenClock()

    @pytest.fixture
    def store(self, open_store: OpenStore, clock: FrozenClock) -> Iterator[StateStore]:
        """The store that most tests use, closed after each."""
        store = self._open(open_store, clock)
        yield store
        store.close()

    @pytest.fixture
    def unique(self) -> str:
        """A key prefix that no other test has used."""
        return f"{secrets.token_hex(8)}:"

    def _open(self, open_store: OpenStore, clock: FrozenClock) -> StateStore:
        return open_store(clock=clock) if self.takes_clock else open_store()

    def _pass(self, clock: FrozenClock, seconds: float) -> None:
        if self.takes_clock:
            clock.advance(seconds)
        else:
            time.sleep(seconds)

    # -- values and keys -------------------------------------------------------------------------

    @pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"12", b"\r\n$-1"])
    def test_values_are_any_bytes(self, store: StateStore, unique: str, value: bytes) -> None:
        store.put(unique + "put", value, 60)
        assert store.add(unique + "add", value, 60) is True
        assert store.get(unique + "put") == store.get(unique + "add") == value
        assert store.take(unique + "put") == store.take(unique + "add") == value

    def test_values_have_any_length(self, store: StateStore, unique: str) -> None:
        store.put(unique, b"x" * self.largest, 60)
        assert store.take(unique) == b"x" * self.largest
        with pytest.raises(StoreError):
            store.put(unique, b"x" * (self.largest + 1), 60)

    def test_keys_are_any_text(self, store: StateStore, unique: str) -> None:
        """Keys differ: no folding, trimming, normalization, patterns, separators."""
        odd = ["k ", " k", "k\0", "k\n", "{k}", "k/../k", "'; --", "é", "e\u0301"]
        keys = [unique + key for key in ["k", "K", "*", "?", "%", "_", *odd]]
        keys.append(unique + "x" * (1024 - len(unique)))
        keys.append(unique + "x" * (1023 - len(unique)))
        for number, key in enumerate(keys):
            assert store.add(key, b"%d" % number, 60), key
        assert [store.take(key) for key in keys] == [b"%d" % number for number in range(len(keys))]

    @pytest.mark.parametrize("key", ["", "x" * 1025, "\ud800"])
    def test_keys_outside_their_limits_are_rejected(self, store: StateStore, key: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.put(key, b"v", 60),
            lambda: store.get(key),
            lambda: store.take(key),
            lambda: store.add(key, b"v", 60),
            lambda: store.incr(key, 60),
            lambda: store.delete(key),
        ]
        for call in calls:
            with pytest.raises(StoreError):
                call()

    def test_values_and_lifetimes_outside_their_limits_are_rejected(
        self, store: StateStore, unique: str
    ) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.put(unique, b"x" * 65_537, 60),
            lambda: store.add(unique, b"x" * 65_537, 60),
            lambda: store.put(unique, b"v", 0),
            lambda: store.add(unique, b"v", -1),
            lambda: store.incr(unique, 0),
        ]
        for call in calls:
            with pytest.raises(StoreError):
                call()
        assert store.get(unique) is None

    # -- one caller ------------------------------------------------------------------------------

    def test_a_missing_key_is_none(self, store: StateStore, unique: str) -> None:
        assert store.get(unique) is None
        assert store.take(unique) is None
        store.delete(unique)
        assert store.get(unique) is None

    def test_put_replaces(self, store: StateStore, unique: str) -> None:
        store.put(unique, b"1", 60)
        store.put(unique, b"2", 60)
        assert store.get(unique) == b"2"

    def test_get_leaves_and_take_removes(self, store: StateStore, unique: str) -> None:
        store.put(unique, b"v", 60)
        assert [store.get(unique), store.get(unique)] == [b"v", b"v"]
        assert [store.take(unique), store.take(unique), store.get(unique)] == [b"v", None, None]

    def test_add_keeps_the_first(self, store: StateStore, unique: str) -> None:
        assert store.add(unique, b"1", 60) is True
        assert store.add(unique, b"2", 60) is False
        assert store.take(unique) == b"1"
        assert store.add(unique, b"3", 60) is True

    def test_delete_removes_values_and_counters(self, store: StateStore, unique: str) -> None:
        store.put(unique + "value", b"v", 60)
        store.incr(unique + "counter", 60)
        store.delete(unique + "value")
        store.delete(unique + "counter")
        assert store.add(unique + "value", b"w", 60) is True
        assert store.incr(unique + "counter", 60) == 1

    def test_a_batch_is_its_operations_in_order(self, store: StateStore, unique: str) -> None:
        """Each works as if called alone; the results come in the order of the operations."""

        def do(name: Name, key: str, value: bytes = b"", ttl: int = 60) -> StateOperation:
            return StateOperation(name, unique + key, value, ttl)

        store.put(unique + "there", b"1", 60)
        assert list(
            store.batch(
                [
                    do("get", "there"),
                    do("add", "there", b"2"),
                    do("put", "there", b"3"),
                    do("take", "there"),
                    do("take", "there"),
                    do("add", "new", bytes(range(256))),
                    do("incr", "counter"),
                    do("incr", "counter"),
                    do("delete", "counter"),
                    do("incr", "counter"),
                    do("get", "new"),
                    do("put", "empty"),
                    do("get", "empty"),
                    do("get", "missing"),
                    do("delete", "missing"),
                ]
            )
        ) == [b"1", False, None, b"3", None, True, 1, 2, None, 1, bytes(range(256)), None, b"", None, None]
        assert store.get(unique + "new") == bytes(range(256))
        assert list(store.batch([])) == []
        assert list(store.batch([do("get", "new"), do("get", "missing")])) == [bytes(range(256)), None]

    @pytest.mark.parametrize(
        "wrong",
        [
            StateOperation("get", ""),
            StateOperation("put", "k", b"v", 0),
            StateOperation("add", "k", b"x" * 65_537, 60),
            StateOperation("incr", "k", ttl=-1),
        ],
    )
    def test_a_batch_outside_the_limits_is_rejected(self, store: StateStore, wrong: StateOperation) -> None:
        with pytest.raises(StoreError):
            store.batch([wrong])

    # -- time ------------------------------------------------------------------------------------

    def test_expired_entries_do_not_exist(self, store: StateStore, clock: FrozenClock, unique: str) -> None:
        """Expired entries do not exist for any operation; others remain."""
        for name in ("get", "take", "add"):
            store.put(unique + name, b"v", 1)
        store.put(unique + "put again", b"v", 1)
        store.put(unique + "put again", b"w", 60)
        store.put(unique + "shortened", b"v", 60)
        store.put(unique + "shortened", b"w", 1)
        assert store.add(unique + "added", b"v", 1)
        assert store.incr(unique + "counter", 1) == 1
        assert store.incr(unique + "long counter", 60) == 1
        assert store.incr(unique + "long counter", 1) == 2
        self._pass(clock, 0.5)
        # Counting on does not extend the lifetime.
        assert store.incr(unique + "counter", 60) == 2
        # Neither a rejected add nor reading extends the lifetime.
        assert store.add(unique + "added", b"w", 60) is False
        assert store.get(unique + "get") == b"v"
        self._pass(clock, 0.6)
        assert store.get(unique + "get") is None
        assert store.take(unique + "take") is None
        assert store.add(unique + "add", b"w", 60) is True
        assert store.get(unique + "added") is None
        assert store.get(unique + "shortened") is None
        assert store.incr(unique + "counter", 60) == 1
        assert store.get(unique + "put again") == b"w"
        assert store.incr(unique + "long counter", 60) == 3

    # -- many callers ----------------------------------------------------------------------------

    def test_any_history_agrees_with_a_model(self, store: StateStore, clock: FrozenClock) -> None:
        moved = clock if self.takes_clock else None

        class History(StateMachine):
            def __init__(self) -> None:
                super().__init__(store, moved)

        run_state_machine_as_test(
            History,
            settings=hypothesis_settings(
                max_examples=self.examples,
                stateful_step_count=30,
                deadline=None,
                database=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )

    @pytest.mark.requirement("SECURITY-1")
    def test_exactly_one_of_many_threads_wins(self, store: StateStore, unique: str) -> None:
        keys = [f"{unique}{i}" for i in range(self.secrets)]
        added = in_threads(lambda: add_each(store, keys, 600), 8)
        taken = in_threads(lambda: take_each(store, keys), 8)
        numbers = in_threads(lambda: count(store, unique + "counter", 10, 600), 8)
        exactly_once(added, keys)
        exactly_once(taken, keys)
        assert sorted(n for part in numbers for n in part) == list(range(1, 81))

    @pytest.mark.requirement("SECURITY-1")
    def test_exactly_one_of_many_threads_wins_in_batches(self, store: StateStore, unique: str) -> None:
        """Batches with the same keys in opposite order do not block each other either."""
        keys = [f"{unique}{i}" for i in range(self.secrets)]
        turns = itertools.count()

        def compete(name: Name) -> list[str]:
            order = keys if next(turns) % 2 else keys[::-1]
            won = []
            for start in range(0, len(order), 5):
                part = order[start : start + 5]
                results = store.batch([StateOperation(name, key, b"v", 600) for key in part])
                won += [key for key, result in zip(part, results, strict=True) if result]
            return won

        exactly_once(in_threads(lambda: compete("add"), 4), keys)
        exactly_once(in_threads(lambda: compete("take"), 4), keys)

    @pytest.mark.requirement("SECURITY-1")
    def test_exactly_one_of_many_processes_wins(self, open_store: OpenStore, unique: str) -> None:
        """Each process opens the store itself; they start each race together."""
        if not self.shared:
            self._check_not_shared(open_store, unique)
            return
        keys = [f"{unique}{i}" for i in range(self.secrets)]
        times = self.secrets // self.processes + 1
        with Workers(open_store, self.processes) as workers:
            added = workers.run(add_each, keys, 600)
            taken = workers.run(take_each, keys)
            numbers = workers.run(count, unique + "counter", times, 600)
        exactly_once(added, keys)
        exactly_once(taken, keys)
        assert sorted(n for part in numbers for n in part) == list(range(1, self.processes * times + 1))

    @pytest.mark.requirement("SECURITY-1")
    def test_what_a_killed_process_took_stays_taken(
        self, open_store: OpenStore, unique: str, tmp_path: Path
    ) -> None:
        """``kill -9`` at any point.

        Nothing is usable twice, and everything else works."""
        store = open_store()
        try:
            for kill in range(self.kills if self.shared else 0):
                prefix, log = f"{unique}{kill}:", tmp_path / f"{kill}.log"
                for number in range(KEYS_PER_KILL):
                    store.put(f"{prefix}take{number}", b"v", 600)
                with Workers(open_store, 1) as workers:
                    workers.start(work_until_killed, prefix, KEYS_PER_KILL, str(log))
                    time.sleep(HEAD_START + random.uniform(0, 0.03))  # noqa: S311  # any moment will do
                    workers.kill()
                check_after_kill(store, prefix, KEYS_PER_KILL, log.read_text() if log.exists() else "")
        finally:
            store.close()

    def _check_not_shared(self, open_store: OpenStore, unique: str) -> None:
        """A store with ``shared = False`` must not share anything."""
        with Workers(open_store, 2) as workers:
            assert workers.run(add_each, [unique], 600) == [[unique], [unique]]

    # -- the revocation mark ---------------------------------------------------------------------

    @pytest.mark.requirement("SECURITY-23")
    def test_all_workers_see_each_revocation(
        self, store: StateStore, open_store: OpenStore, clock: FrozenClock
    ) -> None:
        """Every open store has the same mark, and each advance changes it for all."""
        other = self._open(open_store, clock)
        try:
            marks = [store.revocation_mark(secrets.token_bytes)]
            marks.append((other if self.shared else store).revocation_mark(secrets.token_bytes))
            seen = {marks[0].current()}
            for number in range(10):
                assert marks[0].current() == marks[1].current()
                marks[number % 2].advance()
                seen.add(marks[number % 2].current())
            assert marks[0].current() == marks[1].current()
            assert len(seen) == 11
        finally:
            other.close()

    # -- life ------------------------------------------------------------------------------------

    def test_a_closed_store_can_be_used_again(self, store: StateStore, unique: str) -> None:
        store.put(unique, b"v", 60)
        store.close()
        store.close()
        assert store.get(unique) == b"v"
        assert store.add(unique + "new", b"v", 60) is True

    def test_another_store_sees_the_same_state(
        self, store: StateStore, open_store: OpenStore, clock: FrozenClock, unique: str
    ) -> None:
        store.put(unique, b"v", 60)
        other = self._open(open_store, clock)
        try:
            assert other.take(unique) == (b"v" if self.shared else None)
        finally:
            other.close()
        assert store.get(unique) == (None if self.shared else b"v")
