"""Lasting credentials in the app's database, through Asok's ORM engine.

An app may have a database per tenant: the schema, its version and the installation's id are per database.
Each operation is one statement whose row count tells whether it won a race, so it is correct without
a transaction on SQLite, PostgreSQL (READ COMMITTED) and MySQL/MariaDB (REPEATABLE READ).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_bytes
from typing import Protocol, cast
from weakref import WeakKeyDictionary

from ..contracts import INSTALLATION, CredentialStore, UserDirectory
from ..errors import CredentialExists, StoreError, StoreUnavailable
from ..types import JSON, Clock, Credential, Installation, Random
from .bounds import credential_problem

logger = logging.getLogger("asok_auth")

TABLE = "auth_credentials"
COLUMNS = "id, user_id, kind, identifier, data, version, created_at, last_used_at"
ATTEMPTS = 6
"""MySQL aborts one of two inserts that deadlock; it is retried."""

PAUSE = 0.01
"""Seconds before the second attempt, doubled before each further one."""

# Bytes on MySQL: its text collations take "a" for "A" and for "a ", which would merge two users.
_SCHEMA_MYSQL = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} ("
    "id VARBINARY(32) NOT NULL PRIMARY KEY, user_id VARBINARY(255) NOT NULL, kind VARBINARY(64) NOT NULL, "
    "identifier VARBINARY(1024) NOT NULL, data MEDIUMTEXT NOT NULL, version INTEGER NOT NULL, "
    "created_at DOUBLE PRECISION NOT NULL, last_used_at DOUBLE PRECISION, "
    f"UNIQUE KEY {TABLE}_identifier (kind, identifier), KEY {TABLE}_user (user_id)) ENGINE=InnoDB",
)
_SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} ("
    "id TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, kind TEXT NOT NULL, "
    "identifier TEXT NOT NULL, data TEXT NOT NULL, version INTEGER NOT NULL, "
    "created_at DOUBLE PRECISION NOT NULL, last_used_at DOUBLE PRECISION, "
    "UNIQUE (kind, identifier))",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_user ON {TABLE} (user_id)",
)
UPGRADES: tuple[tuple[str, ...], ...] = ()
"""Statements that upgrade schema version n to n + 1, from version 1. Two processes may run them at once."""

SCHEMA = "schema"
"""Identifier of the row with the schema's version; a table without one has version 1."""


SqlResult = Sequence[Mapping[str, object]] | int
"""The rows of a query, or how many a change reached."""


class SqlEngine(Protocol):
    """The part of ``asok.orm``'s engines that is used here."""

    def execute(self, sql: str, args: tuple[object, ...]) -> SqlResult:
        """Run a statement with ``?`` placeholders; return rows or their number."""

    def quote_identifier(self, name: str) -> str:
        """``name`` as the engine quotes it; only MySQL and MariaDB use backticks."""


@dataclass(slots=True)
class _Database:
    """What this process knows about one database."""

    schema_made: bool = False
    installation: Installation | None = None


