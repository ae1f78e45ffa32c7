"""Removals and replacements survive a rollback, on every database."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY, close_all_db_connections, tenant_context
from asok.orm.tenant import clear_tenant_databases, register_tenant_database

from asok_auth_core.adapters.asok.credentials import AsokCredentialStore
from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.auth import Auth
from asok_auth_core.errors import OAuthError, StoreUnavailable, TokenError
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.epoch import epoch, raise_epoch
from asok_auth_core.flows.linking import linked, unlink
from asok_auth_core.flows.sessions import KIND as SESSION
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.waiting import wait_until
from asok_auth_core.types import Installation

from .apps import emptied, in_thread

pytestmark = pytest.mark.requirement("SECURITY-37")

T = TypeVar("T")


class RolledBack(Exception):
    pass


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asok]:
    """An app with user 1, on a new database."""
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    with emptied(url), asok_app(tmp_path, database=url) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.com")
        yield app


@pytest.fixture
def auth(app: Asok) -> Auth:
    return app.extensions["AuthExtension"].auth


@pytest.fixture
def tokens(auth: Auth) -> ApiTokens:
    return ApiTokens(auth)


def in_transaction(work: Callable[[], T], *, ends: str) -> T:
    """The result of ``work`` in a transaction that ends with a commit or a rollback."""
    found: list[T] = []
    with suppress(RolledBack), MODELS_REGISTRY["User"].transaction():
        found.append(work())
        if ends == "rollback":
            raise RolledBack
    return found[0]


def accepted(tokens: ApiTokens, token: str) -> bool:
    try:
        return bool(tokens.verify(token))
    except TokenError:
        return False


ENDS = pytest.mark.parametrize("ends", ["commit", "rollback"])


@pytest.mark.requirement("SECURITY-23")
class TestARevokedToken:
    @ENDS
    def test_stays_revoked(self, auth: Auth, tokens: ApiTokens, ends: str) -> None:
        worker = ApiTokens(auth)
        token, _ = tokens.create(1)
        assert accepted(worker, token)
        assert in_transaction(lambda: tokens.revoke(token), ends=ends) is True
        assert not accepted(tokens, token)
        assert not accepted(worker, token), "another worker, which had remembered it"
        assert tokens.revoke(token) is False

    @ENDS
    def test_stays_revoked_if_another_worker_reads_it_in_between(
        self, app: Asok, auth: Auth, tokens: ApiTokens, ends: str
    ) -> None:
        """A server makes the change at once; SQLite after the transaction."""
        worker = ApiTokens(auth)
        token, _ = tokens.create(1)
        assert accepted(worker, token)
        seen: list[bool] = []

        def work() -> None:
            assert MODELS_REGISTRY["User"].find(id=1) is not None
            assert tokens.revoke(token)
            seen.append(in_thread(lambda: accepted(worker, token)))
            MODELS_REGISTRY["User"].create(email="later@example.com")  # the app's work goes on

        in_transaction(work, ends=ends)
        is_sqlite = hasattr(MODELS_REGISTRY["User"].get_engine(), "db_path")
        assert seen == [is_sqlite]
        assert not accepted(worker, token)
        assert (MODELS_REGISTRY["User"].find(email="later@example.com") is not None) is (ends == "commit")

    @ENDS
    def test_stays_revoked_if_it_was_used_in_the_same_transaction(self, tokens: ApiTokens, ends: str) -> None:
        """Its row is locked by the very transaction that the removal must not depend on."""
        token, _ = tokens.create(1)

        def work() -> None:
            assert accepted(tokens, token)  # writes when it was used last
            assert tokens.revoke(token)

        in_transaction(work, ends=ends)
        assert not accepted(tokens, token)
        assert tokens.list(1) == []

    @ENDS
    def test_is_gone_if_it_was_made_in_the_same_transaction(self, tokens: ApiTokens, ends: str) -> None:
        def work() -> str:
            token, _ = tokens.create(1)
            assert tokens.revoke(token) is True
            assert tokens.revoke(token) is False
            return token

        token = in_transaction(work, ends=ends)
        assert not accepted(tokens, token)
        assert tokens.list(1) == []

    def test_stays_revoked_if_only_a_savepoint_is_rolled_back(self, tokens: ApiTokens) -> None:
        token, _ = tokens.create(1)
        with MODELS_REGISTRY["User"].transaction():
            assert in_transaction(lambda: tokens.revoke(token), ends="rollback")
            MODELS_REGISTRY["User"].create(email="kept@example.com")
        assert not accepted(tokens, token)
        assert MODELS_REGISTRY["User"].find(email="kept@example.com") is not None

    def test_all_of_a_user_stay_revoked(self, tokens: ApiTokens) -> None:
        made = [tokens.create(1)[0] for _ in range(5)]
        assert in_transaction(lambda: tokens.revoke_all(1), ends="rollback") == 5
        assert [accepted(tokens, token) for token in made] == [False] * 5


class TestWhatIsReplaced:
    @ENDS
    @pytest.mark.parametrize("before", [0, 1, 2])
    def test_logins_that_were_voided_stay_void(self, auth: Auth, ends: str, before: int) -> None:
        for _ in range(before):
            raise_epoch(auth, "1")
        raised = in_transaction(lambda: raise_epoch(auth, "1"), ends=ends)
        assert raised == epoch(auth, "1") == before + 1

    @ENDS
    def test_the_last_login_method_stays_linked(self, auth: Auth, ends: str) -> None:
        """Unlinking removes it, sees that nothing is left, and adds it again."""
        auth.login_methods.pop("magic", None)
        user = auth.users.by_id("1")
        assert user is not None
        made = auth.credentials.add("1", "identity", "issuer subject", {"provider": "google"})

        def work() -> None:
            with pytest.raises(OAuthError, match="only login method"):
                unlink(auth, user, made.id)

        in_transaction(work, ends=ends)
        assert [one.provider for one in linked(auth, user)] == ["google"]

    @ENDS
    def test_an_ended_session_stays_ended(self, auth: Auth, ends: str) -> None:
        user = auth.users.by_id("1")
        assert user is not None
        auth.credentials.add("1", SESSION, "handle", {})
        assert in_transaction(lambda: end_sessions(auth, user), ends=ends) == 1
        assert auth.credentials.find(SESSION, "handle") is None

    @ENDS
    @pytest.mark.requirement("SECURITY-1", "SECURITY-20")
    def test_a_used_code_stays_used(self, auth: Auth, ends: str) -> None:
        """An authenticator's step and a recovery code are consumed by a replacement."""
        row = auth.credentials.add("1", "totp", "1", {"step": 1})
        assert in_transaction(lambda: auth.credentials.replace(row, {"step": 2}), ends=ends) is not None
        assert auth.credentials.replace(row, {"step": 2}) is None
        found = auth.credentials.find("totp", "1")
        assert found is not None
        assert (found.version, found.data) == (2, '{"step":2}')

    @ENDS
    def test_what_was_replaced_before_is_not_replaced_again(self, auth: Auth, ends: str) -> None:
        row = auth.credentials.add("1", "totp", "1", 1)
        assert auth.credentials.replace(row, 2) is not None
        assert in_transaction(lambda: auth.credentials.replace(row, 3), ends=ends) is None
        found = auth.credentials.find("totp", "1")
        assert found is not None
        assert found.data == "2"

    def test_what_is_added_shares_the_fate_of_the_transaction(self, auth: Auth) -> None:
        """A credential of a user who was never stored must not go to the next id."""
        in_transaction(lambda: auth.credentials.add("2", "kind", "2", 1), ends="rollback")
        assert auth.credentials.find("kind", "2") is None


