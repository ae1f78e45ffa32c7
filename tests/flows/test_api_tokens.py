"""API tokens: created, verified, listed and revoked; no stale caches."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import RevocationMark, StoredMark
from asok_auth_core.engine.tokens import MAX_TOKEN_BYTES
from asok_auth_core.errors import (
    ConfigurationError,
    PermissionDenied,
    SettingError,
    StoreUnavailable,
    TokenError,
    TokenExpired,
)
from asok_auth_core.flows.api_tokens import KIND, MAX_CACHED, MAX_PARENTS, RECHECK, ApiTokens
from asok_auth_core.startup import start
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.stores.mapped_mark import MappedMark
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.testing.fakes import FakeUser, FrozenClock, MemoryCredentialStore, MemoryUsers
from asok_auth_core.testing.parts import TestParts, build_auth
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.types import JSON, Authentication, Credential

USERS = (FakeUser("1", "ada@app.example"), FakeUser("2", "bob@app.example"))


class Counted(MemoryCredentialStore):
    """Counts what is asked of it and can be made to fail."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.finds = self.touches = 0
        self.fails: set[str] = set()

    def find(self, kind: str, identifier: str) -> Credential | None:
        self.finds += 1
        self._ask("find")
        return super().find(kind, identifier)

    def touch(self, credential: Credential, at: float) -> None:
        self.touches += 1
        self._ask("touch")
        super().touch(credential, at)

    def remove(self, credential: Credential) -> bool:
        self._ask("remove")
        return super().remove(credential)

    def _ask(self, what: str) -> None:
        if what in self.fails:
            raise StoreUnavailable("The store is down.")


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def parts(clock: FrozenClock) -> TestParts:
    return TestParts(clock)


@pytest.fixture
def auth(tmp_path: Path, clock: FrozenClock, parts: TestParts) -> Iterator[Auth]:
    made = build_auth(tmp_path, users=MemoryUsers(*USERS), clock=clock, parts=parts)
    made.credentials = Counted(clock)
    yield made
    made.outbox.close()
    made.state.close()


@pytest.fixture
def tokens(auth: Auth) -> ApiTokens:
    return ApiTokens(auth)


def store(tokens: ApiTokens) -> Counted:
    found = tokens._auth.credentials
    assert isinstance(found, Counted)
    return found


# -- making ----------------------------------------------------------------------------------------


def test_a_token_carries_its_user_and_scopes(tokens: ApiTokens, clock: FrozenClock) -> None:
    token, record = tokens.create(1, expires_in=60, scopes=["posts.view", "posts.view", "files.*"], name="ci")
    verified = tokens.verify(token)
    assert (verified.user_id, verified.id) == ("1", record.id)
    assert verified.scopes == ("posts.view", "files.*")
    assert verified.expires_at == clock.now + 60
    assert tokens.list(1) == [
        record.__class__(
            record.id,
            "1",
            "ci",
            ("posts.view", "files.*"),
            int(clock.now),
            int(clock.now) + 60,
            clock.now - clock.now % 60,
        )
    ]
    assert tokens.list("2") == []


def test_without_arguments_it_is_permanent_and_unlimited(tokens: ApiTokens, clock: FrozenClock) -> None:
    token, record = tokens.create("1")
    clock.advance(10**9)
    assert tokens.verify(token).scopes is None
    assert record.expires_at is None


def test_an_empty_scope_list_is_not_all_scopes(tokens: ApiTokens) -> None:
    token, _ = tokens.create(1, scopes=[])
    assert tokens.verify(token).scopes == ()
    assert tokens.list(1)[0].scopes == ()


@pytest.mark.requirement("SECURITY-30")
def test_the_store_holds_no_token(tokens: ApiTokens, auth: Auth, parts: TestParts) -> None:
    token, record = tokens.create(1, name="ci")
    (row,) = auth.credentials.list("1", KIND)
    said = repr(asdict(row)) + repr(parts.events) + repr(record)
    for part in token.split("."):
        assert part not in said
    assert token.rpartition(".")[2][:12] not in said


