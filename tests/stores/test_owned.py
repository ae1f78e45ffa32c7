"""OwnedStateStore: entries belong to one database and are sealed."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import RevocationMark, StateStore
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.errors import RateLimited, StoreError
from asok_auth_core.stores import sqlite_file
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.stores.owned import LARGEST, OwnedStateStore
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.fakes import FakeUser, FrozenClock, MemoryCredentialStore, MemoryUsers
from asok_auth_core.testing.parts import TestParts, build_auth
from asok_auth_core.testing.state_store import OpenStore, StateStoreContract
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import Clock, StateOperation

OLD, NEW = b"o" * 32, b"n" * 32


def owned(store: StateStore, *, owner: str = "a" * 22, ring: Sequence[bytes] = (OLD,)) -> OwnedStateStore:
    return OwnedStateStore(store, KeyRing(ring), secrets.token_bytes, lambda: owner)


def open_owned(path: Path | None, clock: Clock | None = None) -> OwnedStateStore:
    """A worker process opens it too, and must wait for a busy machine."""
    sqlite_file.DEADLINE = PATIENCE
    clock = clock or FrozenClock()
    return owned(MemoryStateStore(clock) if path is None else SQLiteStateStore(path, clock))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes what ``open_owned`` sets, in this process."""
    monkeypatch.setattr(sqlite_file, "DEADLINE", PATIENCE)


@pytest.mark.usefixtures("patient")
class TestOwnedMemory(StateStoreContract):
    shared = False
    largest = LARGEST

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return partial(open_owned, None)


@pytest.mark.usefixtures("patient")
class TestOwnedSQLite(StateStoreContract):
    largest = LARGEST
    processes = 2
    kills = 1
    examples = 5

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_owned, tmp_path / "state.sqlite3")


@pytest.fixture
def inner() -> MemoryStateStore:
    return MemoryStateStore(FrozenClock())


def stored(store: MemoryStateStore) -> dict[str, bytes]:
    return {key: value for key, (value, _) in store._entries.items()}


# -- what lies in the store ------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-30", "SECURITY-38")
def test_no_value_lies_in_the_store_in_plaintext(inner: MemoryStateStore) -> None:
    store = owned(inner)
    store.put("put", b"canary", 60)
    store.add("add", b"canary", 60)
    store.batch([StateOperation("put", "batch", b"canary", 60), StateOperation("add", "new", b"canary", 60)])
    assert len(stored(inner)) == 4
    for key, value in stored(inner).items():
        assert key.startswith("a" * 22 + ":")
        assert b"canary" not in value
        assert len(value) == len(b"canary") + 35


@pytest.mark.requirement("SECURITY-38")
def test_the_same_value_is_never_stored_twice_alike(inner: MemoryStateStore) -> None:
    store = owned(inner)
    for _ in range(50):
        store.put(secrets.token_hex(4), b"value", 60)
    assert len(set(stored(inner).values())) == 50


def test_a_counter_is_prefixed_and_countable(inner: MemoryStateStore) -> None:
    assert [owned(inner).incr("n", 60), owned(inner).incr("n", 60)] == [1, 2]
    assert stored(inner) == {"a" * 22 + ":n": b"2"}
    assert owned(inner).get("n") is None


def test_a_long_key_is_replaced_by_its_digest_and_mixes_with_no_other(inner: MemoryStateStore) -> None:
    store = owned(inner)
    keys = ["x" * 1000, "x" * 1001, "x" * 1002, "x" * 1024, "é" * 512]
    for key in keys:
        assert store.add(key, key.encode(), 60)
    for raw in list(stored(inner)):
        owner, sign, rest = raw[:22], raw[22], raw[23:]
        assert (owner, sign) in (("a" * 22, ":"), ("a" * 22, "#"))
        if sign == "#":
            assert len(rest) == 64
            assert store.get(rest) is None, "a key that is spelled like the digest is another one"
    assert [store.take(key) for key in keys] == [key.encode() for key in keys]


def test_a_value_that_would_be_too_long_when_sealed_is_rejected(inner: MemoryStateStore) -> None:
    with pytest.raises(StoreError, match="at most 65501 bytes"):
        owned(inner).put("k", b"x" * (LARGEST + 1), 60)
    with pytest.raises(StoreError, match="must be bytes"):
        owned(inner).put("k", "text", 60)  # type: ignore[arg-type]
    assert stored(inner) == {}


