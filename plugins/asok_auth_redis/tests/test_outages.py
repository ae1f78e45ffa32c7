"""SECURITY 1 and 32: a full disk, a stepped clock, and a client killed at every message."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from asok_auth_redis import RedisStateStore

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.testing.outages import (
    CannotMount,
    CuttingProxy,
    fill,
    kill_at_every_message,
    make_room,
    small_disk,
)
from asok_auth_core.testing.valkey_server import ValkeyServer

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOURS = 5 * 3600


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
    try:
        with small_disk(4) as folder:
            yield folder
    except CannotMount as reason:
        pytest.skip(f"NOT TESTED, a full disk: {reason}")


def adds_until_refused(store: RedisStateStore, within: float) -> tuple[list[str], str]:
    """The keys that were granted, and what the refusal said."""
    granted: list[str] = []
    end = time.monotonic() + within
    while time.monotonic() < end:
        begin = time.monotonic()
        try:
            assert store.add(f"add{len(granted)}", os.urandom(60_000), 600)
        except StoreUnavailable as error:
            assert time.monotonic() - begin < 2.0
            return granted, str(error)
        granted.append(f"add{len(granted)}")
    raise AssertionError("never refused")


def back(store: RedisStateStore, within: float) -> None:
    end = time.monotonic() + within
    while True:
        try:
            assert store.add(f"after{time.monotonic()}", b"v", 60)
            return
        except StoreUnavailable:
            assert time.monotonic() < end, "does not recover"
            time.sleep(0.1)


def ends(server: Server) -> bool:
    """True once nobody listens, which may be a moment after the connections were closed."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            server.ask("PING")
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_disk_full(disk: Path, make_server: MakeServer, fsync: str) -> None:
    """With everysec the server lives on and can be read; with always it ends itself rather than forget."""
    server = make_server("--appendonly", "yes", "--appendfsync", fsync, "--dir", str(disk))
    server.folder = disk
    server.start()
    store = RedisStateStore(server.url)
    try:
        for key in ("taken", "left"):
            store.put(key, b"v", 600)
        assert store.take("taken") == b"v"
        fill(disk)
        granted, told = adds_until_refused(store, 20)
        if fsync == "everysec":
            assert "cannot write to its disk" in told
            for call in (lambda: store.take("left"), lambda: store.incr("counter", 60)):
                with pytest.raises(StoreUnavailable, match="disk"):
                    call()
            assert store.get("left") == b"v"
            make_room(disk)
            back(store, 10)
        else:
            assert "cannot be reached" in told
            assert ends(server)
            make_room(disk)
            server.stop()
            server.start()
            back(store, 5)
        assert store.take("taken") is None
        assert store.take("left") == b"v"
        assert store.take("left") is None
        assert [key for key in granted if store.add(key, b"", 60)] == []
    finally:
        store.close()


@pytest.mark.parametrize("step", [HOURS, -HOURS])
def test_the_apps_clock_does_not_matter(server: Server, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    store, real = RedisStateStore(server.url), time.time
    try:
        store.put("taken", b"v", 600)
        store.put("left", b"v", 600)
        store.put("over", b"v", 1)
        assert store.take("taken") == b"v"
        assert store.incr("counter", 600) == 1
        monkeypatch.setattr(time, "time", lambda: real() + step)
        assert store.take("taken") is None
        assert store.get("left") == b"v"
        assert store.incr("counter", 600) == 2
        time.sleep(1.1)
        assert store.take("over") is None
    finally:
        store.close()


@pytest.mark.parametrize("step", [HOURS, -HOURS])
def test_the_servers_clock_is_stepped(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: int
) -> None:
    """As on SQLite: forward ends early, back lets live longer; what was used stays used."""
    if not FAKETIME.exists():
        pytest.skip("NOT TESTED, the server's clock: libfaketime is not installed")
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    server = make_server()
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(FAKETIME))
        environment.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
        environment.setenv("FAKETIME_NO_CACHE", "1")
        environment.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        server.start()
    store = RedisStateStore(server.url)
    try:
        for key in ("taken", "left"):
            store.put(key, b"v", 600)
        assert store.take("taken") == b"v"
        assert store.incr("counter", 600) == 1
        before = int(server.ask("TIME").split(b"\r\n")[2])
        offset.write_text(f"{step:+d}\n")
        time.sleep(0.3)  # Valkey looks at the clock ten times a second
        after = int(server.ask("TIME").split(b"\r\n")[2])
        if abs(after - before - step) > 60:
            pytest.skip("NOT TESTED, the server's clock: libfaketime does not reach this build")
        assert store.take("taken") is None
        assert store.get("left") == (None if step > 0 else b"v")
        assert store.incr("counter", 600) == (1 if step > 0 else 2)
        offset.write_text("+0\n")
        time.sleep(0.3)
        assert store.take("taken") is None
    finally:
        store.close()


@pytest.mark.slow
def test_1_killed_at_every_message(server: Server, tmp_path: Path) -> None:
    """Before the server has the question, and after it acted but before the answer arrived."""

    def opener(port: int) -> Callable[[], RedisStateStore]:
        return partial(RedisStateStore, f"redis://127.0.0.1:{port}/0")

    store = RedisStateStore(server.url)
    try:
        assert kill_at_every_message(store, ("127.0.0.1", server.port), opener, tmp_path) > 5
    finally:
        store.close()


@pytest.mark.slow
def test_1_the_server_is_killed_at_every_message(server: Server) -> None:
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
    # Refused before it happened, refused although it happened, and at the end not cut off.
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
def test_a_store_that_answers_too_soon_is_found(server: Server, tmp_path: Path) -> None:
    def opener(port: int) -> Callable[[], LateStore]:
        return partial(LateStore, f"redis://127.0.0.1:{port}/0")

    store = RedisStateStore(server.url)
    try:
        with pytest.raises(AssertionError, match="taken twice"):
            kill_at_every_message(store, ("127.0.0.1", server.port), opener, tmp_path)
    finally:
        store.close()


def test_a_server_that_cannot_start_is_said_at_once(make_server: MakeServer) -> None:
    server = make_server("--no-such-option")
    with pytest.raises(TimeoutError, match="no Valkey server on port"):
        server.start()


def test_a_server_that_does_not_run_cannot_be_paused(make_server: Callable[..., ValkeyServer]) -> None:
    server = make_server()
    with pytest.raises(ProcessLookupError, match="does not run"):
        server.pause()
    server.stop()