@pytest.mark.parametrize("app", ["sqlite", "postgres"], indirect=True)  # Asok's delete() fails on MySQL
class TestADeletedUser:
    @ENDS
    def test_loses_its_second_factor_only_if_it_stays_deleted(self, auth: Auth, ends: str) -> None:
        auth.credentials.add("1", "totp", "1", {})
        user = MODELS_REGISTRY["User"].find(id=1)
        in_transaction(user.delete, ends=ends)
        assert (MODELS_REGISTRY["User"].find(id=1) is None) is (ends == "commit")
        assert len(auth.credentials.list("1", "totp")) == (0 if ends == "commit" else 1)

    @ENDS
    def test_keeps_no_login_method_that_was_linked_again(self, auth: Auth, ends: str) -> None:
        """The last one is linked again after the transaction, if its user exists."""
        auth.login_methods.pop("magic", None)
        user = MODELS_REGISTRY["User"].find(id=1)
        made = auth.credentials.add("1", "identity", "issuer subject", {"provider": "google"})

        def work() -> None:
            with pytest.raises(OAuthError, match="only login method"):
                unlink(auth, user, made.id)
            user.delete()

        in_transaction(work, ends=ends)
        assert len(auth.credentials.list("1", "identity")) == (0 if ends == "commit" else 1)


