"""SqlCredentialStore on MySQL or MariaDB, through Asok's own engine.

Uses the server at MYSQL_URL (``mysql://user:password@host:3306/database``), or starts the ``mariadbd``
that is installed. No wheel brings one, so without either these tests are skipped, and say so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
from asok.orm.engines.mysql import MySQLEngine

from asok_auth_core.contracts import CredentialStore
from asok_auth_core.errors import CredentialExists
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing.credential_store import CredentialStoreContract, OpenCredentialStore
from asok_auth_core.testing.waiting import PATIENCE, wait_until

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
        pytest.skip("mariadbd is missing and MYSQL_URL not set: apt-get install mariadb-server")
    folder = tmp_path_factory.mktemp("mariadb")
    (folder / "setup.sql").write_text(SETUP)
    # Without native I/O: the kernel gives a user little of it, too little for several servers at once.
    options = [f"--datadir={folder}/data", "--innodb-use-native-aio=0"]
    options += ["--user=root"] if os.geteuid() == 0 else []
    install = ["mariadb-install-db", "--no-defaults", *options, "--auth-root-authentication-method=normal"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ["mariadbd", "--no-defaults", *options, f"--port={port}", "--bind-address=127.0.0.1"]
    server += [f"--socket={folder}/s", f"--init-file={folder}/setup.sql", f"--pid-file={folder}/pid"]
    server += ["--skip-name-resolve"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), f"MariaDB on port {port}")
        assert process.poll() is None, (folder / "log").read_text()
        yield f"mysql://auth:auth@127.0.0.1:{port}/auth"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE):
        return True
    return False


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
