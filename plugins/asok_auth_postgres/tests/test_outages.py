"""A full disk, a stepped clock, a promoted standby, killed clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest
from asok_auth_postgres import PostgresStateStore, connections
from asok_auth_postgres import store as store_module
from asok_auth_tests.clocks import HOURS, check_apps_clock, check_servers_clock, steppable_clock
from asok_auth_tests.outages import (
    fill,
    kill_at_every_message,
    make_room,
    small_disk,
    store_failure,
    wait_until_writable,
)
from asok_auth_tests.postgres_server import PostgresServer

from asok_auth_core.testing import wait_until


class Server(Protocol):
    """What conftest.py's servers can do."""

    folder: Path
    url: str

    def start(self) -> None: ...
    def stop(self, mode: str = ...) -> None: ...
    def ask(self, statement: str) -> list[tuple[object, ...]]: ...


MakeServer = Callable[..., Server]


def sockets(server: Server) -> str:
    """The folder of the server's Unix socket."""
    (folder,) = parse_qs(urlsplit(server.url).query)["host"]
    return folder


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(128) as folder:
        yield folder


@pytest.mark.requirement("SECURITY-1", "SECURITY-32")
@pytest.mark.slow
@pytest.mark.parametrize("where", ["tables", "write-ahead log"])
def test_a_full_disk_is_an_error_and_loses_nothing(disk: Path, make_server: MakeServer, where: str) -> None:
    """If tables cannot grow, reads still work; if the log cannot, the server ends."""
    server = make_server(folder=disk)
    server.start()
    store = PostgresStateStore(server.url)
    granted: list[str] = []

    def add() -> None:
        key = f"add{len(granted)}"
        if store.add(key, os.urandom(60_000), 600):
            granted.append(key)

    try:
        for key in ("taken", "left"):
            store.put(key, b"v", 600)
        assert store.take("taken") == b"v"
        fill(disk)
        if where == "tables":
            told = None
            while told is None and len(granted) < 1000:
                told = store_failure(add)
            assert told is not None
            assert "has a full disk" in told
            assert store.get("left") == b"v"
            make_room(disk)
        else:
            # Every switch needs a new file of the log, until the server ends itself.
            def use_up() -> None:
                for _ in range(20):
                    server.ask("SELECT pg_switch_wal()")
                    store_failure(add)

            with pytest.raises(psycopg.Error):
                use_up()
            wait_until(lambda: store_failure(lambda: store.take("nothing")) is not None, "the server to end")
            make_room(disk)
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
    store = PostgresStateStore(server.url)
    try:
        check_apps_clock(store, step)
    finally:
        store.close()


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("seconds", [HOURS, -HOURS])
def test_taken_values_stay_taken_across_server_clock_steps(make_server: MakeServer, seconds: int) -> None:
    server = make_server()

    def now() -> float:
        ((seconds,),) = server.ask("SELECT extract(epoch FROM now())::float8")
        assert isinstance(seconds, float)
        return seconds

    with steppable_clock(server.start) as step:
        store = PostgresStateStore(server.url)
        try:
            check_servers_clock(store, step, seconds, now)
        finally:
            store.close()


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_a_promoted_synchronous_standby_keeps_taken_values(make_server: MakeServer) -> None:
    """The same URL finds the new primary, where used values stay used."""
    primary = make_server()
    primary.start()
    primary.stop("fast")
    standby = make_server(copy_of=primary)
    (standby.folder / "standby.signal").touch()
    primary.start()
    with (standby.folder / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = 'host={sockets(primary)} user=postgres application_name=two'\n")
    standby.start()
    primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'two'")
    primary.ask("SELECT pg_reload_conf()")

    def follows() -> bool:
        return primary.ask("SELECT sync_state FROM pg_stat_replication") == [("sync",)]

    wait_until(follows, "the standby to follow")
    hosts = quote(f"{sockets(primary)},{sockets(standby)}", safe="")
    store = PostgresStateStore(
        f"postgresql://postgres@/postgres?host={hosts}&target_session_attrs=read-write"
    )
    try:
        for number in range(40):
            store.put(f"link{number}", b"v", 600)
        used = [number for number in range(20) if store.take(f"link{number}") == b"v"]
        assert len(used) == 20
        assert [store.incr("attempts", 600) for _ in range(3)] == [1, 2, 3]
        standby.stop("immediate")
        assert store_failure(lambda: store.take("link39")) is not None
        standby.start()
        wait_until(follows, "the standby to follow")
        once = [store.take("link39"), store.take("link39")]
        assert once in ([None, None], [b"v", None])
        primary.stop("immediate")
        assert store_failure(lambda: store.take("link20")) is not None
        standby.ask("SELECT pg_promote()")
        wait_until_writable(store)
        assert [number for number in used if store.take(f"link{number}") is not None] == []
        assert [store.take(f"link{number}") for number in range(20, 39)] == [b"v"] * 19
        assert store.incr("attempts", 600) == 4
    finally:
        store.close()


def open_patiently(port: int) -> PostgresStateStore:
    """What the fixture ``patient`` does, in a worker process too."""
    connections.CONNECTING, store_module.DEADLINE = 30.0, 300.0
    return PostgresStateStore(
        f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable&gssencmode=disable"
    )


@pytest.mark.usefixtures("patient")
@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_a_client_killed_at_any_message_wins_nothing_twice(server: Server, tmp_path: Path) -> None:
    """Killed before the server gets a request, and before the client gets a reply."""

    def opener(port: int) -> Callable[[], PostgresStateStore]:
        return partial(open_patiently, port)

    store = PostgresStateStore(server.url)
    try:
        assert kill_at_every_message(store, f"{sockets(server)}/.s.PGSQL.5432", opener, tmp_path) > 9
    finally:
        store.close()


def test_a_copy_of_a_server_has_its_data(server: Server, make_server: Callable[..., PostgresServer]) -> None:
    server.ask("CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS number")
    server.stop("fast")
    copy = make_server(copy_of=server)
    copy.start()
    assert copy.ask("SELECT number FROM kept") == [(7,)]
    assert copy.folder != server.folder


def test_a_server_that_never_ran_can_be_paused_and_removed(
    make_server: Callable[..., PostgresServer],
) -> None:
    server = make_server()
    server.pause()
    server.remove()
    assert not server.folder.exists()
