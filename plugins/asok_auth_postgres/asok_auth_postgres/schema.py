"""Create the tables and check their version."""

from __future__ import annotations

import psycopg
from psycopg import sql

from asok_auth_core.plugin import StoreUnavailable

VERSION = 1
STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS asok_auth_state ("
    "key bytea PRIMARY KEY, value bytea NOT NULL, expires double precision NOT NULL)",
    "CREATE INDEX IF NOT EXISTS asok_auth_state_expires ON asok_auth_state (expires)",
    "CREATE TABLE IF NOT EXISTS asok_auth_schema (part text PRIMARY KEY, version integer NOT NULL)",
    "INSERT INTO asok_auth_schema VALUES ('state', 1) ON CONFLICT DO NOTHING",
)
LOCK = 0x61736F6B
"""Advisory lock, so that one of several starting processes creates the tables and the others wait."""


def prepare(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Create missing tables. Raises StoreUnavailable if they have an unknown version."""
    version = _version(connection)
    if version is None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            for statement in STATEMENTS:
                connection.execute(sql.SQL(statement))
        version = _version(connection)
    if version != VERSION:
        raise StoreUnavailable(
            f"The state tables have version {version}, but this asok-auth-postgres supports version "
            f"{VERSION}. Upgrade asok-auth-postgres."
        )


def _version(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    try:
        row = connection.execute("SELECT version FROM asok_auth_schema WHERE part = 'state'").fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row[0] if row else None
