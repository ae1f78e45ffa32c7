"""Check recorded histories for linearizability.

A history is linearizable if one order of its operations explains every answer and agrees with the
clock: M. Herlihy and J. Wing, "Linearizability" (1990). The search follows G. Lowe, "Testing for
linearizability" (2017). Keys are independent, so each key's history is checked alone.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asok_auth_core.contracts import StateStore
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.testing.processes import Workers
from asok_auth_core.testing.waiting import wait_until

TTL = 100_000
"""Seconds; nothing expires while a history is recorded."""

PAUSE = 0.1
"""Seconds a worker waits after an error, so that an outage adds few operations to check."""

State = str | int | None
Answer = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. ``end`` is infinite if its outcome is unknown (an error, a kill)."""

    key: str
    name: str
    argument: str
    start: float
    end: float = float("inf")
    answer: Answer = None


def record_together(
    open_store: Callable[[], StateStore],
    folder: Path,
    operations: int,
    *,
    keys: int,
    processes: int = 8,
    disturb: Callable[[], None] | None = None,
    kill_after: float | None = None,
) -> list[Operation]:
    """Record ``operations`` answered ones, by ``processes`` at once.

    ``disturb`` runs meanwhile.

    Operations that fail come on top, however long an outage takes. With ``kill_after`` the processes
    are killed that many seconds after the first operation. Call this again with another folder to
    continue with the same store.
    """
    folder.mkdir()
    seed = random.randrange(2**32)  # repeatable, not secret
    with Workers(open_store, processes) as workers:
        workers.start_each(record, lambda n: (str(folder / str(n)), seed + n, keys, operations // processes))
        wait_until(lambda: any(log.stat().st_size for log in folder.iterdir()), "the first operation")
        if disturb:
            disturb()
        if kill_after is None:
            workers.results()
        else:
            time.sleep(kill_after)
            workers.kill()
    return read(sorted(folder.iterdir()))


def record(store: StateStore, log: str, seed: int, keys: int, operations: int) -> None:
    """Run random operations until ``operations`` are answered.

    The start and end of each are written to ``log``.
    """
    chance = random.Random(seed)  # repeatable, not secret
    with open(log, "a", buffering=1) as lines:
        number = answered = 0
        while answered < operations:
            number += 1
            name = chance.choice(("take", "take", "add", "add", "put", "get", "delete", "incr"))
            kind = "counter" if name == "incr" else "value"
            key, argument = f"{kind}{chance.randrange(keys)}", f"{seed}.{number}"
            lines.write(json.dumps([name, key, argument, time.monotonic()]) + "\n")
            try:
                answer = _call(store, name, key, argument)
            except StoreUnavailable:
                lines.write("null\n")
                time.sleep(PAUSE)
            else:
                lines.write(json.dumps([time.monotonic(), answer]) + "\n")
                answered += 1


def read(logs: Iterable[Path]) -> list[Operation]:
    """Read the operations that :func:`record` wrote; a log may end in a cut-off line."""
    found = []
    for log in logs:
        lines = log.read_text().splitlines()
        for started, ended in zip(lines[::2], [*lines[1::2], "null"], strict=False):
            try:
                name, key, argument, start = json.loads(started)
            except ValueError:
                continue  # killed while writing the line, so the operation did not start
            try:
                outcome = json.loads(ended)
            except ValueError:
                outcome = None
            end, answer = outcome or (float("inf"), None)
            found.append(Operation(key, name, argument, start, end, answer))
    return found


def unexplained(history: Iterable[Operation]) -> list[str]:
    """The keys whose answers no order of operations explains; empty if valid."""
    by_key = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    return [
        key
        for key, operations in sorted(by_key.items())
        if not _explained(sorted(operations, key=lambda operation: operation.start))
    ]


def _explained(operations: Sequence[Operation]) -> bool:
    known = sum(1 << i for i, operation in enumerate(operations) if operation.end != float("inf"))
    seen: set[tuple[int, State]] = set()
    todo: list[tuple[int, State]] = [(0, None)]
    while todo:
        done, state = todo.pop()
        if done & known == known:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        # An operation that ended must precede those that started later.
        horizon = float("inf")
        for i, operation in enumerate(operations):
            if operation.start > horizon:
                break
            if done >> i & 1:
                continue
            horizon = min(horizon, operation.end)
        for i, operation in enumerate(operations):
            if operation.start > horizon:
                break
            if not done >> i & 1:
                after, answer = _model(state, operation)
                if operation.end == float("inf") or answer == operation.answer:
                    todo.append((done | 1 << i, after))
    return False


def _model(state: State, operation: Operation) -> tuple[State, Answer]:
    """The state after the operation, and the correct answer."""
    if operation.name == "incr":
        count = int(state or 0) + 1
        return count, count
    if operation.name == "add":
        return (operation.argument, True) if state is None else (state, False)
    if operation.name == "put":
        return operation.argument, None
    if operation.name == "get":
        return state, state
    if operation.name == "take":
        return None, state
    return None, None  # delete


def _call(store: StateStore, name: str, key: str, argument: str) -> Answer:
    if name == "incr":
        return store.incr(key, TTL)
    if name == "add":
        return store.add(key, argument.encode(), TTL)
    if name == "put":
        store.put(key, argument.encode(), TTL)
        return None
    if name == "delete":
        store.delete(key)
        return None
    value = store.get(key) if name == "get" else store.take(key)
    return None if value is None else value.decode()


def check_restarts(
    open_store: Callable[[], StateStore], folder: Path, restart: Callable[[], None], *, pause: float
) -> None:
    """Fail unless 10,000 operations are linearizable across three restarts."""

    def restarts() -> None:
        for _ in range(3):
            time.sleep(pause)
            restart()

    history = record_together(open_store, folder / "restarts", 4000, keys=250, disturb=restarts)
    unanswered = sum(operation.end == float("inf") for operation in history)
    history += record_together(open_store, folder / "calm", 8000, keys=250)
    assert unanswered > 0, "the restarts were felt"
    assert len(history) - unanswered > 10_000
    assert unexplained(history) == []
