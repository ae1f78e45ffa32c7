"""The simulated outages happen when they should, and find bad stores."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from asok_auth_tests import outages
from asok_auth_tests.linearizability import Answer
from asok_auth_tests.outages import (
    Address,
    CuttingProxy,
    fill,
    kill_at_every_message,
    make_room,
    small_disk,
    store_failure,
    wait_until_writable,
)

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.testing.processes import WorkerFailed
from asok_auth_core.testing.races import check_after_kill, work_until_killed
from asok_auth_core.testing.waiting import wait_until


class Remote(MemoryStateStore):
    """Takes and counts at a server, one line per message; a helper adds values."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.lines = self.connection.makefile("rw")

    def ask(self, *question: str) -> Answer:
        self.lines.write(json.dumps(question) + "\n")
        self.lines.flush()
        answer: Answer = json.loads(self.lines.readline())
        return answer

    def take(self, key: str) -> bytes | None:
        return b"v" if self.ask("take", key) else None

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        return False

    def incr(self, key: str, ttl: int) -> int:
        return int(self.ask("incr", key) or 0)


class Broken(MemoryStateStore):
    def take(self, key: str) -> bytes | None:
        raise StoreUnavailable("out of order")


class Answering(socketserver.StreamRequestHandler):
    """The server's side of :class:`Remote`."""

    store: MemoryStateStore

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            for line in self.rfile:
                name, key = json.loads(line)
                take = name == "take"
                answer = self.store.take(key) is not None if take else self.store.incr(key, 600)
                self.wfile.write(json.dumps(answer).encode() + b"\n")


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while message := self.request.recv(100):
                self.request.sendall(message)


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["TCP", "Unix"])
def echo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Address]:
    """Where a server sends back what it is sent."""
    server: socketserver.BaseServer
    if request.param == "TCP":
        tcp = server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
        address: Address = tcp.server_address  # type: ignore[assignment]
    else:
        address = str(tmp_path / "s")
        server = socketserver.ThreadingUnixStreamServer(address, Echo)
    with serving(server):
        yield address


def echoed(connection: socket.socket, message: bytes) -> bytes:
    """What came back; nothing if the connection was cut."""
    try:
        connection.sendall(message)
        return connection.recv(100)
    except OSError:
        return b""


class TestCuttingProxy:
    @pytest.mark.parametrize("at", [1, 2, 3, 4])
    def test_both_sides_are_cut_off_before_the_chosen_message(self, echo: Address, at: int) -> None:
        cut: list[str] = []
        with (
            CuttingProxy(echo, at, lambda: cut.append("cut")) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port)) as client,
        ):
            came = [echoed(client, b"one"), echoed(client, b"two")]
            assert proxy.done.is_set()
        assert came == [b"one" if at > 2 else b"", b""]
        assert cut == ["cut"]

    def test_other_connections_are_cut_off_too(self, echo: Address) -> None:
        with (
            CuttingProxy(echo, 3) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port)) as first,
            socket.create_connection(("127.0.0.1", proxy.port)) as second,
        ):
            assert echoed(first, b"one") == b"one"
            assert echoed(second, b"two") == b""
            assert first.recv(100) == b""

    def test_a_slow_or_closed_client_cuts_nothing(self, echo: Address) -> None:
        with CuttingProxy(echo, 9) as proxy:
            socket.create_connection(("127.0.0.1", proxy.port)).close()
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                assert echoed(client, b"one") == b"one"
                time.sleep(0.3)  # longer than the proxy waits for a message
                assert echoed(client, b"two") == b"two"
        assert not proxy.done.is_set()


class TestKillAtEveryMessage:
    @pytest.mark.requirement("SECURITY-1")
    def test_a_sound_store_passes(self, tmp_path: Path) -> None:
        """A question and an answer for each of two calls, and once it is not killed."""
        store = MemoryStateStore()
        handler = type("Handler", (Answering,), {"store": store})
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        with serving(server):
            address = ("127.0.0.1", server.server_address[1])
            assert kill_at_every_message(store, address, self.opener, tmp_path) == 4

    @staticmethod
    def opener(port: int) -> Callable[[], Remote]:
        return partial(Remote, port)

    def test_a_store_that_fails_by_itself_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(WorkerFailed, match="out of order"):
            kill_at_every_message(MemoryStateStore(), "unused", lambda port: Broken, tmp_path)


class TestCheckAfterKill:
    def test_completed_work_passes(self, tmp_path: Path) -> None:
        store = MemoryStateStore()
        store.put("p:take0", b"v", 600)
        store.add("p:add1", b"another client's", 600)
        log = tmp_path / "log"
        work_until_killed(store, "p:", 2, str(log))
        assert log.read_text().splitlines() == ["take 0", "add 0", "incr 1", "incr 2"]

    @pytest.mark.parametrize(("log", "says"), [("take 0", "taken twice"), ("add 0", "added twice")])
    def test_a_value_that_can_be_taken_again_fails(self, log: str, says: str) -> None:
        store = MemoryStateStore()
        store.put("p:take0", b"v", 600)
        with pytest.raises(AssertionError, match=says):
            check_after_kill(store, "p:", 1, log)


def test_a_disk_that_cannot_be_mounted_skips() -> None:
    """For root because of its size, for other users in any case."""
    with pytest.raises(pytest.skip.Exception, match="mount"), small_disk(-1):
        pass


def test_without_the_mount_command_the_test_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="mount"), small_disk(1):
        pass


def test_fill_leaves_no_room_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "ballast").symlink_to("/dev/full")
    fill(tmp_path)
    make_room(tmp_path)
    assert list(tmp_path.iterdir()) == []


class Recovering(MemoryStateStore):
    """Out of order for the first calls."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def put(self, key: str, value: bytes, ttl: int) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("out of order")
        super().put(key, value, ttl)


class TestRefusals:
    def test_a_failure_returns_the_errors_message(self) -> None:
        store = Recovering(1)
        assert store_failure(lambda: store.put("a", b"v", 60)) == "out of order"
        assert store_failure(lambda: store.put("a", b"v", 60)) is None

    @pytest.mark.requirement("SECURITY-32")
    def test_a_late_error_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outages, "DEADLINE", 0)
        with pytest.raises(AssertionError, match="failed only after"):
            store_failure(lambda: Recovering(1).put("a", b"v", 60))

    def test_back_waits_for_a_store_to_recover(self) -> None:
        store = Recovering(2)
        wait_until_writable(store)
        assert store.get("after") == b"v"

    def test_a_store_that_does_not_recover_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outages, "wait_until", partial(wait_until, seconds=0.05))
        with pytest.raises(TimeoutError, match="the store to recover"):
            wait_until_writable(Recovering(9999))
