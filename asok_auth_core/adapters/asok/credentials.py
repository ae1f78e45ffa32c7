"""The credential store in the database of the user model, or the tenant's.

A rollback of the app's transaction does not undo a removal or replacement. On PostgreSQL and MySQL it happens
at once, on a connection of its own. SQLite allows one writer, which may be this very transaction, so there it
happens in the transaction, and again when that has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from asok.orm.engines.base import BaseEngine
from asok.orm.engines.mysql import MySQLEngine
from asok.orm.engines.postgres import PostgresEngine
from asok.orm.engines.sqlite import SQLiteEngine

from ...contracts import UserDirectory
from ...stores.bounds import credential_problem
from ...stores.credentials import COLUMNS, TABLE, SqlCredentialStore, SqlEngine, SqlResult, credential_of
from ...types import JSON, Clock, Credential, Random, User
from .connections import in_transaction, run
from .patches.transactions import again_after_transaction
from .users import AsokUsers

logger = logging.getLogger("asok_auth")

T = TypeVar("T")

_PREFIX = "asok_auth_"
"""Marks the columns of the credential in a row that has the user's columns too."""
_NUMBER = {MySQLEngine: "SIGNED", PostgresEngine: "BIGINT"}
"""What a user id, which is text here, is cast to, so that the users' primary key is used."""


class AsokCredentialStore(SqlCredentialStore):
    """``auth_credentials`` in the users' database, looked up at each call."""

    def __init__(self, users: AsokUsers, clock: Clock, random: Random) -> None:
        self._users = users
        super().__init__(self.current_engine(), clock, random)

    def current_engine(self) -> BaseEngine:
        # For writing, whatever the app's router context says: a replica must not answer for its primary.
        engine: BaseEngine = self._users.model.get_engine(op="write")
        return engine

    def exists(self) -> bool:
        """True if the table has been created in the database in use."""
        engine = self.current_engine()
        return self._database(engine).schema_made or bool(engine.table_exists(TABLE))

    def in_transaction(self) -> bool:
        return in_transaction(self.current_engine())

    def run(self, engine: SqlEngine, statement: str, args: tuple[object, ...]) -> SqlResult:
        is_read = statement.startswith("SELECT")
        return run(cast("BaseEngine", engine), lambda: engine.execute(statement, args), is_read=is_read)

    def find_with_user(
        self, kind: str, identifier: str, users: UserDirectory
    ) -> tuple[Credential, User | None] | None:
        """See CredentialStore. One statement, which uses both tables' unique keys."""
        if users is not self._users or not self._users.is_read_by_id_only():
            return super().find_with_user(kind, identifier, users)
        if credential_problem(kind=kind, identifier=identifier):
            return None
        engine, model = self._ready(), self._users.model
        number = _NUMBER.get(type(engine), "INTEGER")
        columns = ", ".join(f"c.{name} AS {_PREFIX}{name}" for name in COLUMNS.split(", "))
        kept = model._soft_delete_where()
        rows = self._execute(
            engine,
            f"SELECT {columns}, u.* FROM {TABLE} c LEFT JOIN {model._table} u"  # noqa: S608
            f" ON u.id = CAST(c.user_id AS {number})" + (f" AND u.{kept}" if kept else "") + " "
            "WHERE c.kind = ? AND c.identifier = ?",
            (kind, identifier),
        )
        if isinstance(rows, int) or not rows:
            return None
        own = {
            name.removeprefix(_PREFIX): value for name, value in rows[0].items() if name.startswith(_PREFIX)
        }
        row = {name: value for name, value in rows[0].items() if not name.startswith(_PREFIX)}
        return credential_of(own), None if row["id"] is None else self._users.from_row(row)

    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        return self._for_good(lambda store: SqlCredentialStore.replace(store, credential, data))

    def remove(self, credential: Credential) -> bool:
        return self._for_good(lambda store: SqlCredentialStore.remove(store, credential))

    def repeat_after_transaction(self, action: Callable[[], None]) -> None:
        engine = self.current_engine()
        if in_transaction(engine):
            again_after_transaction(engine, action)

    def _for_good(self, change: Callable[[SqlCredentialStore], T]) -> T:
        """Make a change that no transaction of the app can undo or, if possible, delay."""
        engine = self.current_engine()
        if not in_transaction(engine):
            return change(self)
        self._ready()
        if not isinstance(engine, SQLiteEngine):
            done = self._on_own_connection(engine, change)
            if done:
                return done
        # The database is SQLite's, or the row was made or is locked by this very transaction.
        done = change(self)
        if done:
            later = SqlCredentialStore(engine, self._clock, self._random)
            again_after_transaction(engine, lambda: change(later))
        return done

    def _on_own_connection(self, engine: BaseEngine, change: Callable[[SqlCredentialStore], T]) -> T | None:
        """Make a change on its own connection; None if that fails, as at a locked row."""
        own = type(engine)(engine.dsn)
        own._pool_initialized = True  # PostgresEngine would open a pool, with threads, for one statement
        try:
            own.execute(_WAIT_BRIEFLY[isinstance(engine, PostgresEngine)], ())
            return change(SqlCredentialStore(own, self._clock, self._random, schema_made=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, the transaction's own connection is left
            logger.warning(
                "A credential changes only when the app's transaction ends: on another connection it failed "
                "with %s.",
                type(error.__cause__ or error).__name__,
            )
            return None
        finally:
            own.close_connections()

    @contextmanager
    def at_start_up(self) -> Iterator[bool]:
        """True if a statement may run before the server forks; leaves no connection open.

        Not with PostgreSQL: the children would inherit Asok's pool without its threads. Not with a
        database in memory: it ends with the connection.
        """
        engine = self.current_engine()
        if isinstance(engine, PostgresEngine) or getattr(engine, "db_path", None) == ":memory:":
            yield False
            return
        is_new = getattr(engine._local, "conn", None) is None
        try:
            yield True
        finally:
            if is_new:
                engine.close_connections()


_WAIT_BRIEFLY = {
    True: "SET lock_timeout = '500ms'",
    False: "SET SESSION innodb_lock_wait_timeout = 1",
}
"""For a row that the app's own transaction has locked; by whether the database is PostgreSQL."""
