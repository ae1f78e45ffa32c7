"""SQLiteStateStore: what the contract suite does not cover."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asok_auth_core.builtin import asok_auth_state_stores
from asok_auth_core.errors import ConfigurationError, StoreUnavailable
from asok_auth_core.settings import AppConfig, Settings
from asok_auth_core.stores import sqlite_file
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.stores.sqlite_file import APPLICATION_ID, MIGRATIONS
from asok_auth_core.testing.waiting import PATIENCE, Stopwatch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "state.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStateStore]:
    store = SQLiteStateStore(path)
    yield store
    store.close()


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_our_unclosed_connection_is_distinguishable_from_asoks(store: SQLiteStateStore) -> None:
    """pyproject.toml ignores unclosed ``sqlite3.Connection``s: those are Asok's."""
    kinds = set()

    def look(connection: sqlite3.Connection) -> None:
        kinds.add(type(connection))

    store._file.write(look)
    (kind,) = kinds
    assert kind.__name__ == "StoreConnection"
    assert kind.__module__ == "asok_auth_core.stores.sqlite_file"


def built_in(url: str, root: Path) -> SQLiteStateStore:
    """The store that ``AUTH["STATE_STORE"] = url`` gives an app in ``root``."""
    settings = Settings(state_store=url, app=AppConfig(root=root))
    store = asok_auth_state_stores(settings)["sqlite"](url)
    assert isinstance(store, SQLiteStateStore)
    return store


