"""Server faults make calls fail within two seconds, and pass by themselves."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest
from asok_auth_redis import RedisStateStore
from asok_auth_tests.outages import calls_fail_together, fails_in_time, recovers

from asok_auth_core.plugin import StoreUnavailable

pytestmark = pytest.mark.requirement("SECURITY-32")


class Server(Protocol):
    """The fixture ``server`` of conftest.py."""

    port: int
    url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def ask(self, *command: str) -> bytes: ...


@contextmanager
def opened(url: str) -> Iterator[RedisStateStore]:
    store = RedisStateStore(url)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(server: Server) -> Iterator[RedisStateStore]:
    with opened(server.url) as store:
        yield store


OPERATIONS: list[tuple[str, Callable[[RedisStateStore], object]]] = [
    ("put", lambda store: store.put("k", b"v", 60)),
    ("get", lambda store: store.get("k")),
    ("take", lambda store: store.take("k")),
    ("add", lambda store: store.add("new", b"v", 60)),
    ("incr", lambda store: store.incr("counter", 60)),
    ("delete", lambda store: store.delete("k")),
]


def test_a_restart_keeps_acknowledged_writes(server: Server, store: RedisStateStore) -> None:
    store.put("taken", b"v", 60)
    store.put("left", b"v", 60)
    assert store.take("taken") == b"v"
    server.stop()
    for _, call in OPERATIONS:
        fails_in_time(lambda call=call: call(store), "cannot be reached")
    server.start()
    recovers(store)
    assert (store.take("taken"), store.take("left")) == (None, b"v")


@pytest.mark.usefixtures("patient")
def test_idle_connections_survive_a_restart(server: Server, store: RedisStateStore) -> None:
    def at_once() -> None:
        threads = [threading.Thread(target=store.get, args=("k",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    at_once()
    server.stop()
    server.start()
    for _ in range(10):
        recovers(store)


def test_a_paused_server_times_out_and_recovers(server: Server, store: RedisStateStore) -> None:
    store.put("k", b"v", 60)
    server.pause()
    fails_in_time(lambda: store.take("k"), "did not answer in time")
    fails_in_time(lambda: store.take("k"), "did not answer in time")  # now on a new connection
    server.resume()
    recovers(store)


def test_an_unreachable_server_is_a_store_error() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with opened(f"redis://127.0.0.1:{reserved.getsockname()[1]}") as store:
            fails_in_time(lambda: store.get("k"), "cannot be reached")


def test_a_silent_listener_times_out() -> None:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for scheme in ("redis", "redis+cluster", "rediss"):
            with opened(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}") as store:
                fails_in_time(lambda store=store: store.get("k"), "in time|not a reachable cluster")
        with opened(f"redis+sentinel://127.0.0.1:{mute.getsockname()[1]}/primary") as store:
            fails_in_time(lambda: store.get("k"), "no reachable primary")


def test_without_memory_writes_fail_and_takes_work(server: Server, store: RedisStateStore) -> None:
    store.put("k", b"v", 60)
    store.incr("counter", 60)
    assert server.ask("CONFIG", "SET", "maxmemory", "1").startswith(b"+OK")
    for call in (
        lambda: store.put("new", b"v", 60),
        lambda: store.add("new", b"v", 60),
        lambda: store.incr("counter", 60),
        lambda: store.incr("new counter", 60),
    ):
        fails_in_time(call, "out of memory")
    # Taking needs no memory: users with a link can still log in.
    assert store.take("k") == b"v"
    assert server.ask("CONFIG", "SET", "maxmemory", "0").startswith(b"+OK")
    recovers(store)
    assert store.incr("counter", 60) == 2
    assert store.incr("new counter", 60) == 1


def test_a_replica_is_rejected(server: Server, store: RedisStateStore) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")
    fails_in_time(lambda: store.put("k", b"v", 60), "is a read-only replica")
    server.ask("REPLICAOF", "NO", "ONE")
    recovers(store)


@pytest.mark.requirement("SECURITY-30")
def test_a_wrong_password_is_an_error_without_the_password(server: Server) -> None:
    """The message does not hold it."""
    server.ask("CONFIG", "SET", "requirepass", "right")
    with opened(server.url.replace("//", "//:right@")) as store:
        recovers(store)
    with opened(server.url.replace("//", "//:canary@")) as store:
        fails_in_time(lambda: store.get("k"), "rejected the username or password")
        with pytest.raises(StoreUnavailable) as caught:
            store.get("k")
        assert "canary" not in str(caught.value)
    with opened(server.url) as store:
        fails_in_time(lambda: store.get("k"), "requires a username or password")


def test_a_forbidden_command_is_named(server: Server) -> None:
    server.ask("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+get")
    with opened(server.url.replace("//", "//weak:pw@")) as store:
        fails_in_time(lambda: store.take("k"), "does not allow this user")


def test_waiting_for_a_connection_times_out(server: Server) -> None:
    with opened(f"{server.url}?max_connections=1") as store:
        store.get("k")
        server.pause()
        calls_fail_together(lambda: store.get("k"))
        server.resume()
        recovers(store)


def test_a_forked_process_uses_its_own_connections(server: Server) -> None:
    """Run apart, because this process has threads."""
    code = (
        "import os, sys; from asok_auth_redis import RedisStateStore\n"
        "store = RedisStateStore(sys.argv[1]); store.put('k', b'v', 60)\n"
        "children = []\n"
        "for _ in range(4):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        got = [store.incr('fork', 60) for _ in range(200)]\n"
        "        os._exit(0 if got == sorted(set(got)) else 1)\n"
        "    children.append(pid)\n"
        "mine = [store.get('k') for _ in range(200)]\n"
        "codes = [os.waitpid(pid, 0)[1] for pid in children]\n"
        "assert codes == [0] * 4 and set(mine) == {b'v'}, codes\n"
        "assert store.incr('fork', 60) == 801\n"
        "store.close()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, server.url], check=True)