@pytest.mark.parametrize("expires_in", [0, -1, True, 0.5])
def test_an_invalid_lifetime_is_rejected(tokens: ApiTokens, expires_in: float) -> None:
    """In particular 0 is not "permanent", as it is in Asok."""
    with pytest.raises(ValueError, match="expires_in"):
        tokens.create(1, expires_in=expires_in)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scopes", ["posts.view", [""], ["a b"], ["a*"], [1], ["*.edit"], ["a"] + [f"s.{i}" for i in range(64)]]
)
def test_invalid_scopes_are_rejected(tokens: ApiTokens, scopes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"pattern|scopes"):
        tokens.create(1, scopes=scopes)


@pytest.mark.parametrize("length", [0, 101])
def test_a_name_that_no_list_could_show_is_rejected(tokens: ApiTokens, length: int) -> None:
    with pytest.raises(ValueError, match="1 to 100 characters"):
        tokens.create(1, name="n" * length)
    assert tokens.list(1) == []


def test_the_largest_scope_list_fits_into_a_token(tokens: ApiTokens) -> None:
    token, _ = tokens.create(1, scopes=[f"section{i:02}.permission" for i in range(64)])
    assert len(token) <= MAX_TOKEN_BYTES
    assert len(tokens.verify(token).scopes or ()) == 64


def test_a_token_without_a_user_is_rejected(tokens: ApiTokens) -> None:
    with pytest.raises(ValueError, match="no user"):
        tokens.create(99)


@pytest.mark.requirement("SECURITY-31")
def test_creating_and_revoking_emit_events(tokens: ApiTokens, parts: TestParts) -> None:
    token, record = tokens.create(1)
    tokens.revoke(token)
    assert [(e.name, e.user_id, e.detail["token"]) for e in parts.events if e.name.startswith("token.")] == [
        ("token.created", "1", record.id),
        ("token.revoked", "1", record.id),
    ]


# -- verifying again -------------------------------------------------------------------------------


def test_a_verified_token_needs_no_store_the_second_time(tokens: ApiTokens) -> None:
    token, _ = tokens.create(1)
    first = tokens.verify(token)
    finds = store(tokens).finds
    for _ in range(50):
        assert tokens.verify(token) is first
    assert store(tokens).finds == finds


@pytest.mark.requirement("SECURITY-7")
def test_a_cached_token_expires_on_time(tokens: ApiTokens, clock: FrozenClock) -> None:
    token, _ = tokens.create(1, expires_in=30)
    tokens.verify(token)
    clock.advance(29.9)
    tokens.verify(token)
    clock.advance(0.1)
    for _ in range(2):
        with pytest.raises(TokenExpired):
            tokens.verify(token)


@pytest.mark.requirement("SECURITY-29")
def test_a_cached_token_ends_with_its_key(tmp_path: Path, clock: FrozenClock) -> None:
    credentials, users = MemoryCredentialStore(clock), MemoryUsers(*USERS)
    made = [
        build_auth(
            tmp_path,
            config={"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": fallbacks},
            users=users,
            credentials=credentials,
            clock=clock,
        )
        for key, fallbacks in (("o" * 32, []), ("n" * 32, ["o" * 32]))
    ]
    old, new = (ApiTokens(auth) for auth in made)
    token, _ = old.create(1)
    assert new.verify(token).user_id == "1"
    assert new.verify(token).user_id == "1"
    new.codec.retire(new.codec.kids[1])
    with raises_code("token_malformed"):
        new.verify(token)
    for auth in made:
        auth.outbox.close()


def test_the_cache_of_verified_tokens_is_bounded(tokens: ApiTokens) -> None:
    made = [tokens.create(1)[0] for _ in range(50)]
    for token in made:
        tokens.verify(token)
    assert len(tokens._cache) == 50
    known = next(iter(tokens._cache.values()))
    tokens._cache.update({("database", str(number)): known for number in range(MAX_CACHED)})
    tokens.verify(tokens.create(1)[0])
    assert len(tokens._cache) <= MAX_CACHED


