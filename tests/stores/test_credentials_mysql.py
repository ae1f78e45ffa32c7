"""SqlCredentialStore on MySQL or MariaDB, through Asok's own engine.

Uses the server at MYSQL_URL (``mysql://user:password@host:3306/database``), or starts the ``mariadbd``
that is installed. No wheel brings one, so without either these tests are skipped, and say so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from asok.orm.engines.mysql import MySQLEngine

from asok_auth_core.contracts import CredentialStore
from asok_auth_core.errors import CredentialExists
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing.credential_store import CredentialStoreContract, OpenCredentialStore

SETUP = (
    "CREATE DATABASE auth CHARACTER SET utf8mb4;\n"
    "CREATE USER 'auth'@'%' IDENTIFIED BY 'auth';\n"
    "GRANT ALL ON auth.* TO 'auth'@'%';\n"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("MYSQL_URL"):
        yield given
        return
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("neither MYSQL_URL nor an installed mariadbd: MySQL/MariaDB is NOT tested here")
    folder = tmp_path_factory.mktemp("mariadb")
    (folder / "setup.sql").write_text(SETUP)
    options = [f"--datadir={folder}/data", *(["--user=root"] if os.geteuid() == 0 else [])]
    install = ["mariadb-install-db", "--no-defaults", *options, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ["mariadbd", "--no-defaults", *options, f"--port={port}", "--bind-address=127.0.0.1"]
    server += [f"--socket={folder}/s", f"--init-file={folder}/setup.sql", f"--pid-file={folder}/pid"]
    server += ["--skip-name-resolve"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server, stdout=log, stderr=log)
    try:
        _wait(port, folder / "log")
        yield f"mysql://auth:auth@127.0.0.1:{port}/auth"
    finally:
        process.kill()
        process.wait()


def _wait(port: int, log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(log.read_text())


class EngineStore(SqlCredentialStore):
    """Knows its engine, so that a test can close its connections."""

    def __init__(self, url: str) -> None:
        self.engine = MySQLEngine(url)
        super().__init__(self.engine)


@pytest.mark.slow
class TestMySQL(CredentialStoreContract):
    @pytest.fixture
    def open_store(self, url: str) -> OpenCredentialStore:
        return partial(EngineStore, url)

    def close(self, store: CredentialStore) -> None:
        assert isinstance(store, EngineStore)
        store.engine.close_connections()

    def test_a_clash_keeps_the_apps_transaction(self, store: CredentialStore, user: str) -> None:
        assert isinstance(store, EngineStore)
        store.add(user, "kind", user, 1)
        with store.engine.transaction():
            with pytest.raises(CredentialExists):
                store.add(user, "kind", user, 2)
            made = store.add(user, "kind", user + "other", 3)
        assert store.find("kind", user + "other") == made