class SqlCredentialStore(CredentialStore):
    """The table ``auth_credentials``, created on first use or at startup.

    Raises StoreUnavailable if the database fails, StoreError for values that cannot be stored.
    """

    def __init__(
        self,
        engine: SqlEngine,
        clock: Clock = time.time,
        random: Random = token_bytes,
        *,
        schema_made: bool = False,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._random = random
        self._databases: WeakKeyDictionary[SqlEngine, _Database] = WeakKeyDictionary()
        self._databases[engine] = _Database(schema_made)

    def current_engine(self) -> SqlEngine:
        """The engine in use; an adapter with several, one per tenant, overrides it."""
        return self._engine

    def in_transaction(self) -> bool:
        """True if the calling thread has a transaction open in which this store works."""
        return False

    def run(self, engine: SqlEngine, statement: str, args: tuple[object, ...]) -> SqlResult:
        """Run one statement once; an adapter may look after its connection."""
        return engine.execute(statement, args)

    def create_schema(self, attempts: int = ATTEMPTS) -> None:
        """Create the table and its indexes if missing; upgrade older ones.

        Best done at startup: on MySQL, creating a table commits the open transaction.
        """
        engine = self.current_engine()
        mysql = engine.quote_identifier("x").startswith("`")
        for statement in _SCHEMA_MYSQL if mysql else _SCHEMA:
            # If two processes create it at once, PostgreSQL rejects the slower in spite of IF NOT EXISTS,
            # and Asok's SQLite engine reports a file that is being created as "locked".
            self._execute(engine, statement, (), attempts)
        self._upgrade(engine)
        self._database(engine).schema_made = not self.in_transaction()  # which may be rolled back

    def installation(self, users: UserDirectory, random: Random) -> Installation:
        database = self._database(self.current_engine())
        if database.installation is not None:
            return database.installation
        found = super().installation(users, random)
        if not self.in_transaction():  # which may be rolled back, and the row with it
            database.installation = found
        return found

    def add(self, user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        if problem := credential_problem(user_id=user_id, kind=kind, identifier=identifier):
            raise StoreError(problem)
        made = Credential(
            id=self._random(16).hex(),
            user_id=user_id,
            kind=kind,
            identifier=identifier,
            data=_dumps(data),
            version=1,
            created_at=float(self._clock()),
        )
        engine = self._ready()
        # WHERE NOT EXISTS, because after an INSERT that fails Asok's SQLite engine would hold the
        # write lock until the end of the request. The unique key still decides a race between processes.
        statement = (
            f"INSERT INTO {TABLE} (id, user_id, kind, identifier, data, version, created_at)"  # noqa: S608
            " SELECT ?, ?, ?, ?, ?, 1, ? FROM (SELECT 1 AS one) AS source"
            f" WHERE NOT EXISTS (SELECT 1 FROM {TABLE} WHERE kind = ? AND identifier = ?)"
        )
        row = (made.id, user_id, kind, identifier, made.data, made.created_at)
        try:
            added = self._change(engine, statement, (*row, kind, identifier), ATTEMPTS)
        except StoreUnavailable:
            if self.find(kind, identifier) is None:
                raise
            added = 0
        if not added:
            raise CredentialExists(f"A credential of kind {kind!r} with this identifier is stored already.")
        return made

    def find(self, kind: str, identifier: str) -> Credential | None:
        if credential_problem(kind=kind, identifier=identifier):
            return None
        rows = self._rows("kind = ? AND identifier = ?", (kind, identifier))
        return rows[0] if rows else None

    def list(self, user_id: str, kind: str | None = None) -> Sequence[Credential]:
        if credential_problem(user_id=user_id):
            return ()
        if kind is None:
            return self._rows("user_id = ?", (user_id,))
        return self._rows("user_id = ? AND kind = ?", (user_id, kind))

    def newest(self, kind: str, limit: int) -> Sequence[Credential]:
        if credential_problem(kind=kind):
            return ()
        return self._rows("kind = ?", (kind, limit), order="COALESCE(last_used_at, created_at) DESC LIMIT ?")

    def of_kind(self, kind: str, after: str = "", limit: int = 200) -> Sequence[Credential]:
        if credential_problem(kind=kind):
            return ()
        return self._rows("kind = ? AND identifier > ?", (kind, after, limit), order="identifier LIMIT ?")

    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        text = _dumps(data)
        changed = self._change(
            self._ready(),
            f"UPDATE {TABLE} SET data = ?, version = version + 1 WHERE id = ? AND version = ?",  # noqa: S608
            (text, credential.id, credential.version),
        )
        return replace(credential, data=text, version=credential.version + 1) if changed else None

    def remove(self, credential: Credential) -> bool:
        statement = f"DELETE FROM {TABLE} WHERE id = ?"  # noqa: S608
        return self._change(self._ready(), statement, (credential.id,)) == 1

    def touch(self, credential: Credential, at: float) -> None:
        self._change(
            self._ready(),
            f"UPDATE {TABLE} SET last_used_at = ?"  # noqa: S608
            " WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)",
            (at, credential.id, at),
        )

    def _database(self, engine: SqlEngine) -> _Database:
        return self._databases.setdefault(engine, _Database())

    def _ready(self) -> SqlEngine:
        """The engine of the database in use, which has the table."""
        engine = self.current_engine()
        if not self._database(engine).schema_made:
            self.create_schema()
        return engine

    def _upgrade(self, engine: SqlEngine) -> None:
        """Run missing upgrades. Raises StoreUnavailable if the database is too new."""
        newest = len(UPGRADES) + 1
        here = SqlCredentialStore(engine, self._clock, self._random, schema_made=True)
        row = here.find(INSTALLATION, SCHEMA)
        version = 1 if row is None else int(cast("int", json.loads(row.data)))
        if version > newest:
            raise StoreUnavailable(
                f"The table {TABLE} has schema version {version}; this asok-auth-core knows up to {newest}. "
                "Upgrade asok-auth-core."
            )
        for number, statements in enumerate(UPGRADES[version - 1 :], version + 1):
            for statement in statements:
                self._execute(engine, statement, (), ATTEMPTS)
            logger.info("The table %s was upgraded to schema version %d.", TABLE, number)
        if version < newest:
            with suppress(CredentialExists):
                here.replace(row, newest) if row else here.add(INSTALLATION, INSTALLATION, SCHEMA, newest)

    def _rows(
        self, condition: str, args: tuple[object, ...], order: str = "created_at, id"
    ) -> Sequence[Credential]:
        rows = self._execute(
            self._ready(),
            f"SELECT {COLUMNS} FROM {TABLE} WHERE {condition} ORDER BY {order}",  # noqa: S608
            args,
        )
        if isinstance(rows, int):
            raise StoreUnavailable("The database answered a SELECT with a number.")
        return [credential_of(row) for row in rows]

    def _change(self, engine: SqlEngine, statement: str, args: tuple[object, ...], attempts: int = 1) -> int:
        changed = self._execute(engine, statement, args, attempts)
        if not isinstance(changed, int) or not 0 <= changed <= 1:
            raise StoreUnavailable(f"The database changed {changed!r} rows; 0 or 1 were expected.")
        return changed

    def _execute(
        self, engine: SqlEngine, statement: str, args: tuple[object, ...], attempts: int = 1
    ) -> SqlResult:
        pause = PAUSE
        while True:
            attempts -= 1
            try:
                return self.run(engine, statement, args)
            except Exception as error:
                if not attempts:
                    # An error that names the table may mean that it is missing: it was created in a
                    # transaction that the app rolled back.
                    self._database(engine).schema_made &= TABLE not in str(error)
                    # Not the driver's text: it may quote values.
                    raise StoreUnavailable(
                        f"The app's database failed or did not answer ({type(error).__name__}) for {TABLE}."
                    ) from error
            time.sleep(pause)
            pause *= 2


def credential_of(row: Mapping[str, object]) -> Credential:
    """The credential in a row of the table."""
    used = row["last_used_at"]
    return Credential(
        id=_text(row["id"]),
        user_id=_text(row["user_id"]),
        kind=_text(row["kind"]),
        identifier=_text(row["identifier"]),
        data=_text(row["data"]),
        version=int(cast("int", row["version"])),
        created_at=float(cast("float", row["created_at"])),
        last_used_at=None if used is None else float(cast("float", used)),
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _dumps(data: JSON) -> str:
    # ASCII only, which every character set of a MySQL column can store.
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
