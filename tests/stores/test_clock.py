"""The clock is stepped by hours, for all processes or for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asok_auth_core.contracts import StateStore
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.fakes import FrozenClock

HOURS = 5 * 3600


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock) -> Iterator[StateStore]:
    memory = request.param == "memory"
    store = MemoryStateStore(clock) if memory else SQLiteStateStore(tmp_path / "state.sqlite3", clock)
    yield store
    store.close()


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.parametrize("step", [HOURS, -HOURS])
def test_a_taken_value_stays_taken_across_clock_steps(
    store: StateStore, clock: FrozenClock, step: int
) -> None:
    store.put("link", b"v", 600)
    assert store.take("link") == b"v"
    clock.advance(step)
    assert store.take("link") is None
    clock.advance(-step)
    assert store.take("link") is None


def test_a_clock_step_forward_expires_values_early(store: StateStore, clock: FrozenClock) -> None:
    store.put("link", b"v", 600)
    clock.advance(HOURS)
    assert store.take("link") is None


def test_a_clock_step_back_prolongs_values_by_the_step(store: StateStore, clock: FrozenClock) -> None:
    store.put("link", b"v", 600)
    assert store.add("used", b"", 600)
    clock.advance(-HOURS)
    clock.advance(HOURS + 599)
    assert store.get("link") == b"v"
    assert store.add("used", b"", 600) is False
    clock.advance(1)
    assert store.take("link") is None


def test_a_counter_goes_on_after_a_clock_step_back(store: StateStore, clock: FrozenClock) -> None:
    """Neither endless attempts nor an endless lockout: the window ends later."""
    assert [store.incr("attempts", 60) for _ in range(5)] == [1, 2, 3, 4, 5]
    clock.advance(-HOURS)
    assert store.incr("attempts", 60) == 6
    clock.advance(HOURS + 59)
    assert store.incr("attempts", 60) == 7
    clock.advance(1)
    assert store.incr("attempts", 60) == 1


def test_a_counter_restarts_once_after_a_clock_step_forward(store: StateStore, clock: FrozenClock) -> None:
    """One step gives one new window, not one for every attempt."""
    assert [store.incr("attempts", 60) for _ in range(5)] == [1, 2, 3, 4, 5]
    clock.advance(HOURS)
    assert [store.incr("attempts", 60) for _ in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.parametrize("step", [HOURS, -HOURS])
def test_two_processes_with_different_clocks_take_nothing_twice(tmp_path: Path, step: int) -> None:
    right, wrong = FrozenClock(), FrozenClock()
    wrong.advance(step)
    one = SQLiteStateStore(tmp_path / "state.sqlite3", right)
    other = SQLiteStateStore(tmp_path / "state.sqlite3", wrong)
    try:
        for number in range(8):
            one.put(f"one{number}", b"v", 600)
            other.put(f"other{number}", b"v", 600)
        won = [
            (store is one, key)
            for key in [f"{name}{number}" for name in ("one", "other") for number in range(8)]
            for store in (one, other, one, other)
            if store.take(key) is not None
        ]
        keys = [key for _, key in won]
        assert len(keys) == len(set(keys)), "taken twice"
        # The process ahead may find the other's entries expired, and remove them; its own all exist.
        ahead = "other" if step > 0 else "one"
        assert [key for key in keys if key.startswith(ahead)] == [f"{ahead}{number}" for number in range(8)]
    finally:
        one.close()
        other.close()
