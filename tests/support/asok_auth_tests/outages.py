"""Cause outages: a full disk, and a connection that breaks at a chosen message."""

from __future__ import annotations

import contextlib
import re
import secrets
import selectors
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asok_auth_core.contracts import StateStore
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.stores.bounds import DEADLINE
from asok_auth_core.testing.processes import WorkerFailed, Workers
from asok_auth_core.testing.races import check_after_kill, work_until_killed
from asok_auth_core.testing.waiting import Stopwatch, wait_until

BALLAST = "ballast"
Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Yield a small in-memory file system. Skips the test if it cannot be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="disk"))
    options = ("-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "none", str(folder))
    try:
        try:
            subprocess.run(
                ("mount", *options),
                capture_output=True,
                text=True,
                check=True,
            )
        except OSError as error:
            pytest.skip(f"NOT TESTED, a full disk: {error}")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"NOT TESTED, a full disk: {error.stderr.strip()}")
        try:  # pragma: no cover  # only root can mount
            yield folder
        finally:  # pragma: no cover  # only root can mount
            # Lazy, because a server that was just killed may still hold a file.
            subprocess.run(("umount", "-l", str(folder)), check=True)
    finally:
        folder.rmdir()


def fill(disk: Path) -> None:
    """Fill ``disk`` completely."""
    with contextlib.suppress(OSError), (disk / BALLAST).open("ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def make_room(disk: Path) -> None:
    """Undo :func:`fill`."""
    (disk / BALLAST).unlink()


def store_failure(call: Callable[[], object]) -> str | None:
    """The message of the StoreUnavailable that ``call`` raises in time, or None."""
    message = None
    with Stopwatch() as watch:
        try:
            call()
        except StoreUnavailable as error:
            message = str(error)
    assert message is None or watch.seconds < DEADLINE, f"failed only after {watch.seconds:.1f} s"
    return message


def fails_in_time(call: Callable[[], object], message: str) -> None:
    """Fail unless ``call`` raises StoreUnavailable in time, with this message."""
    told = store_failure(call)
    assert told is not None
    assert re.search(message, told), told


def recovers(store: StateStore) -> None:
    """Fail unless the very next call works."""
    assert store.add(f"after{secrets.token_hex(8)}", b"v", 60) is True


def calls_fail_together(call: Callable[[], object]) -> None:
    """Fail unless four threads that make ``call`` at once all fail in time."""
    failures: list[str | None] = []
    threads = [threading.Thread(target=lambda: failures.append(store_failure(call))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 4
    assert None not in failures


def wait_until_writable(store: StateStore) -> None:
    """Wait until ``store`` accepts writes again. Raises TimeoutError."""

    def writable() -> bool:
        return store_failure(lambda: store.put("after", b"v", 60)) is None

    wait_until(writable, "the store to recover")


class CuttingProxy:
    """A proxy that cuts a connection before message number ``at``.

    Requests and replies both count, so a call can be cut before the server gets it, and after the
    server acted but before the client knows. ``cut`` runs at that moment.
    """

    def __init__(self, server: Address, at: int, cut: Callable[[], None] = lambda: None) -> None:
        self._server, self._at, self._cut = server, at, cut
        self._lock = threading.Lock()
        self._seen = 0
        self.done = threading.Event()
        """Set right before ``cut`` runs."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, self._reach() as server, contextlib.suppress(OSError):
            other = {client: server, server: client}
            with selectors.DefaultSelector() as selector:
                for one in other:
                    selector.register(one, selectors.EVENT_READ)
                while not self.done.is_set():
                    for key, _ in selector.select(0.2):
                        source = client if key.fileobj is client else server
                        message = source.recv(65_536)
                        if not message or self._cuts():
                            return
                        other[source].sendall(message)

    def _reach(self) -> socket.socket:
        if isinstance(self._server, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            return server
        return socket.create_connection(self._server)

    def _cuts(self) -> bool:
        with self._lock:
            self._seen += 1
            if self._seen == self._at:
                self.done.set()
                self._cut()
            return self.done.is_set()


def kill_at_every_message(
    store: StateStore, server: Address, opener: Callable[[int], Callable[[], StateStore]], folder: Path
) -> int:
    """``kill -9`` a client before its first message, another before its second, ….

    ``opener(port)`` returns a picklable function that opens the store through the proxy at ``port``.
    Fails if a value can be used twice or the store stays locked. Returns the number of kills.
    """
    kills = 0
    while True:
        prefix, log = f"message{kills}:", folder / f"{kills}.log"
        store.put(prefix + "take0", b"v", 600)
        survived = not _killed(server, opener, kills + 1, prefix, log)
        check_after_kill(store, prefix, 1, log.read_text() if log.exists() else "")
        assert store.add(prefix + "new link", b"v", 600)
        assert store.take(prefix + "new link") == b"v"
        if survived:
            return kills
        kills += 1


def _killed(
    server: Address, opener: Callable[[int], Callable[[], StateStore]], at: int, prefix: str, log: Path
) -> bool:
    group: Workers[StateStore]
    with CuttingProxy(server, at, lambda: group.kill()) as proxy, Workers(opener(proxy.port), 1) as group:
        group.start(work_until_killed, prefix, 1, str(log))
        try:
            group.results()
        except WorkerFailed:
            if not proxy.done.is_set():
                raise
        return proxy.done.is_set()
