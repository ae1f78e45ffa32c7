"""Outages made on purpose: a disk that is soon full, and a connection that is cut at a chosen message."""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..contracts import StateStore
from ..errors import StoreUnavailable
from ..stores.bounds import DEADLINE
from .processes import WorkerFailed, Workers
from .races import check_after_kill, work_until_killed
from .waiting import Stopwatch, wait_until

BALLAST = "ballast"
Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own in memory, gone at the end. Where it cannot be mounted, skip the test."""
    folder = Path(tempfile.mkdtemp(prefix="disk"))
    options = ("-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "none", str(folder))
    try:
        try:
            subprocess.run(  # noqa: S603
                ("mount", *options),  # noqa: S607
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
            # Lazy: a server that was killed a moment ago may still hold a file.
            subprocess.run(("umount", "-l", str(folder)), check=True)  # noqa: S603, S607
    finally:
        folder.rmdir()


def fill(disk: Path) -> None:
    """Leave no room on ``disk``."""
    with contextlib.suppress(OSError), (disk / BALLAST).open("ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def make_room(disk: Path) -> None:
    """Undo :func:`fill`."""
    (disk / BALLAST).unlink()


def refusal(call: Callable[[], object]) -> str | None:
    """What a refusal says, which came in time; None if there was none."""
    said = None
    with Stopwatch() as watch:
        try:
            call()
        except StoreUnavailable as error:
            said = str(error)
    assert said is None or watch.seconds < DEADLINE, f"refused after {watch.seconds:.1f} s"
    return said


def back(store: StateStore) -> None:
    """Wait until ``store`` can be written again. Raises TimeoutError."""
    wait_until(lambda: refusal(lambda: store.put("after", b"v", 60)) is None, "a store that recovers")


class CuttingProxy:
    """Passes messages between a client and a server, and cuts both off before the ``at``-th one.

    Questions and answers are both counted, so every step of a call can be cut: before the server has
    the question, and after it acted but before anybody knows. ``cut`` runs at that moment.
    """

    def __init__(self, server: Address, at: int, cut: Callable[[], None] = lambda: None) -> None:
        self._server, self._at, self._cut = server, at, cut
        self._lock = threading.Lock()
        self._seen = 0
        self.done = threading.Event()
        """Set when the moment has come, before ``cut``."""
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
    """``kill -9`` a client before its first message, then another before the second, and so on.

    ``opener(port)`` gives a picklable function that opens the store through the proxy at ``port``.
    Fails if anything is usable twice or somebody is locked out; how many were killed.
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
