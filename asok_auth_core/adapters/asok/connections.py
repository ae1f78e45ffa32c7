"""Connections to the app's database that were lost, as when its server restarts.

When Asok's PostgreSQL engine finds its thread's connection closed, it takes another one from its pool and
does not give the first one back. Ten lost ones later, the pool of a process is empty for good: each statement
waits 30 seconds for a place, and fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from asok.orm.engines.base import BaseEngine
from asok.orm.engines.mysql import MySQLEngine
from asok.orm.engines.postgres import PostgresEngine

T = TypeVar("T")


def in_transaction(engine: BaseEngine) -> bool:
    """True if the calling thread has an open transaction on this engine."""
    return bool(getattr(engine._local, "txn_level", 0) > 0)


def run(engine: BaseEngine, statement: Callable[[], T], *, is_read: bool) -> T:
    """What ``statement`` returns; a read is repeated once if the connection was lost.

    Raises what it raises, and ConnectionError in a transaction whose connection was lost before: on another
    one it would not be part of it.
    """
    if _is_lost(engine):
        if in_transaction(engine):
            raise ConnectionError("The connection of this transaction was lost.")
        if isinstance(engine, PostgresEngine):
            engine.close_connections()
    try:
        return statement()
    except Exception as error:
        if not (drop_lost(engine, error) and is_read):
            raise
    return statement()


def drop_lost(engine: BaseEngine, error: Exception) -> bool:
    """Drop this thread's connection if ``error`` says that it is lost.

    ``error`` is that of a failed statement. True if the connection was lost, and a read may be repeated: not
    in a transaction, of which the rest is lost too. The other connections in the pool are likely lost as
    well, so the broken ones are replaced.
    """
    # With 57P01 and its like the server says so before it closes the connection.
    says_so = str(getattr(error, "sqlstate", None) or "").startswith("57P")
    if in_transaction(engine) or not (says_so or _is_lost(engine)):
        return False
    if isinstance(engine, PostgresEngine):
        connection = getattr(engine._local, "conn", None)
        if connection is not None:
            connection.close()
            engine.close_connections()
        if engine._pool is not None:
            engine._pool.check()
    return True


def _is_lost(engine: BaseEngine) -> bool:
    connection = getattr(engine._local, "conn", None)
    if connection is None:
        return False
    if isinstance(engine, PostgresEngine):
        return bool(connection.closed)
    return isinstance(engine, MySQLEngine) and not connection.open