def test_invalid_tokens_are_not_cached(tokens: ApiTokens) -> None:
    for number in range(100):
        with pytest.raises(TokenError):
            tokens.verify(f"a.b.{number}")
    assert not tokens._cache


def test_last_used_is_written_once_a_minute(tokens: ApiTokens, clock: FrozenClock) -> None:
    token, _ = tokens.create(1)
    assert tokens.list(1)[0].last_used_at is None
    start = clock.now - clock.now % 60 + 60
    clock.now = start
    for _ in range(100):
        tokens.verify(token)
        clock.advance(1)
    assert store(tokens).touches == 2
    assert tokens.list(1)[0].last_used_at == start + 60


def test_a_failure_to_record_last_used_rejects_nothing(tokens: ApiTokens) -> None:
    token, _ = tokens.create(1)
    store(tokens).fails = {"touch"}
    assert tokens.verify(token).user_id == "1"


# -- revoking --------------------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-23")
def test_tokens_are_revoked_one_by_one_or_all_at_once(tokens: ApiTokens) -> None:
    made = [tokens.create(1)[0] for _ in range(3)]
    other, _ = tokens.create(2)
    for token in (*made, other):
        tokens.verify(token)
    assert tokens.revoke(made[0]) is True
    assert tokens.revoke(made[0]) is False
    with raises_code("token_revoked"):
        tokens.verify(made[0])
    assert tokens.verify(made[1]).user_id == "1"
    assert tokens.revoke_all(1) == 2
    for token in made:
        with raises_code("token_revoked"):
            tokens.verify(token)
    assert tokens.verify(other).user_id == "2"


@pytest.mark.requirement("SECURITY-23")
def test_a_token_another_worker_revoked_first_is_counted_once(
    tokens: ApiTokens, auth: Auth, parts: TestParts
) -> None:
    for _ in range(2):
        tokens.create(1)
    listed = auth.credentials.list

    def late(user_id: str, kind: str | None = None) -> Sequence[Credential]:
        found = listed(user_id, kind)
        auth.credentials.remove(found[0])
        return found

    auth.credentials.list = late  # type: ignore[method-assign]
    assert tokens.revoke_all(1) == 1
    assert [event.name for event in parts.events].count("token.revoked") == 1


@pytest.mark.requirement("SECURITY-32")
@pytest.mark.parametrize(
    "data",
    [
        "text",
        [],
        {},
        {"name": "ci", "scopes": 7, "iat": 1, "exp": None},
        {"name": "ci", "scopes": None, "iat": 1, "exp": "soon"},
        {"name": "ci", "scopes": None, "iat": 1, "exp": None, "parents": None},
    ],
    ids=["text", "list", "empty", "scopes", "expiry", "parents"],
)
def test_a_damaged_record_is_reported_and_does_not_hide_the_others(
    tokens: ApiTokens, auth: Auth, parts: TestParts, caplog: pytest.LogCaptureFixture, data: JSON
) -> None:
    """The list reports it, and what it says about its token counts for nothing."""
    first = tokens.create(1, name="first")[1]
    token, damaged = tokens.create(1, name="ci")
    last = tokens.create(1, name="last")[1]
    row = auth.credentials.find(KIND, damaged.id)
    assert row is not None
    auth.credentials.replace(row, data)
    assert [one.id for one in tokens.list(1)] == [first.id, last.id]
    assert damaged.id in caplog.text
    [event] = [event for event in parts.events if event.name == "token.damaged"]
    assert (event.user_id, event.detail) == ("1", {"token": damaged.id})
    with raises_code("token_malformed", match="record of an API token"):
        tokens.verify(token)
    assert tokens.revoke_id(1, damaged.id) is True
    assert tokens.revoke_all(1) == 2
    assert tokens.list(1) == []
    with raises_code("token_revoked"):
        tokens.verify(token)


# -- making one with another --------------------------------------------------------------------------


def proof_of(tokens: ApiTokens, token: str, user: FakeUser = USERS[0]) -> Authentication:
    """What the login method returns for a request with ``token``."""
    verified = tokens.verify(token)
    return Authentication(
        user, verified.scopes, ambient=False, expires_at=verified.expires_at, token_id=verified.id
    )


