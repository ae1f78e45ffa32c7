"""The credential store in the database of the user model: the current tenant's, if there are several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asok.orm.engines.base import BaseEngine
from asok.orm.engines.postgres import PostgresEngine

from ...stores.credentials import SqlCredentialStore
from ...types import Clock, Random
from .users import AsokUsers


class AsokCredentialStore(SqlCredentialStore):
    """``auth_credentials`` beside the table of the user model, whose engine is looked up at each call."""

    def __init__(self, users: AsokUsers, clock: Clock, random: Random) -> None:
        self._users = users
        super().__init__(self.current_engine(), clock, random)

    def current_engine(self) -> BaseEngine:
        # For writing, whatever the app's router context says: a replica must not answer for its primary.
        engine: BaseEngine = self._users.model.get_engine(op="write")
        return engine

    @contextmanager
    def at_start_up(self) -> Iterator[bool]:
        """True if a statement may run before the app's server forks; leaves no connection open.

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