# -- values that do not open -----------------------------------------------------------------------


def changes(sealed: bytes) -> Iterator[bytes]:
    yield b""
    yield b"plaintext"
    yield sealed[:-1]
    yield sealed + b"\0"
    yield sealed[:34]
    for place in range(len(sealed)):
        yield sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]


@pytest.mark.requirement("SECURITY-38")
def test_a_changed_value_does_not_exist(inner: MemoryStateStore, caplog: pytest.LogCaptureFixture) -> None:
    store = owned(inner)
    store.put("k", b"canary", 60)
    ((key, sealed),) = stored(inner).items()
    for changed in changes(sealed):
        inner.put(key, changed, 60)
        with caplog.at_level(logging.WARNING, "asok_auth"):
            caplog.clear()
            assert store.get("k") is None
            assert "seal_broken" in caplog.text or "seal_key_retired" in caplog.text
            assert store.batch([StateOperation("get", "k")]) == [None]
            assert store.take("k") is None
        assert "canary" not in caplog.text
        assert "canary" not in repr(caplog.records)
        assert inner.get(key) is None, "take has removed it"


@pytest.mark.requirement("SECURITY-38")
def test_a_value_moved_to_another_key_does_not_exist(inner: MemoryStateStore) -> None:
    """An attacker who can write to the store cannot move a pending login."""
    mine, theirs = owned(inner), owned(inner, owner="b" * 22)
    mine.put("pending:1", b"user 1", 60)
    sealed = stored(inner)["a" * 22 + ":pending:1"]
    for key in ("a" * 22 + ":pending:2", "b" * 22 + ":pending:1", "a" * 22 + ":pending:1 "):
        inner.put(key, sealed, 60)
    assert mine.get("pending:2") is mine.get("pending:1 ") is theirs.get("pending:1") is None
    assert mine.get("pending:1") == b"user 1"


@pytest.mark.requirement("SECURITY-38")
def test_a_key_taken_by_an_unreadable_value_is_not_free(inner: MemoryStateStore) -> None:
    """A lock of a worker with another key is a lock: add says no."""
    assert owned(inner, ring=[OLD]).add("lock", b"1", 60)
    assert owned(inner, ring=[NEW]).add("lock", b"1", 60) is False
    owned(inner, ring=[NEW]).delete("lock")
    assert owned(inner, ring=[OLD]).add("lock", b"1", 60)


# -- rotating SECRET_KEY ---------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-29", "SECURITY-38")
def test_workers_side_by_side_during_a_rotation(inner: MemoryStateStore) -> None:
    """Which worker reads whose values; budgets, locks and mark are shared."""
    old, both, new = (owned(inner, ring=ring) for ring in ([OLD], [NEW, OLD], [NEW]))
    workers = {"old": old, "both": both, "new": new}
    readers = {"old": {"old", "both"}, "both": {"both", "new"}, "new": {"both", "new"}}
    for writer, store in workers.items():
        store.put(writer, writer.encode(), 60)
        for reader, other in workers.items():
            expected = writer.encode() if reader in readers[writer] else None
            assert other.get(writer) == expected, (writer, reader)
            assert other.batch([StateOperation("get", writer)]) == [expected]
    assert [store.incr("budget", 60) for store in workers.values()] == [1, 2, 3]
    assert [store.add("lock", b"1", 60) for store in workers.values()] == [True, False, False]
    marks = [store.revocation_mark(secrets.token_bytes) for store in workers.values()]
    for mark in marks:
        assert len({other.current() for other in marks}) == 1
        before = mark.current()
        mark.advance()
        assert all(other.current() != before for other in marks)
    # A worker that cannot read it cannot return it to any caller either.
    assert new.take("old") is None
    assert old.take("new") is None


# -- two apps, two tenants -------------------------------------------------------------------------


def apps_on_one_store(tmp_path: Path, *, same_secret: bool) -> tuple[Auth, Auth]:
    """Two apps, each with its database and a user 1, on the same state store."""
    clock = FrozenClock()
    parts = TestParts(clock)
    made = []
    for number in range(2):
        secret = "5" * 31 + "abcdef0123456789" + ("x" if same_secret else str(number))
        made.append(
            build_auth(
                tmp_path,
                config={"SECRET_KEY": secret},
                users=MemoryUsers(FakeUser("1", f"user{number}@example.com")),
                credentials=MemoryCredentialStore(clock),
                clock=clock,
                parts=parts,
            )
        )
    return made[0], made[1]


