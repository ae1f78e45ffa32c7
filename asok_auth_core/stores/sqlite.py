"""State in one SQLite file: the default, for processes on one machine."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from ..contracts import RevocationMark, StateStore
from ..errors import ConfigurationError
from ..types import Clock, Random, StateOperation, StateResult
from .bounds import checked_ttl, checked_value, encoded_key
from .mapped_mark import MappedMark
from .sqlite_file import SQLiteFile

SWEEP = 4
"""Expired rows removed by each write that adds one, so that the file does not keep growing."""

SELECT = "SELECT value, expires FROM state WHERE key = ? AND expires > ?"
UPSERT = (
    "INSERT INTO state (key, value, expires) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)


class SQLiteStateStore(StateStore):
    """``sqlite:///relative/file`` or ``sqlite:////absolute/file``, or a path.

    A relative file is below ``root``. ``clock`` returns seconds since the epoch; all processes must
    share it, like the machine's clock. Raises ConfigurationError for a URL that names no file. The
    file is opened at the first call, which raises StoreUnavailable if the path is wrong.
    """

    def __init__(
        self,
        url_or_path: str | os.PathLike[str],
        clock: Clock = time.time,
        *,
        root: str | os.PathLike[str] = ".",
    ) -> None:
        self._file = SQLiteFile(Path(os.path.abspath(Path(root, _path(url_or_path)))))
        self._clock = clock

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self._file.path

    def put(self, key: str, value: bytes, ttl: int) -> None:
        self._write(StateOperation("put", key, value, ttl))

    def get(self, key: str) -> bytes | None:
        row = self._file.read(SELECT, (encoded_key(key), self._clock()))
        return None if row is None else cast("bytes", row[0])

    def take(self, key: str) -> bytes | None:
        # Requests with random keys must not make others wait for the write lock.
        if self.get(key) is None:
            return None
        return cast("bytes | None", self._write(StateOperation("take", key)))

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        operation = _checked(StateOperation("add", key, value, ttl))
        return self.get(key) is None and bool(self._write(operation))

    def incr(self, key: str, ttl: int) -> int:
        return cast("int", self._write(StateOperation("incr", key, ttl=ttl)))

    def delete(self, key: str) -> None:
        self._write(StateOperation("delete", key))

    def batch(self, operations: Sequence[StateOperation]) -> Sequence[StateResult]:
        checked = [_checked(operation) for operation in operations]
        if all(operation.name == "get" for operation in checked):
            return super().batch(checked)
        return self._file.write(
            lambda connection: [_apply(connection, self._clock(), one) for one in checked]
        )

    def _write(self, operation: StateOperation) -> StateResult:
        checked = _checked(operation)
        return self._file.write(lambda connection: _apply(connection, self._clock(), checked))

    def revocation_mark(self, random: Random) -> RevocationMark:
        return MappedMark(self.path.with_name(self.path.name + "-revocation"), random)

    def close(self) -> None:
        self._file.close()


def _checked(operation: StateOperation) -> StateOperation:
    """``operation`` itself. Raises StoreError for values outside the limits."""
    encoded_key(operation.key)
    if operation.name in ("put", "add"):
        checked_value(operation.value)
    if operation.name in ("put", "add", "incr"):
        checked_ttl(operation.ttl)
    return operation


def _apply(connection: sqlite3.Connection, now: float, operation: StateOperation) -> StateResult:
    """Do a checked ``operation`` inside a transaction that holds the write lock."""
    raw = encoded_key(operation.key)
    if operation.name == "delete":
        connection.execute("DELETE FROM state WHERE key = ?", (raw,))
        return None
    row = connection.execute(SELECT, (raw, now)).fetchone()
    if operation.name in ("get", "take"):
        if operation.name == "take":
            connection.execute("DELETE FROM state WHERE key = ?", (raw,))
        return None if row is None else cast("bytes", row[0])
    if operation.name == "add" and row is not None:
        return False
    if operation.name == "put" or row is None:
        _sweep(connection, now)
    value, expires = operation.value, now + operation.ttl
    if operation.name == "incr":
        before, expires = row or (b"0", expires)
        value = b"%d" % (int(before) + 1)
    connection.execute(UPSERT, (raw, value, expires))
    if operation.name == "incr":
        return int(value)
    return True if operation.name == "add" else None


def _sweep(connection: sqlite3.Connection, now: float) -> None:
    connection.execute(
        "DELETE FROM state WHERE key IN (SELECT key FROM state WHERE expires <= ? ORDER BY expires LIMIT ?)",
        (now, SWEEP),
    )


def _path(url_or_path: str | os.PathLike[str]) -> str:
    """The file that a URL or path names. Raises ConfigurationError if it names none."""
    text = os.fspath(url_or_path)
    path = text
    if text.startswith("sqlite:"):
        location = text.removeprefix("sqlite:")
        for sign, escaped in (("?", "%3F"), ("#", "%23")):
            _, found, after = location.partition(sign)
            if found:
                # Not the value: it may have been meant as a password.
                raise ConfigurationError(
                    f"The URL of the SQLite state store cannot have {sign}{after.partition('=')[0]}: "
                    "it has no parameters and no fragment. "
                    f"In the name of a file, write {sign} as {escaped}."
                )
        # "///": there is no host, as in a file: URL (RFC 8089).
        path = unquote(location.removeprefix("///")) if location.startswith("///") else ""
    if path in ("", ":memory:") or "\0" in path:
        raise ConfigurationError(
            "The URL of the SQLite state store names no file. Write sqlite:///file (below the app's folder) "
            "or sqlite:////absolute/file; for a store in memory, write memory:"
        )
    return path
