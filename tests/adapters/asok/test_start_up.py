"""What the extension does to the app's database before the first request."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY
from asok.orm.engines.sqlite import SQLiteEngine

from asok_auth_core import AuthExtension
from asok_auth_core.adapters.asok.users import AsokUsers, UsersEngine
from asok_auth_core.testing.asok_app import asok_app


class TestTheCredentialTable:
    def tables(self, file: Path) -> list[str]:
        with closing(sqlite3.connect(file)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]

    def test_is_made_at_start_up(self, tmp_path: Path) -> None:
        """Not within a request's transaction, which making a table would end on MySQL."""
        with asok_app(tmp_path):
            assert "auth_credentials" in self.tables(tmp_path / "db.sqlite3")

    def test_start_up_leaves_no_connection_that_it_opened(self, tmp_path: Path) -> None:
        """A server that forks after it would share it with its children."""
        with asok_app(tmp_path, extension=False) as app:
            engine = MODELS_REGISTRY["User"].get_engine()
            engine.close_connections()
            app.register_extension(AuthExtension())
            assert not hasattr(engine._local, "conn")
            app.extensions["AuthExtension"].close()

    def test_a_database_that_does_not_answer_yet_stops_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(engine: object, sql: str, args: object = None) -> None:
            raise OSError("down")

        with asok_app(tmp_path, extension=False) as app:
            monkeypatch.setattr(SQLiteEngine, "execute", down)
            extension = AuthExtension()
            app.register_extension(extension)
            try:
                monkeypatch.undo()
                assert "auth_credentials" not in self.tables(tmp_path / "db.sqlite3")
                assert extension.auth.credentials.find("a", "b") is None
                assert "auth_credentials" in self.tables(tmp_path / "db.sqlite3")
            finally:
                extension.close()

    @pytest.mark.parametrize("url", ["sqlite://:memory:", "postgresql://127.0.0.1:1/none"])
    def test_is_left_for_later_where_start_up_must_not_connect(self, tmp_path: Path, url: str) -> None:
        with asok_app(tmp_path) as app:
            users = AsokUsers(app)
            MODELS_REGISTRY["User"]._db_path = url
            with UsersEngine(users).at_start_up() as possible:
                assert possible is False