@pytest.mark.requirement("SECURITY-38")
@pytest.mark.parametrize("same_secret", [True, False], ids=["staging and production", "two apps"])
def test_two_apps_share_no_state_budget_or_lock(tmp_path: Path, same_secret: bool) -> None:
    one, other = apps_on_one_store(tmp_path, same_secret=same_secret)
    one.state.put("pending", b"a pending login", 60)
    assert other.state.get("pending") is None
    assert other.state.take("pending") is None
    other.state.delete("pending")
    assert one.state.get("pending") == b"a pending login"
    assert (one.state.add("lock", b"1", 60), other.state.add("lock", b"1", 60)) == (True, True)
    for _ in range(3):
        one.limits.hit("code", "user 1", limit=3, window=60)
    with pytest.raises(RateLimited):
        one.limits.hit("code", "user 1", limit=3, window=60)
    other.limits.hit("code", "user 1", limit=3, window=60)


@pytest.mark.requirement("SECURITY-38")
def test_two_workers_of_one_app_share_everything(tmp_path: Path) -> None:
    clock = FrozenClock()
    parts, credentials = TestParts(clock), MemoryCredentialStore(clock)
    one, other = (build_auth(tmp_path, credentials=credentials, clock=clock, parts=parts) for _ in range(2))
    assert one.installation() == other.installation()
    one.state.put("k", b"v", 60)
    assert other.state.take("k") == b"v"
    assert (one.state.incr("n", 60), other.state.incr("n", 60)) == (1, 2)


class OneDatabasePerTenant(MemoryCredentialStore):
    """Credentials of the tenant in ``tenant``."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.tenant = "a"
        self.tenants = {name: MemoryCredentialStore(clock) for name in "ab"}
        for method in ("add", "find", "list", "replace", "remove", "touch", "installation"):
            setattr(self, method, partial(self._call, method))

    def _call(self, method: str, *arguments: object) -> object:
        return getattr(self.tenants[self.tenant], method)(*arguments)


@pytest.mark.requirement("SECURITY-38")
def test_two_tenants_share_no_state_and_each_finds_its_own_again(tmp_path: Path) -> None:
    """The id is asked for at each call: the same objects serve all tenants."""
    clock = FrozenClock()
    credentials = OneDatabasePerTenant(clock)
    auth = build_auth(tmp_path, credentials=credentials, clock=clock)
    mark = auth.state.revocation_mark(secrets.token_bytes)
    seen = {}
    for tenant in "ab":
        credentials.tenant = tenant
        assert auth.state.get("pending") is None
        auth.state.put("pending", tenant.encode(), 60)
        assert auth.state.incr("n", 60) == 1
        seen[tenant] = mark.current()
    assert seen["a"] != seen["b"]
    credentials.tenant = "a"
    mark.advance()
    assert mark.current() != seen["a"]
    assert auth.state.take("pending") == b"a"
    credentials.tenant = "b"
    assert mark.current() == seen["b"]
    assert auth.state.take("pending") == b"b"


@pytest.mark.requirement("SECURITY-38")
def test_the_id_is_not_read_before_the_first_use(tmp_path: Path) -> None:
    """Before a server forks, the app's database may not be touched."""

    class NotYet(MemoryCredentialStore):
        asked = 0

        def find(self, kind: str, identifier: str) -> None:
            self.asked += 1

    credentials = NotYet(FrozenClock())
    build_auth(tmp_path, credentials=credentials)
    assert credentials.asked == 0


# -- the revocation mark ---------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-23", "SECURITY-38")
def test_a_stores_own_mark_is_used(tmp_path: Path) -> None:
    """The SQLite store maps 16 bytes into memory; the wrapper keeps that advantage."""
    inner = SQLiteStateStore(tmp_path / "state.sqlite3")
    mark: RevocationMark = owned(inner).revocation_mark(secrets.token_bytes)
    assert type(mark) is type(inner.revocation_mark(secrets.token_bytes))
    other = owned(inner, owner="b" * 22).revocation_mark(secrets.token_bytes)
    before = mark.current()
    other.advance()
    assert mark.current() != before, "another app's revocation costs this one a read, never a revocation"
    inner.close()
