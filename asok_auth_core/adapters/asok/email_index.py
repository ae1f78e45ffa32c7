"""The database index that finds an account by its email address in any case."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import cast

from asok.orm.engines.base import BaseEngine
from asok.orm.engines.mysql import MySQLEngine
from asok.orm.engines.postgres import PostgresEngine

logger = logging.getLogger("asok_auth")

IN_LOWER_CASE = "LOWER(email) = ?"
AS_COLLATED = "email = ?"

SMALL = 100_000
"""Rows of a PostgreSQL table up to which a request may wait for its index."""

_POSTGRES = (
    "SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index"
    " WHERE indrelid = to_regclass(?) AND indisvalid AND indpred IS NULL"
)
_SQLITE = "SELECT sql AS definition FROM sqlite_master WHERE type = 'index' AND tbl_name = ?"
_COLLATION = (
    "SELECT collation_name AS collation FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = ? AND column_name = 'email'"
)


def statement(engine: BaseEngine, table: str) -> str:
    """The statement with which an operator creates the index in a database in use."""
    if isinstance(engine, MySQLEngine):
        return f"CREATE INDEX {table}_email_lower ON {table} ((LOWER(email)))"
    concurrently = "CONCURRENTLY " if isinstance(engine, PostgresEngine) else ""
    return f"CREATE INDEX {concurrently}{table}_email_lower ON {table} (LOWER(email))"


def indexed_condition(engine: BaseEngine, table: str) -> str | None:
    """The condition that finds every spelling of an address by an index, or None.

    The address is in lower case.
    """
    if isinstance(engine, MySQLEngine):
        if any(str(row["collation"]).endswith("_ci") for row in _rows(engine, _COLLATION, table)):
            return AS_COLLATED
        # Only MySQL 8 has indexes on expressions, and only its SHOW INDEX this column.
        found = engine.execute(f"SHOW INDEX FROM {table}")
        definitions = [f"({row.get('Expression')})" for row in cast("list[dict[str, object]]", found)]
    else:
        query = _POSTGRES if isinstance(engine, PostgresEngine) else _SQLITE
        definitions = [str(row["definition"]) for row in _rows(engine, query, table)]
    return IN_LOWER_CASE if any(map(_is_on_lower_email, definitions)) else None


def create_index(engine: BaseEngine, table: str) -> None:
    """Create the index if that is quick; otherwise log what to do."""
    if isinstance(engine, MySQLEngine):
        return
    if isinstance(engine, PostgresEngine):
        size = _rows(engine, "SELECT reltuples AS size FROM pg_class WHERE oid = to_regclass(?)", table)
        if not size or float(cast("float", size[0]["size"])) > SMALL:
            return
    try:
        engine.execute(f"CREATE INDEX IF NOT EXISTS {table}_email_lower ON {table} (LOWER(email))")
    except Exception as error:  # noqa: BLE001 - logins work without it, see AsokUsers.by_email
        logger.warning(
            "The index on LOWER(email) of %s could not be created (%s). Create it yourself: %s",
            table,
            type(error).__name__,
            statement(engine, table),
        )


def _rows(engine: BaseEngine, query: str, table: str) -> Sequence[Mapping[str, object]]:
    return cast("Sequence[Mapping[str, object]]", engine.execute(query, (table,)))


def _is_on_lower_email(definition: str) -> bool:
    """True for ``… (LOWER(email))`` as each database writes it, without a condition."""
    plain = re.sub(r"::[a-z ]+|[\"'`\[\]\s]", "", definition.lower())
    return re.search(r"\(lower\(\(?email\)?\)\)$", plain) is not None
