"""Tables, sweeping, URLs, and faults: each fails within two seconds."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import pytest
from asok_auth_postgres import PostgresStateStore, connections
from asok_auth_postgres import store as store_module
from asok_auth_postgres.schema import STATEMENTS
from asok_auth_postgres.store import DATABASE_TIME, SWEEP_OUT
from asok_auth_tests.outages import calls_fail_together, fails_in_time, recovers, wait_until_writable

from asok_auth_core.plugin import ConfigurationError, StoreUnavailable
from asok_auth_core.testing import FrozenClock, Workers, exactly_once
from asok_auth_core.testing.races import add_each


class Server(Protocol):
    """The fixture ``server`` of conftest.py."""

    url: str

    def start(self) -> None: ...
    def stop(self, mode: str = ...) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def ask(self, statement: str) -> list[tuple[object, ...]]: ...


@contextmanager
def opened(url: str) -> Iterator[PostgresStateStore]:
    store = PostgresStateStore(url)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(server: Server) -> Iterator[PostgresStateStore]:
    with opened(server.url) as store:
        yield store


class TestURL:
    @pytest.mark.requirement("SECURITY-30")
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://h/db?nonsense=canary",
            "postgresql://user:canary@h:port/db",
            "postgresql://h/db?max_connections=many",
        ],
    )
    def test_an_invalid_url_is_rejected_without_the_password(self, url: str) -> None:
        """The message does not hold the password."""
        with pytest.raises(ConfigurationError) as caught:
            PostgresStateStore(url)
        assert "canary" not in str(caught.value)

    def test_an_unreachable_server_is_a_store_error(self) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            with opened(f"postgresql://me:canary@127.0.0.1:{port}/db") as store:
                fails_in_time(lambda: store.get("k"), rf"127.0.0.1:{port} provided no connection.*refused")
                with pytest.raises(StoreUnavailable) as caught:
                    store.get("k")
                assert "canary" not in str(caught.value)

    def test_a_silent_listener_times_out(self) -> None:
        """Accepts connections and never answers."""
        with (
            socket.create_server(("127.0.0.1", 0)) as mute,
            opened(f"postgresql://127.0.0.1:{mute.getsockname()[1]}/db") as store,
        ):
            fails_in_time(lambda: store.get("k"), "no connection in time")

    def test_a_missing_database_is_named(self, server: Server) -> None:
        with opened(server.url.replace("/postgres?", "/missing?")) as store:
            fails_in_time(lambda: store.get("k"), 'database "missing" does not exist')


def open_patiently(url: str) -> PostgresStateStore:
    """What the fixture ``patient`` does, in a worker process."""
    connections.CONNECTING, store_module.DEADLINE = 30.0, 300.0
    return PostgresStateStore(url)


class TestTables:
    def test_the_schema_version_is_recorded(self, server: Server, store: PostgresStateStore) -> None:
        store.get("k")
        assert server.ask("SELECT * FROM asok_auth_schema") == [("state", 1)]

    @pytest.mark.slow
    def test_many_processes_can_create_the_tables_at_once(self, server: Server) -> None:
        keys = [f"k{n}" for n in range(10)]
        with Workers(partial(open_patiently, server.url), 4) as workers:
            exactly_once(workers.run(add_each, keys, 60), keys)

    def test_a_newer_version_is_left_alone(self, server: Server, store: PostgresStateStore) -> None:
        for statement in STATEMENTS:
            server.ask(statement)
        server.ask("UPDATE asok_auth_schema SET version = 2")
        fails_in_time(lambda: store.put("k", b"v", 60), "version 2.*Upgrade")
        server.ask("UPDATE asok_auth_schema SET version = 1")
        recovers(store)

    def test_dropped_tables_are_an_error_and_then_recreated(
        self, server: Server, store: PostgresStateStore
    ) -> None:
        store.put("k", b"v", 60)
        server.ask("DROP TABLE asok_auth_state, asok_auth_schema")
        fails_in_time(lambda: store.take("k"), "has lost its tables")
        recovers(store)

    def test_a_role_without_create_permission_needs_existing_tables(self, server: Server) -> None:
        server.ask("DROP ROLE IF EXISTS weak")
        server.ask("CREATE ROLE weak LOGIN")
        server.ask("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        with opened(server.url.replace("postgres:@", "weak@").replace("postgres@", "weak@")) as store:
            fails_in_time(lambda: store.get("k"), "does not allow this user")
            for statement in STATEMENTS:
                server.ask(statement)
            server.ask("GRANT SELECT, INSERT, UPDATE, DELETE ON asok_auth_state, asok_auth_schema TO weak")
            recovers(store)
            assert store.incr("counter", 60) == 1
        server.ask("DROP OWNED BY weak")
        server.ask("DROP ROLE weak")

    def test_python_m_prints_the_statements(self) -> None:
        printed = subprocess.run(
            [sys.executable, "-m", "asok_auth_postgres"], check=True, capture_output=True, text=True
        ).stdout
        assert printed.count(";\n") == len(STATEMENTS)
        assert "CREATE TABLE IF NOT EXISTS asok_auth_state" in printed

    def test_expired_rows_are_removed_as_new_ones_are_added(self, server: Server) -> None:
        clock = FrozenClock()
        store = PostgresStateStore(server.url, clock)
        try:
            for number in range(150):
                store.put(f"old{number}", b"v", 10)
            clock.advance(11)
            for number in range(64):
                store.put(f"new{number}", b"v", 10)
        finally:
            store.close()
        assert server.ask(
            "SELECT count(*) FROM asok_auth_state WHERE convert_from(key, 'UTF8') LIKE 'old%'"
        ) == [(0,)]

    def test_sweeping_reads_no_live_rows(self, server: Server, store: PostgresStateStore) -> None:
        store.get("k")
        server.ask(
            "INSERT INTO asok_auth_state SELECT sha256(n::text::bytea), 'v', extract(epoch FROM now()) + 9999"
            " FROM generate_series(1, 20000) AS n"
        )
        server.ask("ANALYZE asok_auth_state")
        statement = SWEEP_OUT.replace("{now}", DATABASE_TIME).replace("%(sweep)s", "64")
        plan = "\n".join(str(row[0]) for row in server.ask(f"EXPLAIN {statement}"))
        assert "Index Cond: (expires <=" in plan
        assert "Seq Scan" not in plan


@pytest.mark.requirement("SECURITY-32")
class TestFaults:
    def test_a_restart_after_a_power_cut_keeps_acknowledged_writes(
        self, server: Server, store: PostgresStateStore
    ) -> None:
        store.put("taken", b"v", 60)
        store.put("left", b"v", 60)
        assert store.take("taken") == b"v"
        assert store.incr("counter", 60) == 1
        server.stop("immediate")
        for call in (
            lambda: store.take("left"),
            lambda: store.add("new", b"v", 60),
            lambda: store.incr("counter", 60),
        ):
            fails_in_time(call, "no connection|closed the connection|shutting down")
        server.start()
        wait_until_writable(store)
        assert (store.take("taken"), store.take("left")) == (None, b"v")
        assert store.incr("counter", 60) == 2

    @pytest.mark.usefixtures("patient")
    def test_idle_connections_survive_a_restart(self, server: Server, store: PostgresStateStore) -> None:
        """No call fails: a closed connection is noticed before it is used."""
        threads = [threading.Thread(target=store.incr, args=("k", 60)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.stop("fast")
        server.start()
        for _ in range(8):
            recovers(store)

    def test_a_paused_server_times_out_and_recovers(self, server: Server, store: PostgresStateStore) -> None:
        store.put("k", b"v", 60)
        server.pause()
        fails_in_time(lambda: store.take("k"), "did not answer in time")
        fails_in_time(lambda: store.take("k"), "no connection in time")  # now on a new connection
        server.resume()
        wait_until_writable(store)

    def test_a_row_locked_by_another_client_times_out(
        self, server: Server, store: PostgresStateStore
    ) -> None:
        import psycopg

        store.put("k", b"v", 60)
        with psycopg.connect(server.url) as other:
            other.execute("SELECT 1 FROM asok_auth_state FOR UPDATE")
            fails_in_time(lambda: store.take("k"), "did not answer in time")
            other.rollback()
        recovers(store)

    def test_a_read_only_server_allows_reads_only(self, server: Server, store: PostgresStateStore) -> None:
        store.put("k", b"v", 60)
        with opened(server.url + "&options=-cdefault_transaction_read_only%3Don") as other:
            assert other.get("k") == b"v"
            fails_in_time(lambda: other.take("k"), "is read-only")
        assert store.take("k") == b"v"

    @pytest.mark.slow
    def test_waiting_for_a_connection_times_out(self, server: Server) -> None:
        with opened(server.url + "&max_connections=1") as store:
            store.get("k")
            server.pause()
            calls_fail_together(lambda: store.get("k"))
            server.resume()
            wait_until_writable(store)

    def test_a_forked_process_uses_its_own_connections(self, server: Server) -> None:
        """Run apart, because this process has threads."""
        code = (
            "import os, sys; from asok_auth_postgres import PostgresStateStore\n"
            "store = PostgresStateStore(sys.argv[1]); store.put('k', b'v', 60)\n"
            "children = []\n"
            "for _ in range(3):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        got = [store.incr('fork', 60) for _ in range(50)]\n"
            "        os._exit(0 if got == sorted(set(got)) else 1)\n"
            "    children.append(pid)\n"
            "mine = [store.get('k') for _ in range(50)]\n"
            "codes = [os.waitpid(pid, 0)[1] for pid in children]\n"
            "assert codes == [0] * 3 and set(mine) == {b'v'}, codes\n"
            "assert store.incr('fork', 60) == 151\n"
            "store.close()\n"
        )
        subprocess.run([sys.executable, "-c", code, server.url], check=True)