@pytest.mark.requirement("SECURITY-43")
def test_a_token_made_with_a_token_inherits_its_scopes_and_expiry(
    tokens: ApiTokens, clock: FrozenClock
) -> None:
    parent, _ = tokens.create(1, expires_in=60, scopes=["posts.*"])
    proof = proof_of(tokens, parent)
    clock.advance(20.5)
    child, record = tokens.create(1, made_with=proof)
    assert (record.scopes, record.expires_at) == (("posts.*",), proof.expires_at)
    clock.advance(39)
    assert tokens.verify(child).scopes == ("posts.*",)
    clock.advance(1)
    for token in (parent, child):
        with pytest.raises(TokenExpired):
            tokens.verify(token)


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize(
    ("user_id", "expires_in", "scopes"),
    [
        ("1", 61, ["posts.view"]),
        ("1", 10**9, ["posts.view"]),
        ("1", 30, ["posts.view", "users.view"]),
        ("1", 30, ["*"]),
        ("1", 30, ["posts.edit.*"]),
        ("2", 30, ["posts.view"]),
        ("2", None, None),
        (2, None, []),
    ],
)
def test_a_token_cannot_make_one_that_may_do_more_or_lives_longer(
    tokens: ApiTokens, auth: Auth, user_id: int | str, expires_in: int | None, scopes: list[str] | None
) -> None:
    proof = proof_of(tokens, tokens.create(1, expires_in=60, scopes=["posts.view", "posts.edit"])[0])
    with pytest.raises(PermissionDenied):
        tokens.create(user_id, expires_in, scopes, made_with=proof)
    assert len(tokens.list(1)) == 1
    assert tokens.list(2) == []


@pytest.mark.requirement("SECURITY-43")
def test_a_token_without_scopes_and_expiry_still_makes_tokens_of_its_own_user_only(tokens: ApiTokens) -> None:
    proof = proof_of(tokens, tokens.create(1)[0])
    assert tokens.create(1, made_with=proof)[1].expires_at is None
    with pytest.raises(PermissionDenied):
        tokens.create(2, made_with=proof)


@pytest.mark.requirement("SECURITY-43", "SECURITY-23")
@pytest.mark.parametrize("revoked", [0, 1, 2])
def test_a_token_is_void_when_one_it_descends_from_is_revoked(
    auth: Auth, tokens: ApiTokens, revoked: int
) -> None:
    """At once, in every worker, whatever it has remembered."""
    line = [tokens.create(1, name="0")]
    for name in ("1", "2", "3"):
        line.append(tokens.create(1, name=name, made_with=proof_of(tokens, line[-1][0])))
    other = ApiTokens(auth)
    for token, _ in line:
        assert tokens.verify(token) == other.verify(token)
    tokens.revoke(line[revoked][0])
    for number, (token, _) in enumerate(line):
        for worker in (tokens, other):
            if number < revoked:
                assert worker.verify(token).user_id == "1"
            else:
                with raises_code("token_revoked"):
                    worker.verify(token)
    assert [one.name for one in tokens.list(1)] == [str(number) for number in range(revoked)]
    assert len(auth.credentials.list("1", KIND)) == revoked, "void tokens are removed"


@pytest.mark.requirement("SECURITY-43")
def test_a_token_is_void_when_its_parents_record_is_gone(
    tokens: ApiTokens, auth: Auth, clock: FrozenClock
) -> None:
    parent, record = tokens.create(1)
    child, _ = tokens.create(1, made_with=proof_of(tokens, parent))
    assert tokens.verify(child).user_id == "1"
    row = auth.credentials.find(KIND, record.id)
    assert row is not None
    auth.credentials.remove(row)
    clock.advance(RECHECK)
    with raises_code("token_revoked"):
        tokens.verify(child)