class TestTheInstallation:
    @ENDS
    def test_an_id_that_was_rolled_back_is_not_remembered(self, app: Asok, auth: Auth, ends: str) -> None:
        """The first use of a database may be in a transaction that is rolled back."""
        MODELS_REGISTRY["User"].get_engine().execute("DROP TABLE IF EXISTS auth_credentials")
        store, other = (AsokCredentialStore(AsokUsers(app), time.time, secrets.token_bytes) for _ in range(2))

        def installation(store: AsokCredentialStore) -> Installation:
            return store.installation(auth.users, secrets.token_bytes)

        first = in_transaction(lambda: installation(store), ends=ends)
        kept = installation(store)
        assert installation(store) == installation(other) == kept
        assert (kept == first) or ends == "rollback"


class TestTheConnections:
    @pytest.mark.parametrize("app", ["postgres"], indirect=True)
    def test_none_is_left_open(self, tokens: ApiTokens) -> None:
        engine = MODELS_REGISTRY["User"].get_engine()

        def connections() -> int:
            (row,) = engine.execute(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = ?", ("client backend",)
            )
            return int(row["n"])

        made = [tokens.create(1)[0] for _ in range(4)]
        before = connections()
        for token in made:
            in_transaction(lambda token=token: tokens.revoke(token), ends="rollback")
        # PostgreSQL counts a closed connection for a moment longer.
        wait_until(lambda: connections() <= before, "the end of the connections")

    def test_a_change_without_a_transaction_uses_the_usual_one(
        self, tokens: ApiTokens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = MODELS_REGISTRY["User"].get_engine()
        token, _ = tokens.create(1)
        made: list[object] = []
        monkeypatch.setattr(type(engine), "__init__", lambda self, url: made.append(url))
        assert tokens.revoke(token)
        assert made == []


class TestRepeating:
    def test_every_action_is_repeated_even_if_one_fails(self, auth: Auth) -> None:
        done: list[str] = []

        def fail() -> None:
            raise StoreUnavailable("The store is down.")

        def work() -> None:
            for action in (lambda: done.append("first"), fail, lambda: done.append("last")):
                auth.credentials.repeat_after_transaction(action)
            assert done == []

        with pytest.raises(StoreUnavailable, match="down"):
            in_transaction(work, ends="commit")
        assert done == ["first", "last"]
        with MODELS_REGISTRY["User"].transaction():
            pass
        assert done == ["first", "last"], "once"

    def test_nothing_is_repeated_without_a_transaction(self, auth: Auth) -> None:
        auth.credentials.repeat_after_transaction(lambda: pytest.fail("was called"))


class TestOnSQLite:
    def test_a_database_in_memory(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, database="sqlite://:memory:") as app:
            tokens = ApiTokens(app.extensions["AuthExtension"].auth)
            MODELS_REGISTRY["User"].create(email="ada@example.com")
            token, _ = tokens.create(1)
            in_transaction(lambda: tokens.revoke(token), ends="rollback")
            assert not accepted(tokens, token)

    def test_the_transaction_of_another_tenant_has_no_part(self, tmp_path: Path) -> None:
        """It has another database: nothing is repeated, the change is made at once."""
        with asok_app(tmp_path) as app:
            tokens = ApiTokens(app.extensions["AuthExtension"].auth)
            try:
                register_tenant_database("b", f"sqlite://{tmp_path / 'b.db'}")
                with tenant_context("b"):
                    MODELS_REGISTRY["User"].create_table()
                    MODELS_REGISTRY["User"].create(email="ada@example.com")
                    token, _ = tokens.create(1)

                def revoke() -> None:
                    with tenant_context("b"):
                        assert tokens.revoke(token)
                        assert in_thread(lambda: list_in_b()) == []

                def list_in_b() -> list[object]:
                    with tenant_context("b"):
                        return list(tokens.list(1))

                in_transaction(revoke, ends="rollback")
            finally:
                close_all_db_connections()
                clear_tenant_databases()
