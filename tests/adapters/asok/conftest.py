"""One app with the pages and the plugin of apps.py, and two users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from asok_auth_tests.mariadb_server import mysql_url
from asok_auth_tests.postgres_server import PostgresServer

from .apps import Plugin, started


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def app(tmp_path: Path, plugin: Plugin) -> Iterator[Asok]:
    with started(tmp_path, plugin) as made:
        user = MODELS_REGISTRY["User"]
        user.create(email="ada@example.org")
        user.create(email="two@example.org", name="two")
        yield made


@pytest.fixture
def client(app: Asok) -> TestClient:
    return TestClient(app)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database."""
    server = PostgresServer()
    server.start()
    yield server.url
    server.remove()


@pytest.fixture(scope="module")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a MySQL or MariaDB database."""
    with mysql_url(tmp_path_factory.mktemp("mysql")) as url:
        yield url
