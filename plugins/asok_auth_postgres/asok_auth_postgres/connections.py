"""A connection pool per process, whose connections have a deadline."""

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

from asok_auth_core.plugin import ConfigurationError

CONNECTING = 0.9
"""Seconds to wait for a free or new connection."""

DEADLINE = 1.9
"""Seconds for a whole call, including the wait for a connection."""

RV = TypeVar("RV")

_inherited: list[object] = []
"""Pools of the parent process; neither used nor closed here, because the parent still uses them."""


class TimedConnection(psycopg.Connection[tuple[object, ...]]):
    """A connection that waits for the server until ``deadline``.

    ``deadline`` is a ``time.monotonic`` time.

    A ``statement_timeout`` does not help if the server is paused or unreachable.
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
    """The connections of one process; a fork gets its own.

    ``target`` names the server in messages.
    """

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
        """Why the last attempt to connect failed; empty if it succeeded."""
        failures: deque[str] = self._class.failure
        return failures[0] if failures else ""

    @contextmanager
    def use(self, deadline: float) -> Iterator[TimedConnection]:
        """Yield a working connection for this thread. Raises ``psycopg.Error``."""
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
            # The server closed it while it was idle, for example in a restart; try another one.
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
            # No prepared statements, so that PgBouncer may pool by transaction.
            kwargs={"autocommit": True, "connect_timeout": 2, "prepare_threshold": None},
            min_size=0,
            max_size=self._most,
            # Give up soon; the next call tries again, instead of the pool with growing delays.
            reconnect_timeout=0.5,
            open=True,
            name="asok-auth",
        )


def _is_quiet(connection: TimedConnection) -> bool:
    """False if an idle connection has data to read, because the server closed it."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return not selector.select(0)


def _split(url: str) -> tuple[str, int]:
    """Split the URL into libpq's connection string and the pool's maximum size."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    most = dict(options).get("max_connections", "10")
    if not (most.isascii() and most.isdigit() and int(most) >= 1):
        raise ConfigurationError(
            f"max_connections in the PostgreSQL URL must be a number of at least 1, got {most!r}."
        )
    rest = urlencode([pair for pair in options if pair[0] != "max_connections"])
    conninfo = urlunsplit((parts.scheme, parts.netloc, parts.path, rest, ""))
    if not parts.netloc:  # urlunsplit drops the slashes of an empty host, which libpq needs
        conninfo = conninfo.replace(":/", ":///", 1)
    # libpq's message quotes what it cannot parse, possibly the password, so it is not shown.
    invalid = ConfigurationError(
        "The PostgreSQL URL is invalid. Example: postgresql://user:password@host:5432/database"
    )
    try:
        ports = str(conninfo_to_dict(conninfo).get("port") or "")
    except psycopg.ProgrammingError:
        raise invalid from None
    if any(port and not port.isdigit() for port in ports.split(",")):
        raise invalid
    return conninfo, int(most)


def _target(conninfo: str) -> str:
    given = conninfo_to_dict(conninfo)
    place = given.get("host") or given.get("hostaddr") or "the default host"
    return f"{place}:{given['port']}" if given.get("port") else str(place)
