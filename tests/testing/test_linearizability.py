"""The checker accepts only histories that can be explained."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
from asok_auth_tests.linearizability import Operation, read, record_together, unexplained
from asok_auth_tests.state_stores import RacyTakes

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.stores.sqlite import SQLiteStateStore


class SlowTakes(RacyTakes):
    pause = 0.01


class FailingStateStore(SQLiteStateStore):
    """Raises at every third take; every second of these has happened all the same."""

    calls = 0

    def take(self, key: str) -> bytes | None:
        self.calls += 1
        if self.calls % 3:
            return super().take(key)
        if self.calls % 2:
            super().take(key)
        raise StoreUnavailable("out of order")


def op(
    name: str, start: float, end: float, answer: str | int | bool | None = None, arg: str = "v"
) -> Operation:
    return Operation("k", name, arg, start, end, answer)


INF = float("inf")


@pytest.mark.parametrize(
    "history",
    [
        [],
        [op("put", 0, 1), op("take", 2, 3, "v"), op("take", 4, 5, None)],
        # Overlapping, so either order is right.
        [op("put", 0, 1), op("take", 2, 5, None), op("take", 3, 6, "v")],
        # A put that raised may have happened, also later.
        [op("put", 0, INF), op("get", 2, 3, None), op("take", 4, 5, "v")],
        [op("put", 0, INF), op("get", 2, 3, None)],
        [op("incr", 0, 3, 2), op("incr", 1, 2, 1), op("incr", 4, 5, 3)],
        [op("add", 0, 3, True), op("add", 1, 4, False), op("delete", 5, 6), op("add", 7, 8, True)],
    ],
)
def test_linearizable_histories_pass(history: list[Operation]) -> None:
    assert unexplained(history) == []


@pytest.mark.parametrize(
    "history",
    [
        [op("put", 0, 1), op("take", 2, 4, "v"), op("take", 3, 5, "v")],
        [op("put", 0, 1), op("take", 2, 3, "v"), op("get", 4, 5, "v")],
        [op("put", 0, 1), op("get", 2, 3, None)],
        [op("put", 0, 1), op("take", 2, INF), op("take", 3, 4, "v"), op("get", 5, 6, "v")],
        [op("add", 0, 2, True), op("add", 1, 3, True)],
        [op("add", 0, 1, False)],
        [op("incr", 0, 2, 1), op("incr", 1, 3, 1)],
        [op("incr", 0, 1, 1), op("incr", 2, 3, 3)],
        [op("get", 0, 1, "v"), op("put", 2, 3)],
    ],
)
def test_other_histories_fail(history: list[Operation]) -> None:
    assert unexplained(history) == ["k"]


def test_a_store_with_a_race_fails(tmp_path: Path) -> None:
    store = partial(SlowTakes, tmp_path / "state.sqlite3")
    assert unexplained(record_together(store, tmp_path / "log", 240, keys=3, processes=3))


@pytest.mark.requirement("SECURITY-1")
def test_sqlite_is_linearizable(tmp_path: Path) -> None:
    store = partial(SQLiteStateStore, tmp_path / "state.sqlite3")
    history = record_together(store, tmp_path / "log", 480, keys=30, processes=4)
    assert len(history) == 480
    assert unexplained(history) == []


def test_a_failed_operation_may_or_may_not_have_happened(tmp_path: Path) -> None:
    store = partial(FailingStateStore, tmp_path / "state.sqlite3")
    during: list[bool] = []

    def disturb() -> None:
        during.append(True)

    history = record_together(store, tmp_path / "log", 160, keys=5, processes=2, disturb=disturb)
    unanswered = [operation for operation in history if operation.end == INF]
    assert {operation.name for operation in unanswered} == {"take"}
    assert during == [True]
    assert unexplained(history) == []


@pytest.mark.requirement("SECURITY-1")
def test_killed_processes_leave_a_linearizable_history(tmp_path: Path) -> None:
    store = partial(SQLiteStateStore, tmp_path / "state.sqlite3")
    many = 1_000_000
    history = record_together(store, tmp_path / "killed", many, keys=30, processes=2, kill_after=0.1)
    assert len(history) < many
    history += record_together(store, tmp_path / "whole", 60, keys=30, processes=2)
    assert unexplained(history) == []


def test_a_line_cut_off_by_a_kill_is_an_unfinished_operation(tmp_path: Path) -> None:
    """Operations without an end may have happened; those without a start did not."""
    unfinished, cut = tmp_path / "unfinished", tmp_path / "cut"
    unfinished.write_text('["take", "k", "1.0", 1.5]\n[2.5, "v"]\n["add", "k", "1.1", 3.5]\n[4.')
    cut.write_text('["put", "k", "2.0", 1.0]\n[2.0, null]\n["ta')
    assert read([unfinished, cut]) == [
        Operation("k", "take", "1.0", 1.5, 2.5, "v"),
        Operation("k", "add", "1.1", 3.5, INF),
        Operation("k", "put", "2.0", 1.0, 2.0, None),
    ]


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_sqlite_is_linearizable_over_many_operations(tmp_path: Path) -> None:
    """10,000 operations, after all processes were killed ten times."""
    store = partial(SQLiteStateStore, tmp_path / "state.sqlite3")
    history = []
    for number in range(10):
        kill_after = random.uniform(0.05, 0.2)
        folder = tmp_path / f"killed{number}"
        history += record_together(store, folder, 8000, keys=200, kill_after=kill_after)
    cut = sum(operation.end == INF for operation in history)
    history += record_together(store, tmp_path / "whole", 10_000, keys=200)
    assert len(history) > 10_000
    assert cut > 0, "some operation was under way when its process was killed"
    assert unexplained(history) == []