@pytest.mark.requirement("SECURITY-43")
def test_a_token_revoked_while_it_makes_another_makes_none(tokens: ApiTokens) -> None:
    parent, _ = tokens.create(1)
    proof = proof_of(tokens, parent)
    tokens.revoke(parent)
    with raises_code("token_revoked"):
        tokens.create(1, made_with=proof)
    assert tokens.list(1) == []


@pytest.mark.requirement("SECURITY-43")
def test_a_token_of_a_plugin_that_cannot_be_followed_makes_none(tokens: ApiTokens) -> None:
    """A revocation could not be followed. A proof of a browser is like a login."""
    with pytest.raises(PermissionDenied):
        tokens.create(1, made_with=Authentication(USERS[0], ambient=False))
    assert tokens.create(1, made_with=Authentication(USERS[0]))[1].scopes is None
    with pytest.raises(PermissionDenied):
        tokens.create(2, made_with=Authentication(USERS[0]))
    with pytest.raises(ValueError, match="pattern"):
        tokens.create(1, made_with=Authentication(USERS[0], scopes=("posts.view *",)))


def test_the_line_of_parents_has_a_limit(tokens: ApiTokens) -> None:
    token, _ = tokens.create(1)
    for _ in range(MAX_PARENTS):
        token, _ = tokens.create(1, made_with=proof_of(tokens, token))
    with pytest.raises(PermissionDenied):
        tokens.create(1, made_with=proof_of(tokens, token))


def test_parents_cost_nothing_once_a_token_is_remembered(tokens: ApiTokens) -> None:
    token, _ = tokens.create(1)
    child, _ = tokens.create(1, made_with=proof_of(tokens, token))
    tokens.verify(child)
    before = store(tokens).finds
    for _ in range(5):
        tokens.verify(child)
    assert store(tokens).finds == before


def test_only_its_owners_id_revokes_a_token(tokens: ApiTokens) -> None:
    token, record = tokens.create(1)
    assert tokens.revoke_id(2, record.id) is False
    assert tokens.verify(token).user_id == "1"
    assert tokens.revoke_id(1, record.id) is True


def test_a_record_of_another_user_does_not_validate_a_token(tokens: ApiTokens, auth: Auth) -> None:
    token, record = tokens.create(1)
    (row,) = auth.credentials.list("1", KIND)
    auth.credentials.remove(row)
    auth.credentials.add("2", KIND, record.id, json.loads(row.data))
    with raises_code("token_revoked"):
        tokens.verify(token)


def test_an_expired_token_leaves_the_list_and_the_store(
    tokens: ApiTokens, auth: Auth, clock: FrozenClock
) -> None:
    token, _ = tokens.create(1, expires_in=5)
    clock.advance(5)
    assert tokens.revoke(token) is False
    assert tokens.list(1) == []
    assert auth.credentials.list("1", KIND) == []


@pytest.mark.requirement("SECURITY-32")
def test_a_revocation_that_cannot_be_announced_is_an_error_and_the_token_is_rejected(
    tokens: ApiTokens,
) -> None:
    token, _ = tokens.create(1)
    tokens.verify(token)

    class Down(RevocationMark):
        def current(self) -> bytes:
            raise StoreUnavailable("The store is down.")

        def advance(self) -> None:
            raise StoreUnavailable("The store is down.")

    up, tokens._mark = tokens._mark, Down()
    with pytest.raises(StoreUnavailable):
        tokens.revoke(token)
    with pytest.raises(StoreUnavailable):
        tokens.verify(token)
    tokens._mark = up
    assert tokens.verify(token).user_id == "1"


def test_a_record_deleted_outside_the_app_counts_within_a_minute(
    tokens: ApiTokens, auth: Auth, clock: FrozenClock
) -> None:
    """Deleted by hand in the database, say."""
    token, _ = tokens.create(1)
    tokens.verify(token)
    auth.credentials.remove(auth.credentials.list("1", KIND)[0])
    clock.advance(RECHECK)
    with raises_code("token_revoked"):
        tokens.verify(token)


# -- stateless -------------------------------------------------------------------------------------


