"""The server of the app's database ends connections, as it does when it restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import psycopg
import pymysql
import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.orm.engines.base import BaseEngine
from asok.orm.engines.postgres import PostgresEngine
from asok.testing import TestClient

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.plugin import Auth
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.waiting import wait_until

from .apps import emptied

ENTER = """
from models.user import User

def get(request):
    request.login(User.find(email="ada@example.org"))
    return "in"
"""
POOL = 10
"""The connections of Asok's pool."""


@contextmanager
def started(tmp_path: Path, url: str, *, pool: bool) -> Iterator[Asok]:
    with emptied(url), asok_app(tmp_path, database=url, pages={"enter.py": ENTER}) as app:
        if not pool:
            engine_of(app)._pool_initialized = True
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        yield app


@pytest.fixture(params=["pool", "no-pool", "mysql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asok]:
    url = request.getfixturevalue("mysql" if request.param == "mysql" else "postgres")
    with started(tmp_path, url, pool=request.param != "no-pool") as app:
        yield app


def engine_of(app: Asok) -> BaseEngine:
    return cast("BaseEngine", MODELS_REGISTRY["User"].get_engine())


def auth_of(app: Asok) -> Auth:
    return cast("Auth", app.extensions["AuthExtension"].auth)


def end_connections(app: Asok) -> None:
    """End all connections of this process to the database."""
    engine = engine_of(app)
    if isinstance(engine, PostgresEngine):
        with psycopg.connect(engine.dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return
    host, port, user, password, database = engine._parse_mysql_dsn()
    with (
        closing(pymysql.connect(host=host, port=port, user=user, password=password)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (database,))
        for (number,) in cursor.fetchall():
            cursor.execute("KILL %s", (number,))


READS: dict[str, Callable[[Auth, str], Any]] = {
    "by_id": lambda auth, user_id: auth.users.by_id(user_id),
    "by_email": lambda auth, user_id: auth.users.by_email("ada@example.org"),
    "find": lambda auth, user_id: auth.credentials.find("kind", "one"),
    "list": lambda auth, user_id: auth.credentials.list(user_id),
    "find_with_user": lambda auth, user_id: auth.credentials.find_with_user("kind", "one", auth.users),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_is_repeated_once(app: Asok, name: str) -> None:
    auth, read = auth_of(app), READS[name]
    user_id = str(MODELS_REGISTRY["User"].find(email="ada@example.org").id)
    auth.credentials.add(user_id, "kind", "one", {})
    assert read(auth, user_id)
    end_connections(app)
    assert read(auth, user_id)


@pytest.mark.parametrize("name", READS)
def test_a_read_in_a_transaction_fails(app: Asok, name: str) -> None:
    """Its other statements are lost with the connection."""
    auth, read = auth_of(app), READS[name]
    user_id = str(MODELS_REGISTRY["User"].find(email="ada@example.org").id)
    auth.credentials.add(user_id, "kind", "one", {})
    transaction = engine_of(app).transaction()
    transaction.__enter__()
    try:
        end_connections(app)
        for _ in range(2):  # the second one finds the connection closed
            with pytest.raises(StoreUnavailable):
                read(auth, user_id)
    finally:
        with suppress(psycopg.Error, pymysql.Error):
            transaction.__exit__(None, None, None)
    assert read(auth, user_id)


def test_a_write_is_not_repeated(app: Asok) -> None:
    """Nobody knows whether it took effect."""
    auth = auth_of(app)
    row = auth.credentials.add("1", "kind", "one", {})
    end_connections(app)
    with pytest.raises(StoreUnavailable):
        auth.credentials.remove(row)
    assert auth.credentials.remove(row)


def test_users_stay_logged_in(app: Asok) -> None:
    client = TestClient(app)
    client.get("/enter")
    for _ in range(3):
        end_connections(app)
        answer = client.get("/")
        assert answer.status_code == 200
        assert "ada@example.org" in answer.text


@pytest.mark.parametrize("first", READS)
def test_no_place_in_the_pool_is_lost(tmp_path: Path, postgres: str, first: str) -> None:
    """Asok's engine takes another one, and does not give the closed one back."""
    with started(tmp_path, postgres, pool=True) as app:
        auth, engine = auth_of(app), cast("Any", engine_of(app))
        user_id = str(MODELS_REGISTRY["User"].find(email="ada@example.org").id)
        auth.credentials.add(user_id, "kind", "one", {})
        for _ in range(POOL + 2):
            READS[first](auth, user_id)
            end_connections(app)
            with pytest.raises(psycopg.Error):
                engine.execute("SELECT 1")  # a statement of the app's
            READS[first](auth, user_id)
        engine.close_connections()
        assert engine._pool.max_size == POOL
        wait_until(lambda: all_returned(engine._pool.get_stats()), "all connections in the pool")


def all_returned(stats: dict[str, int]) -> bool:
    return stats["pool_size"] == stats["pool_available"]
