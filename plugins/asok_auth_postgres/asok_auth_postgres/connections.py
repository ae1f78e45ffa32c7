"""Connections that give up in time, pooled for one process."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from asok_auth_core.errors import ConfigurationError

CONNECTING = 0.9
"""Seconds to wait for a free or new connection."""

DEADLINE = 1.9
"""Seconds for a whole call, waiting for a connection included."""

RV = TypeVar("RV")

_inherited: list[object] = []
"""Pools of a parent process: neither used nor closed here, the server's end belongs to the parent."""


class TimedConnection(psycopg.Connection[tuple[object, ...]]):
    """Waits for the server until ``deadline`` (of ``time.monotonic``), not for ever.

    A ``statement_timeout`` is no help against a server that is paused or cut off.
    """

    deadline = float("inf")
    failure: ClassVar[deque[str]]

    @classmethod
    def connect(cls, *arguments: Any, **keywords: Any) -> Any:
        try:
            return super().connect(*arguments, **keywords)
        except psycopg.Error as error:
            cls.failure.append(str(error).strip().splitlines()[0] if str(error).strip() else "")
            raise

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            wanted = next(gen)
            with selectors.DefaultSelector() as selector:
                selector.register(self.fileno(), int(wanted))
                while True:
                    ready = selector.select(max(0.0, min(self.deadline - time.monotonic(), 60.0)))
                    if not ready:
                        raise psycopg.OperationalError("no answer in time")
                    wanted = gen.send(psycopg.waiting.Ready(ready[0][1]))
                    selector.modify(self.fileno(), int(wanted))
        except StopIteration as end:
            return cast("RV", end.value)


class Connections:
    """The connections of one process; of a forked one, its own. ``target`` is fit for messages."""

    def __init__(self, url: str) -> None:
        self._conninfo, self._most = _split(url)
        self.target = _target(self._conninfo)
        self._lock = threading.Lock()
        self._pool: ConnectionPool[TimedConnection] | None = None
        self._pid = 0
        self._class: type[TimedConnection] = type(
            "StateConnection", (TimedConnection,), {"failure": deque(maxlen=1)}
        )

    @property
    def failure(self) -> str:
        """Why the last attempt to connect failed; empty if none did."""
        failures: deque[str] = self._class.failure
        return failures[0] if failures else ""

    @contextmanager
    def use(self, deadline: float) -> Iterator[TimedConnection]:
        """A connection that works, for this thread alone. Raises ``psycopg.Error``."""
        pool = self._opened()
        connection = self._get(pool, deadline)
        try:
            connection.deadline = deadline
            yield connection
        except BaseException:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.close()
            raise
        finally:
            pool.putconn(connection)

    def close(self) -> None:
        """Close the pool; the next call opens another."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            if self._pid == os.getpid():
                pool.close(timeout=1)
            else:
                _inherited.append(pool)

    def _get(self, pool: ConnectionPool[TimedConnection], deadline: float) -> TimedConnection:
        until = min(time.monotonic() + CONNECTING, deadline)
        while True:
            connection = pool.getconn(max(0.0, until - time.monotonic()))
            if _is_quiet(connection):
                self._class.failure.clear()
                return connection
            # The server hung up while it was idle (a restart, say); so it was not used for anything.
            connection.close()
            pool.putconn(connection)

    def _opened(self) -> ConnectionPool[TimedConnection]:
        if self._pool is None or self._pid != os.getpid():
            with self._lock:
                if self._pool is None or self._pid != os.getpid():
                    if self._pool is not None:
                        _inherited.append(self._pool)
                    self._pool, self._pid = self._make(), os.getpid()
        return self._pool

    def _make(self) -> ConnectionPool[TimedConnection]:
        return ConnectionPool(
            self._conninfo,
            connection_class=self._class,
            # Not prepared, so that PgBouncer may pool by transaction.
            kwargs={"autocommit": True, "connect_timeout": 2, "prepare_threshold": None},
            min_size=0,
            max_size=self._most,
            # Given up soon and tried anew by the next call, rather than ever more rarely.
            reconnect_timeout=0.5,
            open=True,
            name="asok-auth",
        )


def _is_quiet(connection: TimedConnection) -> bool:
    """False if an idle connection has something to read: the server's good-bye."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return not selector.select(0)


def _split(url: str) -> tuple[str, int]:
    """libpq's part of the URL, and the most connections of a process."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    most = dict(options).get("max_connections", "10")
    if not (most.isascii() and most.isdigit() and int(most) >= 1):
        raise ConfigurationError(f"max_connections in the PostgreSQL URL is a number from 1, got {most!r}.")
    rest = urlencode([pair for pair in options if pair[0] != "max_connections"])
    conninfo = urlunsplit((parts.scheme, parts.netloc, parts.path, rest, ""))
    if not parts.netloc:  # urlunsplit leaves the empty host out, libpq wants its slashes
        conninfo = conninfo.replace(":/", ":///", 1)
    # libpq quotes what it does not understand, which may be the password; so its text is not shown.
    wrong = ConfigurationError(
        "The PostgreSQL URL is wrong; write one like postgresql://user:password@host:5432/database"
    )
    try:
        ports = str(conninfo_to_dict(conninfo).get("port") or "")
    except psycopg.ProgrammingError:
        raise wrong from None
    if any(port and not port.isdigit() for port in ports.split(",")):
        raise wrong
    return conninfo, int(most)


def _target(conninfo: str) -> str:
    given = conninfo_to_dict(conninfo)
    place = given.get("host") or given.get("hostaddr") or "the default host"
    return f"{place}:{given['port']}" if given.get("port") else str(place)
