"""A real MySQL or MariaDB server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from asok_auth_core.testing.waiting import PATIENCE, wait_until

SETUP = (
    "CREATE DATABASE auth CHARACTER SET utf8mb4;\n"
    "CREATE USER 'auth'@'%' IDENTIFIED BY 'auth';\n"
    "GRANT ALL ON auth.* TO 'auth'@'%';\n"
)


@contextmanager
def mysql_url(folder: Path) -> Iterator[str]:
    """The URL of the server at MYSQL_URL, or of a new one.

    Such as ``mysql://user:password@host:3306/database``.

    No wheel brings a server, so without MYSQL_URL and an installed ``mariadbd`` the test is skipped.
    """
    if given := os.environ.get("MYSQL_URL"):
        yield given
        return
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("mariadbd is missing and MYSQL_URL not set: apt-get install mariadb-server")
    (folder / "setup.sql").write_text(SETUP)
    # Without native I/O: the kernel gives a user little of it, too little for several servers at once.
    # In a folder of their own: servers that start at the same time delete each other's temporary tables.
    (folder / "tmp").mkdir()
    options = [f"--datadir={folder}/data", f"--tmpdir={folder}/tmp", "--innodb-use-native-aio=0"]
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