@pytest.fixture
def stateless(tmp_path: Path, clock: FrozenClock) -> Iterator[ApiTokens]:
    made = build_auth(
        tmp_path, users=MemoryUsers(*USERS), clock=clock, settings={"TOKEN_REVOCATION": "stateless"}
    )
    made.credentials = Counted(clock)
    yield ApiTokens(made)
    made.outbox.close()
    made.state.close()


def test_stateless_tokens_need_no_store_and_a_warning_says_so(
    stateless: ApiTokens, caplog: pytest.LogCaptureFixture
) -> None:
    token, record = stateless.create(1)
    assert "cannot be revoked" in caplog.text
    store(stateless).fails = {"find", "touch", "remove"}
    assert stateless.verify(token).id == record.id
    assert store(stateless).finds == 1, "the id of the database, once"


def test_stateless_tokens_cannot_be_revoked(stateless: ApiTokens) -> None:
    token, record = stateless.create(1, expires_in=60)
    for call in (
        lambda: stateless.revoke(token),
        lambda: stateless.revoke_id(1, record.id),
        lambda: stateless.revoke_all(1),
    ):
        with pytest.raises(ConfigurationError, match="stateless"):
            call()
    assert stateless.verify(token).id == record.id


# -- signers ---------------------------------------------------------------------------------------


def test_the_chosen_signer_signs_and_the_others_still_verify(tmp_path: Path, clock: FrozenClock) -> None:
    before = build_auth(tmp_path, users=MemoryUsers(*USERS), clock=clock)
    after = build_auth(tmp_path, users=MemoryUsers(*USERS), clock=clock, settings={"SIGNER": "EdDSA"})
    after.credentials = before.credentials
    old, _ = ApiTokens(before).create(1)
    new, _ = ApiTokens(after).create(1)
    assert ApiTokens(before).codec.public_jwks() == []
    assert [key["alg"] for key in ApiTokens(after).codec.public_jwks()] == ["EdDSA", "ES256"]
    for token in (old, new):
        assert ApiTokens(after).verify(token).user_id == "1"
    for auth in (before, after):
        auth.outbox.close()


def test_a_missing_signer_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"SIGNER.*RS256"):
        build_auth(tmp_path, settings={"SIGNER": "RS256"})


# -- several workers -------------------------------------------------------------------------------


class Engine:
    """SQLite as Asok's engines are used."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
        self.connection.row_factory = sqlite3.Row

    def execute(self, sql: str, args: tuple[object, ...]) -> Sequence[Mapping[str, object]] | int:
        cursor = self.connection.execute(sql, args)
        return cursor.rowcount if cursor.description is None else [dict(row) for row in cursor.fetchall()]

    def quote_identifier(self, name: str) -> str:
        return f'"{name}"'


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("the_test", sys.argv[3])
the_test = importlib.util.module_from_spec(spec)
sys.modules["the_test"] = the_test
spec.loader.exec_module(the_test)
the_test.serve(Path(sys.argv[1]))
"""


def worker_auth(root: Path) -> tuple[Auth, Engine]:
    engine = Engine(root / "app.sqlite3")
    auth = start(
        {
            "SECRET_KEY": "k" * 32,
            "MAIL_FROM": "a@app.example",
            "AUTH": {"STATE_STORE": "sqlite:///state.sqlite3", "MAIL_TRANSPORT": "file"},
        },
        {},
        root=root,
        users=MemoryUsers(*USERS),
        credentials=lambda clock, random: SqlCredentialStore(engine, clock, random),
        entry_points=(),
    )
    return auth, engine


def serve(root: Path) -> None:
    """A worker: one command a line."""
    auth, engine = worker_auth(root)
    tokens = ApiTokens(auth)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        try:
            if command == "create":
                answer = tokens.create(argument)[0]
            elif command == "verify":
                answer = tokens.verify(argument).user_id
            elif command == "revoke":
                answer = str(tokens.revoke(argument))
            else:
                answer = str(tokens.revoke_all(argument))
        except TokenError as error:
            answer = error.code
        print(answer, flush=True)
    auth.outbox.close()
    auth.state.close()
    engine.connection.close()


