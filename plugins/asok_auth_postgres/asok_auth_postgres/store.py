"""The state store: each operation is one statement, correct at READ COMMITTED."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import psycopg
from psycopg import sql
from psycopg_pool import PoolTimeout

from asok_auth_core.plugin import (
    Clock,
    StateOperation,
    StateResult,
    StateStore,
    StoreUnavailable,
    checked_ttl,
    checked_value,
    encoded_key,
)

from .connections import DEADLINE, Connections
from .schema import prepare

SWEEP_EVERY, SWEEP = 16, 64
"""Every 16th write that may add a row first removes up to 64 expired ones, so the table shrinks."""

# Not clock_timestamp(): it is volatile, so no index can be used and sweeping would read every row.
DATABASE_TIME = "extract(epoch FROM now())::float8"
GIVEN_TIME = "%(now)s::float8"

PUT = """
INSERT INTO asok_auth_state AS s (key, value, expires) VALUES (%(key)s, %(value)s, {now} + %(ttl)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires
"""
ADD = PUT + " WHERE s.expires <= {now} RETURNING 1"
GET = "SELECT value FROM asok_auth_state WHERE key = %(key)s AND expires > {now}"
TAKE = "DELETE FROM asok_auth_state WHERE key = %(key)s AND expires > {now} RETURNING value"
DELETE = "DELETE FROM asok_auth_state WHERE key = %(key)s"
INCR = """
INSERT INTO asok_auth_state AS s (key, value, expires) VALUES (%(key)s, '1', {now} + %(ttl)s)
ON CONFLICT (key) DO UPDATE SET
  value = CASE WHEN s.expires > {now}
    THEN convert_to((convert_from(s.value, 'UTF8')::bigint + 1)::text, 'UTF8') ELSE '1' END,
  expires = CASE WHEN s.expires > {now} THEN s.expires ELSE excluded.expires END
RETURNING value
"""
# SKIP LOCKED, so that processes that sweep at the same time do not wait for each other.
SWEEP_OUT = """
DELETE FROM asok_auth_state WHERE key = ANY (ARRAY(
  SELECT key FROM asok_auth_state WHERE expires <= {now} ORDER BY expires LIMIT %(sweep)s
  FOR UPDATE SKIP LOCKED))
"""

_SQL = {"put": PUT, "get": GET, "take": TAKE, "add": ADD, "incr": INCR, "delete": DELETE}


class PostgresStateStore(StateStore):
    """A store for a libpq URL.

    It uses the database server's clock unless ``clock`` is given.

    Raises ConfigurationError for an invalid URL. Connects with the first call.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._connections = Connections(url)
        self._clock = clock
        now = sql.SQL(DATABASE_TIME if clock is None else GIVEN_TIME)
        self._sql = {text: sql.SQL(text).format(now=now) for text in (*_SQL.values(), SWEEP_OUT)}
        self._writes = itertools.count()
        self._prepared = False

    def put(self, key: str, value: bytes, ttl: int) -> None:
        self.batch([StateOperation("put", key, value, ttl)])

    def get(self, key: str) -> bytes | None:
        return cast("bytes | None", self.batch([StateOperation("get", key)])[0])

    def take(self, key: str) -> bytes | None:
        return cast("bytes | None", self.batch([StateOperation("take", key)])[0])

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        return bool(self.batch([StateOperation("add", key, value, ttl)])[0])

    def incr(self, key: str, ttl: int) -> int:
        return cast("int", self.batch([StateOperation("incr", key, ttl=ttl)])[0])

    def delete(self, key: str) -> None:
        self.batch([StateOperation("delete", key)])

    def batch(self, operations: Sequence[StateOperation]) -> Sequence[StateResult]:
        arguments = [self._arguments(operation) for operation in operations]
        # The statements of a batch are one transaction. In the order of the keys, two of them cannot block
        # each other; operations on one key stay in their order, because sorting is stable.
        order = sorted(range(len(operations)), key=lambda number: operations[number].key.encode())
        rows = self._run([(_SQL[operations[number].name], arguments[number]) for number in order])
        results: list[StateResult] = [None] * len(operations)
        for number, row in zip(order, rows, strict=True):
            results[number] = _result(operations[number].name, row)
        return results

    def close(self) -> None:
        self._connections.close()

    def _arguments(self, operation: StateOperation) -> dict[str, object]:
        """The parameters of its statement. Raises StoreError outside the limits."""
        writes = operation.name in ("put", "add")
        return {
            "key": encoded_key(operation.key),
            "value": checked_value(operation.value) if writes else None,
            "ttl": checked_ttl(operation.ttl) if writes or operation.name == "incr" else None,
            "now": self._clock() if self._clock else None,
            "sweep": SWEEP,
        }

    def _run(self, statements: Sequence[tuple[str, dict[str, object]]]) -> list[tuple[object, ...] | None]:
        """The one row of each statement, or None.

        Raises StoreUnavailable within two seconds.
        """
        if not statements:
            return []
        deadline = time.monotonic() + DEADLINE
        pipelined = len(statements) > 1 and psycopg.Pipeline.is_supported()
        try:
            with self._connections.use(deadline) as connection:
                if not self._prepared:
                    prepare(connection)
                    self._prepared = True
                # Sweep first: if it fails, nothing has been granted yet.
                if any(given["ttl"] for _, given in statements) and next(self._writes) % SWEEP_EVERY == 0:
                    connection.execute(self._sql[SWEEP_OUT], statements[0][1])
                with connection.pipeline() if pipelined else nullcontext():
                    cursors = [
                        connection.execute(self._sql[text], given, binary=True) for text, given in statements
                    ]
                return [cursor.fetchone() if cursor.description else None for cursor in cursors]
        except psycopg.errors.UndefinedTable as error:
            self._prepared = False
            raise StoreUnavailable(
                f"{self._named()} has lost its tables; the next call creates them."
            ) from error
        except psycopg.Error as error:
            raise StoreUnavailable(self._explain(error)) from error

    def _named(self) -> str:
        return f"The PostgreSQL server {self._connections.target}"

    def _explain(self, error: psycopg.Error) -> str:
        """The error message for the operator, without passwords and values."""
        if isinstance(error, PoolTimeout):
            why = self._connections.failure
            return f"{self._named()} provided no connection in time{f' ({why})' if why else ''}."
        for kind, meaning in _MEANINGS:
            if isinstance(error, kind):
                return f"{self._named()} {meaning}"
        return f"{self._named()} rejected the statement ({type(error).__name__})."


def _result(name: str, row: tuple[object, ...] | None) -> StateResult:
    """What the method ``name`` returns for the row of its statement."""
    if name == "add":
        return row is not None
    value = None if row is None else cast("bytes", row[0])
    return int(value or b"") if name == "incr" else value


_MEANINGS: tuple[tuple[type[psycopg.Error], str], ...] = (
    (psycopg.errors.ReadOnlySqlTransaction, "is read-only (a standby?)."),
    (psycopg.errors.DiskFull, "has a full disk."),
    (psycopg.errors.OutOfMemory, "is out of memory."),
    (
        psycopg.errors.InsufficientPrivilege,
        "does not allow this user to create or change the state tables.",
    ),
    (psycopg.errors.AdminShutdown, "is shutting down."),
    (psycopg.errors.CannotConnectNow, "is starting or shutting down."),
    (psycopg.errors.QueryCanceled, "canceled the statement (statement_timeout?)."),
    (psycopg.errors.SerializationFailure, "is not at READ COMMITTED (default_transaction_isolation)."),
    (psycopg.OperationalError, "did not answer in time, or closed the connection."),
)
