"""The stores to measure, with their servers and a fast way to fill each store.

Every change is on disk before it is acknowledged: SQLite with synchronous FULL, Valkey with
appendfsync always, PostgreSQL with fsync, its default.
"""

from __future__ import annotations

import socket
import sqlite3
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
from asok_auth_tests.postgres_server import PostgresServer
from asok_auth_tests.valkey_server import ValkeyServer

from asok_auth_core.contracts import StateStore
from asok_auth_core.stores.sqlite import SQLiteStateStore

VALUE = bytes(range(200))
"""About the size of the state of a login link or an OAuth login."""

LIFE = 86_400
SPREAD = 2**256 // 10**9
BATCH = 50_000
"""Entries added at a time."""


@dataclass(frozen=True)
class Place:
    """A store to measure.

    ``fill(first, last)`` adds live entries, ``settle()`` waits until the server has finished its
    background work, ``size()`` is in bytes.
    """

    name: str
    url: str
    open_store: Callable[[], StateStore]
    fill: Callable[[int, int], None]
    settle: Callable[[], None]
    size: Callable[[], int]
    aim: float
    """Target for the p99 of ``take``, in milliseconds."""


def resident(number: int) -> bytes:
    """The key of a resident entry: evenly spread like digests.

    The keys are in ascending order, which fills a store faster.
    """
    return b"magic:grant:%064x" % (number * SPREAD)


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Place]:
    path = folder / "state.sqlite3"
    SQLiteStateStore(path).get("make the file")
    connection = sqlite3.connect(path, isolation_level=None)

    def fill(first: int, last: int) -> None:
        rows = ((resident(number), VALUE, time.time() + LIFE) for number in range(first, last))
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO state VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")

    def settle() -> None:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    try:
        yield Place(
            "SQLite",
            f"sqlite:///{path}",
            partial(SQLiteStateStore, path),
            fill,
            settle,
            lambda: path.stat().st_size,
            50,
        )
    finally:
        connection.close()


@contextmanager
def on_valkey(folder: Path) -> Iterator[Place]:
    path = folder / "socket"
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    server = ValkeyServer(folder, "--unixsocket", str(path), *durable)
    server.start()
    client = redis.Redis(unix_socket_path=str(path))
    try:

        def fill(first: int, last: int) -> None:
            # For speed, the log is written once at the end, and replies are counted, not parsed.
            client.config_set("appendonly", "no")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                one = b"*5\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$2\r\nEX\r\n$5\r\n%d\r\n"
                for begin in range(first, last, 500):
                    keys = [b"asok-auth:" + resident(n) for n in range(begin, min(begin + 500, last))]
                    connection.sendall(
                        b"".join(one % (len(key), key, len(VALUE), VALUE, LIFE) for key in keys)
                    )
                    left = len(keys) * len(b"+OK\r\n")
                    while left:
                        left -= len(connection.recv(left))

        def settle() -> None:
            client.config_set("appendonly", "yes")
            while (client.info("persistence"))["aof_rewrite_in_progress"]:
                time.sleep(0.2)
            # A rewrite of gigabytes would distort the measurement; an operator would schedule it.
            client.config_set("auto-aof-rewrite-percentage", 0)

        def size() -> int:
            return int(client.info("memory")["used_memory"])

        url = f"unix://{path}"
        yield Place("Valkey", url, partial(RedisStateStore, url), fill, settle, size, 5)
    finally:
        client.close()
        server.stop()


@contextmanager
def on_postgresql(folder: Path) -> Iterator[Place]:
    server = PostgresServer(folder)
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

        def settle() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE asok_auth_state")
                connection.execute("CHECKPOINT")

        def size() -> int:
            with psycopg.connect(url) as connection:
                row = connection.execute("SELECT pg_total_relation_size('asok_auth_state')").fetchone()
            return int(row[0]) if row else 0

        yield Place("PostgreSQL", url, partial(PostgresStateStore, url), fill, settle, size, 15)
    finally:
        server.remove()


PLACES = {"sqlite": on_sqlite, "valkey": on_valkey, "postgresql": on_postgresql}
