"""Measure ``take`` from 8 processes with a growing number of live entries."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence

from rich.table import Table

from asok_auth_core.contracts import StateStore
from asok_auth_core.testing.processes import Workers

from .places import BATCH, LIFE, VALUE, Place

PROCESSES = 8
COLUMNS = (
    "store",
    "live entries",
    "takes/s",
    "p50 ms",
    "p99 ms",
    "max ms",
    "put p50 / p99 ms",
    "bytes/entry",
)


def own(worker: int, operations: int, salt: int) -> list[str]:
    """The keys that one worker puts and takes.

    They are digests, so they are spread among the resident keys.
    """
    names = (f"{salt}.{worker}.{number}".encode() for number in range(operations))
    return [f"magic:grant:{hashlib.sha256(name).hexdigest()}" for name in names]


def put_all(store: StateStore, worker: int, operations: int, salt: int) -> list[float]:
    seconds = []
    for key in own(worker, operations, salt):
        begin = time.perf_counter()
        store.put(key, VALUE, LIFE)
        seconds.append(time.perf_counter() - begin)
    return seconds


def take_all(store: StateStore, worker: int, operations: int, salt: int) -> list[float]:
    keys = own(worker, operations, salt)
    random.Random(worker).shuffle(keys)
    seconds = []
    for key in keys:
        begin = time.perf_counter()
        taken = store.take(key)
        seconds.append(time.perf_counter() - begin)
        if taken != VALUE:
            raise AssertionError("an entry is missing")
    return seconds


def quantile(seconds: Sequence[float], share: float) -> float:
    """The ``share`` quantile of ``seconds``, in milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1000


def measure(
    place: Place, sizes: Sequence[int], operations: int, table: Table, progress: Callable[[str], None]
) -> None:
    """Add one row for each number of live entries in ``sizes``, in ascending order."""
    filled, empty = 0, place.size()
    share = operations // PROCESSES
    for salt, wanted in enumerate(sizes):
        while filled < wanted:
            progress(f"{place.name}: {filled:,} of {wanted:,} entries added")
            until = min(filled + BATCH, wanted)
            place.fill(filled, until)
            filled = until
        progress(f"{place.name}: {wanted:,} entries, settling")
        place.settle()
        each = (place.size() - empty) / wanted
        progress(f"{place.name}: {wanted:,} entries, measuring")
        with Workers(place.open_store, PROCESSES) as workers:
            for task in (put_all, take_all):
                # A short warm-up, so that every process has a connection and warm caches.
                workers.start_each(task, lambda worker, salt=salt: (worker, 20, -1 - salt))
                workers.results()
            workers.start_each(put_all, lambda worker, salt=salt: (worker, share, salt))
            puts = [second for part in workers.results() for second in part]
            begin = time.perf_counter()
            workers.start_each(take_all, lambda worker, salt=salt: (worker, share, salt))
            takes = [second for part in workers.results() for second in part]
            elapsed = time.perf_counter() - begin
        p99 = quantile(takes, 0.99)
        table.add_row(
            place.name,
            f"{wanted:,}",
            f"{len(takes) / elapsed:,.0f}",
            f"{quantile(takes, 0.5):.2f}",
            f"[{'green' if p99 <= place.aim else 'red'}]{p99:.2f}[/] (aim {place.aim:g})",
            f"{max(takes) * 1000:.0f}",
            f"{quantile(puts, 0.5):.2f} / {quantile(puts, 0.99):.2f}",
            f"{each:,.0f}" if wanted >= 10_000 else "-",
        )