class TestPlace:
    @pytest.mark.parametrize(
        ("url", "file"),
        [
            ("sqlite:///.asok/state.sqlite3", ".asok/state.sqlite3"),
            ("sqlite:///a%20b/c", "a b/c"),
            ("plain.sqlite3", "plain.sqlite3"),
        ],
    )
    def test_a_relative_path_is_below_root(self, tmp_path: Path, url: str, file: str) -> None:
        assert SQLiteStateStore(url, root=tmp_path).path == tmp_path / file

    def test_an_absolute_path_is_kept(self, tmp_path: Path) -> None:
        assert SQLiteStateStore("sqlite:////var/lib/x.db", root=tmp_path).path == Path("/var/lib/x.db")

    def test_a_relative_path_does_not_follow_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        store = SQLiteStateStore("sqlite:///x.db")
        monkeypatch.chdir("/")
        assert store.path == tmp_path / "x.db"

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://",
            "sqlite:///",
            "sqlite:///:memory:",
            "sqlite:///%3Amemory:",
            "sqlite:x",
            "sqlite://host/x",
            "sqlite:///a%00b",
            "",
            ":memory:",
        ],
    )
    def test_a_url_without_a_file_is_rejected(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"names no file.*sqlite:///file.*memory:"):
            SQLiteStateStore(url)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("sqlite:///x?mode=ro", r"cannot have \?mode: .* write \? as %3F"),
            ("sqlite:///x?password=CANARY", r"cannot have \?password: "),
            ("sqlite:///x#1", r"cannot have #1: .* write # as %23"),
        ],
    )
    def test_a_url_with_parameters_is_rejected(self, url: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message) as raised:
            SQLiteStateStore(url)
        assert "CANARY" not in str(raised.value)

    def test_the_escaped_signs_are_part_of_the_name(self, tmp_path: Path) -> None:
        assert SQLiteStateStore("sqlite:///a%3Fb%23c%25", root=tmp_path).path == tmp_path / "a?b#c%"

    @pytest.mark.parametrize(
        ("url", "file"),
        [
            ("sqlite:///a%20b/state.db", "a b/state.db"),
            ("sqlite:///x.db", "x.db"),
            ("sqlite:////abs.db", "/abs.db"),
        ],
    )
    def test_the_built_in_store_reads_the_setting_the_same_way(
        self, tmp_path: Path, url: str, file: str
    ) -> None:
        store = built_in(url, tmp_path)
        assert store.path == tmp_path / file

    @pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite:///x?mode=ro", "sqlite:x.db"])
    def test_the_built_in_store_rejects_the_same_settings(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(ConfigurationError, match="The URL of the SQLite state store"):
            built_in(url, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_file_and_side_files_are_readable_by_the_owner_only(
        self, store: SQLiteStateStore, path: Path
    ) -> None:
        umask = os.umask(0)
        try:
            store.put("k", b"v", 60)
        finally:
            os.umask(umask)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
        assert modes["state.sqlite3"] == modes["state.sqlite3-wal"] == modes["state.sqlite3-shm"] == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


class TestSchema:
    def test_the_file_carries_its_application_id_and_version(
        self, store: SQLiteStateStore, path: Path
    ) -> None:
        store.put("k", b"v", 60)
        assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
        assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
        assert query(path, "PRAGMA journal_mode") == [("wal",)]

    def test_a_newer_file_is_left_alone(self, store: SQLiteStateStore, path: Path) -> None:
        store.put("k", b"v", 60)
        store.close()
        query(path, "PRAGMA user_version = 7")
        with pytest.raises(StoreUnavailable, match=r"schema version 7.*Upgrade"):
            store.get("k")
        query(path, f"PRAGMA user_version = {len(MIGRATIONS)}")
        assert store.get("k") == b"v"

    def test_another_programs_database_is_left_alone(self, store: SQLiteStateStore, path: Path) -> None:
        path.parent.mkdir()
        query(path, "CREATE TABLE state (mine TEXT)")
        with pytest.raises(StoreUnavailable, match="another program"):
            store.put("k", b"v", 60)
        assert query(path, "SELECT name FROM sqlite_master") == [("state",)]

    def test_an_empty_file_is_initialized(self, store: SQLiteStateStore, path: Path) -> None:
        path.parent.mkdir()
        path.touch()
        store.put("k", b"v", 60)
        assert store.take("k") == b"v"

    def test_a_file_that_is_not_a_database_is_left_alone(self, store: SQLiteStateStore, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"dear diary " * 1000)
        with pytest.raises(StoreUnavailable, match="not a SQLite database"):
            store.put("k", b"v", 60)
        assert path.read_bytes() == b"dear diary " * 1000

    def test_a_failed_migration_is_rolled_back(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = ((*MIGRATIONS[0], "CREATE TABLE half (x)", "CREATE TABLE half (x)"),)
        with monkeypatch.context() as version:
            version.setattr(sqlite_file, "MIGRATIONS", broken)
            with pytest.raises(StoreUnavailable, match="half already exists"):
                SQLiteStateStore(path).get("k")
        assert query(path, "SELECT count(*) FROM sqlite_master") == [(0,)]
        store = SQLiteStateStore(path)
        assert store.add("k", b"v", 60)
        store.close()

    def test_a_changed_journal_mode_is_restored(self, store: SQLiteStateStore, path: Path) -> None:
        store.put("k", b"v", 60)
        store.close()
        assert query(path, "PRAGMA journal_mode = DELETE") == [("delete",)]
        assert store.take("k") == b"v"
        assert query(path, "PRAGMA journal_mode") == [("wal",)]

    @pytest.mark.requirement("SECURITY-1")
    def test_a_file_system_without_shared_memory_is_rejected(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SQLite keeps the old journal there; processes would not see locks."""

        class OnANetworkShare(sqlite_file.StoreConnection):
            def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
                return super().execute(sql.replace("journal_mode = WAL", "journal_mode"), *arguments)

        monkeypatch.setattr(sqlite_file, "StoreConnection", OnANetworkShare)
        with pytest.raises(StoreUnavailable, match="Put it on a local disk"):
            SQLiteStateStore(path).get("k")


class TestFaults:
    @pytest.mark.requirement("SECURITY-32")
    def test_a_lock_of_another_process_fails_within_two_seconds(
        self, store: SQLiteStateStore, path: Path
    ) -> None:
        """The limit is for the whole call, waiting for other threads included."""
        store.put("k", b"v", 60)
        took: list[float] = []

        def call() -> None:
            with Stopwatch() as watch, pytest.raises(StoreUnavailable, match="locked"):
                store.take("k")
            took.append(watch.seconds)

        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            threads = [threading.Thread(target=call) for _ in range(6)]
            for thread in threads:
                thread.start()
            assert store.get("k") == b"v"  # reading goes on
            for thread in threads:
                thread.join()
            other.execute("ROLLBACK")
        finally:
            other.close()
        assert len(took) == 6
        assert max(took) < 2.5
        assert store.take("k") == b"v"

    def test_a_deleted_file_is_an_error_once_and_then_recreated(
        self, store: SQLiteStateStore, path: Path
    ) -> None:
        store.put("k", b"v", 60)
        for file in path.parent.iterdir():
            file.unlink()
        with pytest.raises(StoreUnavailable, match="deleted"):
            store.get("k")
        assert store.get("k") is None
        assert store.add("k", b"w", 60)
        assert query(path, "SELECT count(*) FROM state") == [(1,)]

    @pytest.mark.requirement("SECURITY-1")
    def test_two_stores_never_both_win_across_a_deleted_file(self, path: Path) -> None:
        """One still on the removed file, one on the new one."""
        old, new = SQLiteStateStore(path), SQLiteStateStore(path)
        try:
            old.get("k")
            for file in path.parent.iterdir():
                file.unlink()
            assert new.add("k", b"v", 60)
            with pytest.raises(StoreUnavailable, match="deleted"):
                old.add("k", b"v", 60)
            assert not old.add("k", b"v", 60)
        finally:
            old.close()
            new.close()

    def test_a_full_disk_is_an_error_and_recovery_is_automatic(self, path: Path) -> None:
        """A file size limit is a full disk to SQLite; lifting it frees space."""
        code = """
import resource, sys
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.stores.sqlite import SQLiteStateStore
store = SQLiteStateStore(sys.argv[1])
store.put("before", b"v", 60)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
try:
    for number in range(50):
        store.put(f"k{number}", bytes(60_000), 60)
except StoreUnavailable as error:
    print(error)
for call in (lambda: store.add("rejected", bytes(60_000), 60),):
    try:
        print("granted", call())
    except StoreUnavailable:
        print("rejected")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print(store.get("rejected"), store.take("before"), store.add("rejected", b"", 60))
store.close()
"""
        printed = self._run(code, path)
        assert "disk" in printed[0]
        assert printed[1:] == ["rejected", "None b'v' True"]

    def test_a_read_only_file_is_an_error(self, tmp_path: Path) -> None:
        """In a process that is not root, because root can write anywhere."""
        path = tmp_path / "state.sqlite3"
        store = SQLiteStateStore(path)
        store.put("k", b"v", 60)
        store.close()
        path.chmod(0o444)
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o755)
        code = """
import os, sys
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.stores.sqlite import SQLiteStateStore
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = SQLiteStateStore(sys.argv[1])
try:
    print("granted", store.take("k"))
except StoreUnavailable as error:
    print(error)
store.close()
"""
        assert "Check" in self._run(code, path)[0]
        path.chmod(0o600)
        assert store.take("k") == b"v"
        store.close()

    @pytest.mark.requirement("SECURITY-32")
    def test_a_slow_writer_blocks_other_threads_for_at_most_two_seconds(
        self, store: SQLiteStateStore
    ) -> None:
        entered, gate = threading.Event(), threading.Event()

        def work(connection: sqlite3.Connection) -> None:
            entered.set()
            gate.wait(PATIENCE)

        writer = threading.Thread(target=store._file.write, args=(work,))
        writer.start()
        try:
            assert entered.wait(PATIENCE)
            with pytest.raises(StoreUnavailable, match="locked"):
                store.add("k", b"v", 60)
        finally:
            gate.set()
            writer.join()
        assert store.add("k", b"v", 60)

    def test_failed_work_leaves_nothing_behind(self, store: SQLiteStateStore, path: Path) -> None:
        """Not even if the connection is lost with it."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO state VALUES ('half', 'v', 9e9)")
            if lose_connection:
                connection.set_authorizer(lambda *action: sqlite3.SQLITE_DENY)
            raise ZeroDivisionError

        for lose_connection in (False, True):
            with pytest.raises(ZeroDivisionError):
                store._file.write(work)
            assert store.add(f"k{lose_connection}", b"v", 60)
        assert query(path, "SELECT count(*) FROM state WHERE key = 'half'") == [(0,)]

    def test_a_forked_child_opens_its_own_connections(self, path: Path) -> None:
        code = """
import os, sys
from asok_auth_core.stores.sqlite import SQLiteStateStore
store = SQLiteStateStore(sys.argv[1])
for key in ("child", "parent"):
    store.put(key, b"v", 60)
child = os.fork()
if not child:
    print(store.take("child"), flush=True)
    store.close()
    os._exit(0)
os.waitpid(child, 0)
print(store.take("child"), store.take("parent"))
store.close()
"""
        assert self._run(code, path) == ["b'v'", "None b'v'"]

    def _run(self, code: str, path: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    def test_a_file_in_place_of_the_folder_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("")
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            SQLiteStateStore(tmp_path / "x" / "y").get("k")


class TestGrowth:
    def test_expired_rows_are_removed_as_new_ones_are_added(self, path: Path) -> None:
        now = [1000.0]
        store = SQLiteStateStore(path, lambda: now[0])
        try:
            for i in range(200):
                store.put(f"old{i}", b"v", 10)
            now[0] += 11
            for i in range(60):
                store.put(f"new{i}", b"v", 10)
        finally:
            store.close()
        assert query(path, "SELECT count(*) FROM state") == [(60,)]

    def test_the_file_stops_growing_under_steady_load(self, path: Path) -> None:
        now = [1000.0]
        store = SQLiteStateStore(path, lambda: now[0])
        sizes = []
        try:
            for round_ in range(4):
                for i in range(300):
                    store.put(f"{round_}/{i}", b"v" * 200, 10)
                    now[0] += 0.1
                store.close()
                sizes.append(path.stat().st_size)
        finally:
            store.close()
        assert sizes[3] <= sizes[1]
