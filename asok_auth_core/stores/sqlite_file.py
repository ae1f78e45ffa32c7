"""One SQLite file: opening, schema, waiting for its lock, errors."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import StoreUnavailable
from .bounds import DEADLINE

APPLICATION_ID = 0x41536F6B
"""``PRAGMA application_id`` of the file, so that another program's database is not written to."""

MIGRATIONS = (
    (
        "CREATE TABLE state (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL)"
        " WITHOUT ROWID",
        "CREATE INDEX state_expires ON state (expires)",
    ),
)
"""Statements that upgrade schema version n to n + 1; ``PRAGMA user_version`` holds a file's version."""

POLL = 0.001
"""Seconds, at most, between two attempts on a locked file."""

T = TypeVar("T")

_inherited: list[object] = []
"""Connections of a parent process. SQLite forbids even closing them after a fork, so they are kept."""


class StoreConnection(sqlite3.Connection):
    """A named subclass, so that a ResourceWarning shows whose it is."""


class SQLiteFile:
    """Runs transactions on a file from any thread, also after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pool = _Pool()

    def read(self, statement: str, arguments: tuple[object, ...]) -> tuple[object, ...] | None:
        """The first row. Raises StoreUnavailable within two seconds."""

        def query(connection: sqlite3.Connection) -> tuple[object, ...] | None:
            rows: list[tuple[object, ...]] = connection.execute(statement, arguments).fetchall()
            return rows[0] if rows else None

        deadline = time.monotonic() + DEADLINE
        with self._opened(deadline) as opened:
            return _patiently(query, opened.connection, deadline)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` alone among threads and processes; all of it or nothing.

        Raises StoreUnavailable within two seconds, in which case nothing was granted.
        """
        deadline = time.monotonic() + DEADLINE
        writing = self._current_pool().writing
        # Threads queue here, in order, rather than compete for the file's lock by sleeping.
        if not writing.acquire(timeout=DEADLINE):
            raise StoreUnavailable(self._explain("database is locked"))
        try:
            with self._opened(deadline) as opened:
                connection = opened.connection
                _patiently(lambda c: c.execute("BEGIN IMMEDIATE"), connection, deadline)
                result = work(connection)
                connection.execute("COMMIT")
                # If the file was removed meanwhile, another process may grant the same in a new one.
                self._check_identity(opened)
                return result
        finally:
            writing.release()

    def close(self) -> None:
        """Close the connections that are not in use; the next call opens new ones."""
        idle = self._current_pool().idle
        while idle:
            idle.pop().connection.close()

    def _current_pool(self) -> _Pool:
        if self._pool.pid != os.getpid():
            _inherited.append(self._pool)
            self._pool = _Pool()
        return self._pool

    @contextmanager
    def _opened(self, deadline: float) -> Iterator[_Opened]:
        """A connection of this process for exclusive use."""
        pool = self._current_pool()
        opened = None
        try:
            try:
                opened = pool.idle.pop()
            except IndexError:
                opened = self._open(deadline)
            else:
                self._check_identity(opened)
            yield opened
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(self._explain(str(error))) from error
        finally:
            if opened is not None:
                self._give_back(pool, opened)

    def _give_back(self, pool: _Pool, opened: _Opened) -> None:
        try:
            opened.connection.rollback()
        except sqlite3.Error:
            opened.stale = True  # closing rolls back, and a connection in doubt is not used again
        if opened.stale:
            opened.connection.close()
        else:
            pool.idle.append(opened)

    def _check_identity(self, opened: _Opened) -> None:
        """Raises StoreUnavailable, once, if the path names another file now."""
        if self._identity() != opened.identity:
            opened.stale = True
            self.close()
            raise StoreUnavailable(self._explain("file is gone"))

    def _open(self, deadline: float) -> _Opened:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would make it world-readable; -wal and -shm take over the file's mode.
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        identity = self._identity()
        # Time-out 0: waiting is done in _patiently, with one deadline for the whole call.
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, factory=StoreConnection
        )
        opened = _Opened(connection, identity)
        try:
            _patiently(self._prepare, connection, deadline)
            self._check_identity(opened)
        except BaseException:
            connection.close()
            raise
        return opened

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # FULL: what was taken stays taken even if the machine loses power.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        version = self._version(connection)
        if version < len(MIGRATIONS):
            connection.execute("PRAGMA journal_mode = WAL")
            self._migrate(connection)
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(
                f"The state file {self.path} lies on a file system without shared memory (a network share?), "
                "where SQLite cannot be used by several processes safely. Put it on a local disk."
            )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statements in MIGRATIONS[self._version(connection) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def _version(self, connection: sqlite3.Connection) -> int:
        """The file's schema version. Raises StoreUnavailable if it is foreign or newer."""
        # One statement, so that a file which another process is setting up is seen before or after.
        version, application, objects = connection.execute(
            "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)"
            " FROM pragma_user_version, pragma_application_id"
        ).fetchone()
        if application != APPLICATION_ID and (version or objects):
            raise StoreUnavailable(
                f"The file {self.path} is a database of another program, not a state store of asok-auth. "
                'Name another file in AUTH["STATE_STORE"].'
            )
        if version > len(MIGRATIONS):
            raise StoreUnavailable(
                f"The state file {self.path} has schema version {version}; this asok-auth-core knows up to "
                f"{len(MIGRATIONS)}. Upgrade asok-auth-core, or name another file."
            )
        return int(version)

    def _identity(self) -> tuple[int, int] | None:
        """Device and inode the path leads to now, or None."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _explain(self, text: str) -> str:
        """The message to the app's operator about an error of SQLite or the system."""
        return f"The state file {self.path} " + next(
            (meaning for sign, meaning in _MEANINGS if sign in text.lower()), f"cannot be used: {text}."
        )


@dataclass(slots=True)
class _Opened:
    """A connection and the file it is connected to."""

    connection: sqlite3.Connection
    identity: tuple[int, int] | None
    stale: bool = False


class _Pool:
    """This process's connections that are not in use."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.idle: deque[_Opened] = deque()
        self.writing = threading.Lock()


def _patiently(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection, deadline: float) -> T:
    """Call ``work(connection)`` until ``deadline`` while the file is locked."""
    while True:
        try:
            return work(connection)
        except sqlite3.OperationalError as error:
            # sqlite_errorcode would tell, but only from Python 3.11 on.
            if "locked" not in str(error) or time.monotonic() + POLL > deadline:
                raise
        # The lock has no queue, so a rare caller would starve behind constant writers: all poll equally
        # often, at random times that do not coincide. The randomness need not be secret.
        time.sleep(random.uniform(0.2, 1.0) * POLL)  # noqa: S311


_MEANINGS = (
    ("locked", f"is locked: another process has been writing for more than {DEADLINE:g} seconds."),
    ("file is gone", "was deleted or replaced while in use. The next call creates a new one."),
    ("readonly", "cannot be written. Check the permissions of the file and its folder, and the mount."),
    ("read-only", "cannot be written. Check the permissions of the file and its folder, and the mount."),
    ("unable to open", "cannot be opened. Check that its folder exists and may be written."),
    ("permission denied", "cannot be opened. Check that its folder exists and may be written."),
    ("full", "cannot grow: the disk is full. Free some space."),
    ("no space", "cannot be created: the disk is full. Free some space."),
    ("disk i/o", "cannot be read or written: disk error, quota or file size limit."),
    ("not a database", "is not a SQLite database. Move it away; a new one is created."),
    ("malformed", "is damaged. Move it away; a new one is created."),
)
