"""The state store: each operation is one statement, correct at READ COMMITTED."""

from __future__ import annotations

import itertools
import time
from typing import cast

import psycopg
from psycopg import sql
from psycopg_pool import PoolTimeout

from asok_auth_core.contracts import StateStore
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.stores.bounds import checked_ttl, checked_value, encoded_key
from asok_auth_core.types import Clock

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


class PostgresStateStore(StateStore):
    """A store for a libpq URL. It uses the database server's clock unless ``clock`` is given.

    Raises ConfigurationError for an invalid URL. Connects with the first call.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._connections = Connections(url)
        self._clock = clock
        now = sql.SQL(DATABASE_TIME if clock is None else GIVEN_TIME)
        self._sql = {
            text: sql.SQL(text).format(now=now) for text in (PUT, ADD, GET, TAKE, DELETE, INCR, SWEEP_OUT)
        }
        self._writes = itertools.count()
        self._prepared = False

    def put(self, key: str, value: bytes, ttl: int) -> None:
        self._run(PUT, key, checked_value(value), checked_ttl(ttl))

    def get(self, key: str) -> bytes | None:
        return self._run(GET, key)

    def take(self, key: str) -> bytes | None:
        return self._run(TAKE, key)

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        return self._run(ADD, key, checked_value(value), checked_ttl(ttl)) is not None

    def incr(self, key: str, ttl: int) -> int:
        return int(self._run(INCR, key, None, checked_ttl(ttl)) or b"")

    def delete(self, key: str) -> None:
        self._run(DELETE, key)

    def close(self) -> None:
        self._connections.close()

    def _run(self, text: str, key: str, value: bytes | None = None, ttl: int | None = None) -> bytes | None:
        """The one column of the one row, or None.

        Raises StoreUnavailable within two seconds.
        """
        arguments = {
            "key": encoded_key(key),
            "value": value,
            "ttl": ttl,
            "now": self._clock() if self._clock else None,
            "sweep": SWEEP,
        }
        deadline = time.monotonic() + DEADLINE
        try:
            with self._connections.use(deadline) as connection:
                if not self._prepared:
                    prepare(connection)
                    self._prepared = True
                # Sweep first: if it fails, nothing has been granted yet.
                if ttl is not None and next(self._writes) % SWEEP_EVERY == 0:
                    connection.execute(self._sql[SWEEP_OUT], arguments)
                cursor = connection.execute(self._sql[text], arguments, binary=True)
                row = cursor.fetchone() if cursor.description else None
        except psycopg.errors.UndefinedTable as error:
            self._prepared = False
            raise StoreUnavailable(
                f"{self._named()} has lost its tables; the next call creates them."
            ) from error
        except psycopg.Error as error:
            raise StoreUnavailable(self._explain(error)) from error
        return None if row is None else cast("bytes", row[0])

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