class Worker:
    def __init__(self, root: Path) -> None:
        here = Path(__file__)
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root), str(here.parent), str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0


@pytest.mark.requirement("SECURITY-23")
@pytest.mark.parametrize("turns", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_revocation_reaches_every_worker_on_its_next_request(tmp_path: Path, turns: int) -> None:
    workers = [Worker(tmp_path) for _ in range(2)]
    try:
        for turn in range(turns):
            one, other = workers if turn % 2 else reversed(workers)
            token = one("create 1")
            assert [one(f"verify {token}"), other(f"verify {token}"), other(f"verify {token}")] == ["1"] * 3
            assert one(f"revoke {token}" if turn % 3 else "revoke_all 1") in ("True", "1")
            assert [other(f"verify {token}"), one(f"verify {token}")] == ["token_revoked"] * 2
    finally:
        for worker in workers:
            worker.close()


@pytest.mark.parametrize("kind", ["mapped", "stored"])
def test_revocation_marks_are_shared_and_change(tmp_path: Path, auth: Auth, kind: str) -> None:
    def make() -> RevocationMark:
        if kind == "mapped":
            return MappedMark(tmp_path / "deep" / "mark", auth.random)
        return StoredMark(auth.state, auth.random)

    one, other = make(), make()
    seen = {one.current()}
    for _ in range(100):
        assert one.current() == other.current()
        one.advance()
        other.advance()
        seen.add(other.current())
    assert len(seen) == 101


def test_a_lost_mark_is_replaced_by_another(auth: Auth, clock: FrozenClock) -> None:
    mark = StoredMark(auth.state, auth.random)
    before = mark.current()
    clock.advance(10**8)
    assert mark.current() != before


class Forgetful(MemoryStateStore):
    """Says that it keeps what it is given."""

    def get(self, key: str) -> bytes | None:
        return None


@pytest.mark.requirement("SECURITY-32")
def test_a_store_that_keeps_no_mark_verifies_no_token(
    tokens: ApiTokens, auth: Auth, clock: FrozenClock
) -> None:
    token, _ = tokens.create(1)
    auth.state.close()
    auth.state = Forgetful(clock=clock)
    with pytest.raises(StoreUnavailable, match="does not keep its values"):
        ApiTokens(auth).verify(token)


def test_threads_that_open_a_mapped_mark_at_once_share_it(tmp_path: Path, auth: Auth) -> None:
    mark = MappedMark(tmp_path / "mark", auth.random)
    barrier = threading.Barrier(8)

    def change() -> None:
        barrier.wait()
        mark.current()
        mark.advance()

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other = MappedMark(tmp_path / "mark", auth.random)
    assert mark.current() == other.current() != bytes(16)
    mark.advance()
    assert mark.current() == other.current()


def test_a_mark_that_cannot_be_kept_is_a_store_error(tmp_path: Path, auth: Auth) -> None:
    (tmp_path / "file").write_text("")
    mark = MappedMark(tmp_path / "file" / "mark", auth.random)
    for call in (mark.current, mark.advance):
        with pytest.raises(StoreUnavailable, match="revocation"):
            call()


def test_threads_never_accept_a_token_after_its_revocation(tokens: ApiTokens) -> None:
    """A token that revoke() said is revoked is never accepted after that."""
    answers: list[str] = []

    def live() -> None:
        for _ in range(100):
            token, _ = tokens.create(1)
            tokens.verify(token)
            tokens.revoke(token)
            try:
                tokens.verify(token)
            except TokenError as error:
                answers.append(error.code)
            else:
                answers.append("accepted")

    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["token_revoked"] * 400


def test_the_cost_does_not_grow_with_revoked_tokens(tokens: ApiTokens, auth: Auth) -> None:
    """Nothing is kept of a revoked token."""
    for _ in range(300):
        tokens.revoke(tokens.create(1)[0])
    assert auth.credentials.list("1", KIND) == []
    token, _ = tokens.create(1)
    tokens.verify(token)
    finds = store(tokens).finds
    tokens.verify(token)
    assert store(tokens).finds == finds
