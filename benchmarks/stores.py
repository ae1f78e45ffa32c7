"""How fast state stores are: `take` under 8 processes, and whether many live entries slow it down.

    python benchmarks/stores.py [--entries 1000,100000] [--operations 16000] [--stores sqlite,valkey]

Servers come from wheels and run on this machine. Every change is on disk before it is acknowledged:
SQLite with synchronous FULL, Valkey with appendfsync always, PostgreSQL with fsync, as is its default.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import redis
from asok_auth_postgres import PostgresStateStore
from asok_auth_redis import RedisStateStore
from rich.console import Console
from rich.table import Table

from asok_auth_core.contracts import StateStore
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.postgres_server import PostgresServer
from asok_auth_core.testing.processes import Workers
from asok_auth_core.testing.valkey_server import ValkeyServer

PROCESSES = 8
VALUE = bytes(range(200))
"""About what a login link or an OAuth flow keeps."""

LIFE = 86_400
SPREAD = 2**256 // 10**9


@dataclass(frozen=True)
class Place:
    """A store to measure; ``fill(first, last)`` adds live entries quickly, ``size()`` is in bytes."""

    name: str
    open_store: Callable[[], StateStore]
    fill: Callable[[int, int], None]
    size: Callable[[], int]
    aim: float
    """The p99 of `take` to stay below, in milliseconds."""


def resident(number: int) -> bytes:
    """The key of an entry that stays: like a digest, evenly spread, and in order quick to fill in."""
    return b"magic:grant:%064x" % (number * SPREAD)


def own(worker: int, operations: int, salt: int) -> list[str]:
    """The keys that one worker puts and takes: digests, so anywhere among the resident ones."""
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
            raise AssertionError("an entry was not there")
    return seconds


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Place]:
    path = folder / "state.sqlite3"
    SQLiteStateStore(path).get("make the file")

    def fill(first: int, last: int) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        rows = ((resident(number), VALUE, time.time() + LIFE) for number in range(first, last))
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO state VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    yield Place("SQLite", partial(SQLiteStateStore, path), fill, lambda: path.stat().st_size, 50)


@contextmanager
def on_valkey(folder: Path) -> Iterator[Place]:
    socket = folder / "socket"
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    server = ValkeyServer(folder, "--unixsocket", str(socket), *durable)
    server.start()
    client = redis.Redis(unix_socket_path=str(socket))
    try:

        def fill(first: int, last: int) -> None:
            for begin in range(first, last, 10_000):
                pipe = client.pipeline(transaction=False)
                for number in range(begin, min(begin + 10_000, last)):
                    pipe.set(b"asok-auth:" + resident(number), VALUE, ex=LIFE)
                pipe.execute()

        def size() -> int:
            return int(client.info("memory")["used_memory"])

        yield Place("Valkey", partial(RedisStateStore, f"unix://{socket}"), fill, size, 5)
    finally:
        client.close()
        server.stop()


@contextmanager
def on_postgresql(folder: Path) -> Iterator[Place]:
    server = PostgresServer()
    server.start()
    url = server.url
    try:
        store = PostgresStateStore(url)
        store.get("make the tables")
        store.close()

        def fill(first: int, last: int) -> None:
            statement = "COPY asok_auth_state FROM STDIN (FORMAT BINARY)"
            with psycopg.connect(url) as connection, connection.cursor().copy(statement) as copy:
                copy.set_types(["bytea", "bytea", "float8"])
                for number in range(first, last):
                    copy.write_row((resident(number), VALUE, time.time() + LIFE))
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE asok_auth_state")

        def size() -> int:
            with psycopg.connect(url) as connection:
                row = connection.execute("SELECT pg_total_relation_size('asok_auth_state')").fetchone()
            return int(row[0]) if row else 0

        yield Place("PostgreSQL", partial(PostgresStateStore, url), fill, size, 15)
    finally:
        server.remove()


def quantile(seconds: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1000


def measure(place: Place, sizes: list[int], operations: int, table: Table) -> None:
    filled, empty = 0, place.size()
    share = operations // PROCESSES
    for salt, wanted in enumerate(sizes):
        place.fill(filled, wanted)
        filled = wanted
        each = (place.size() - empty) / wanted
        with Workers(place.open_store, PROCESSES) as workers:
            for task in (put_all, take_all):
                # Once a little, so that every process has its connection and its caches.
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


def main() -> None:
    known = {"sqlite": on_sqlite, "valkey": on_valkey, "postgresql": on_postgresql}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", default="1000,10000,100000,1000000", help="live entries, up to 10000000")
    parser.add_argument("--operations", type=int, default=16_000, help="takes in all, over 8 processes")
    parser.add_argument("--stores", default=",".join(known))
    chosen = parser.parse_args()
    sizes = sorted(int(text) for text in chosen.entries.split(","))
    columns = (
        "store",
        "live entries",
        "takes/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "put p50 / p99 ms",
        "bytes/entry",
    )
    table = Table(*columns, title=f"take by {PROCESSES} processes on {os.cpu_count()} cores")
    for name in chosen.stores.split(","):
        folder = Path(tempfile.mkdtemp(prefix="bench"))
        try:
            with known[name](folder) as place:
                measure(place, sizes, chosen.operations, table)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
