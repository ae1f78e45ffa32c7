"""A full disk, a stepped clock, and a client killed at every message."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from asok_auth_redis import RedisStateStore, connect
from asok_auth_tests.clocks import HOURS, check_apps_clock, check_servers_clock, steppable_clock
from asok_auth_tests.outages import (
    CuttingProxy,
    fill,
    kill_at_every_message,
    make_room,
    small_disk,
    store_failure,
    wait_until_writable,
)
from asok_auth_tests.valkey_server import ValkeyServer

from asok_auth_core.plugin import StoreUnavailable
from asok_auth_core.testing import wait_until


class Server(Protocol):
    """What conftest.py's servers can do."""

    port: int
    folder: Path
    url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def ask(self, *command: str) -> bytes: ...


MakeServer = Callable[..., Server]


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(4) as folder:
        yield folder


def adds_until_it_fails(store: RedisStateStore) -> tuple[list[str], str]:
    """The keys that were granted, and the error that ended it."""
    granted: list[str] = []

    def add() -> None:
        key = f"add{len(granted)}"
        assert store.add(key, os.urandom(60_000), 600)
        granted.append(key)

    while len(granted) < 1000:
        if told := store_failure(add):
            return granted, told
    raise AssertionError("it never failed")


def has_ended(server: Server) -> bool:
    """True if no server listens; this may take a moment after the last connection."""
    try:
        server.ask("PING")
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


@pytest.mark.requirement("SECURITY-1", "SECURITY-32")
@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_a_full_disk_is_an_error_and_loses_nothing(disk: Path, make_server: MakeServer, fsync: str) -> None:
    """With everysec the server can still be read; with always it ends itself."""
    server = make_server("--appendonly", "yes", "--appendfsync", fsync, "--dir", str(disk))
    server.folder = disk
    server.start()
    store = RedisStateStore(server.url)
    try:
        for key in ("taken", "left"):
            store.put(key, b"v", 600)
        assert store.take("taken") == b"v"
        fill(disk)
        granted, told = adds_until_it_fails(store)
        if fsync == "everysec":
            assert "cannot write to its disk" in told
            for call in (lambda: store.take("left"), lambda: store.incr("counter", 60)):
                with pytest.raises(StoreUnavailable, match="disk"):
                    call()
            assert store.get("left") == b"v"
            make_room(disk)
            wait_until_writable(store)
        else:
            assert "cannot be reached" in told
            wait_until(lambda: has_ended(server), "the end of the server")
            make_room(disk)
            server.stop()
            server.start()
            wait_until_writable(store)
        assert store.take("taken") is None
        assert store.take("left") == b"v"
        assert store.take("left") is None
        assert [key for key in granted if store.add(key, b"", 60)] == []
    finally:
        store.close()


@pytest.mark.usefixtures("patient")
@pytest.mark.requirement("SECURITY-1")
@pytest.mark.parametrize("step", [HOURS, -HOURS])
def test_the_apps_clock_does_not_matter(server: Server, step: int) -> None:
    store = RedisStateStore(server.url)
    try:
        check_apps_clock(store, step)
    finally:
        store.close()


@pytest.mark.debian
@pytest.mark.usefixtures("patient")
@pytest.mark.requirement("SECURITY-1")
@pytest.mark.parametrize("seconds", [HOURS, -HOURS])
def test_taken_values_stay_taken_across_server_clock_steps(make_server: MakeServer, seconds: int) -> None:
    server = make_server()

    def now() -> float:
        return float(server.ask("TIME").split(b"\r\n")[2])

    with steppable_clock(server.start) as step:
        store = RedisStateStore(server.url)
        try:
            check_servers_clock(store, step, seconds, now)
        finally:
            store.close()


def open_patiently(port: int) -> RedisStateStore:
    """What the fixture ``patient`` does, in a worker process too."""
    connect.STEP = 30.0
    return RedisStateStore(f"redis://127.0.0.1:{port}/0")


@pytest.mark.usefixtures("patient")
@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_a_client_killed_at_any_message_wins_nothing_twice(server: Server, tmp_path: Path) -> None:
    """Killed before the server gets a request, and before the client gets a reply."""

    def opener(port: int) -> Callable[[], RedisStateStore]:
        return partial(open_patiently, port)

    store = RedisStateStore(server.url)
    try:
        assert kill_at_every_message(store, ("127.0.0.1", server.port), opener, tmp_path) > 5
    finally:
        store.close()


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_a_server_killed_at_any_message_gives_nothing_twice(server: Server) -> None:
    """Also between having acted and its answer, which nobody gets then."""
    direct = RedisStateStore(server.url)
    at, outcomes = 0, set()
    try:
        cut = True
        while cut:
            at += 1
            direct.put(f"link{at}", b"v", 600)
            with CuttingProxy(("127.0.0.1", server.port), at, server.stop) as proxy:
                store = RedisStateStore(f"redis://127.0.0.1:{proxy.port}/0")
                try:
                    first = store.take(f"link{at}")
                except StoreUnavailable:
                    first = None
                finally:
                    store.close()
                cut = proxy.done.is_set()
            if cut:
                server.start()
            second = direct.take(f"link{at}")
            assert (first, second) != (b"v", b"v"), "taken twice"
            assert direct.take(f"link{at}") is None
            assert direct.add(f"new{at}", b"v", 600)
            outcomes.add((first, second))
    finally:
        direct.close()
    # Failed before it happened, failed although it happened, and at the end not cut off.
    assert outcomes == {(None, b"v"), (None, None), (b"v", None)}


class LateStore(RedisStateStore):
    """Answers a take before it has happened."""

    late = ""

    def take(self, key: str) -> bytes | None:
        self.late = key
        return self.get(key)

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        self.delete(self.late)
        return super().add(key, value, ttl)


@pytest.mark.slow
def test_a_store_that_answers_too_soon_is_detected(server: Server, tmp_path: Path) -> None:
    def opener(port: int) -> Callable[[], LateStore]:
        return partial(LateStore, f"redis://127.0.0.1:{port}/0")

    store = RedisStateStore(server.url)
    try:
        with pytest.raises(AssertionError, match="taken twice"):
            kill_at_every_message(store, ("127.0.0.1", server.port), opener, tmp_path)
    finally:
        store.close()


def test_a_server_that_cannot_start_is_reported_at_once(make_server: MakeServer) -> None:
    server = make_server("--no-such-option")
    with pytest.raises(RuntimeError, match=r"The Valkey server on port \d+ ended"):
        server.start()


def test_a_server_that_does_not_run_cannot_be_paused(make_server: Callable[..., ValkeyServer]) -> None:
    server = make_server()
    with pytest.raises(ProcessLookupError, match="is not running"):
        server.pause()
    server.stop()
