"""State and credentials belong to one database: two apps, two tenants."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY, close_all_db_connections, router, tenant_context
from asok.orm.tenant import clear_tenant_databases, register_tenant_database

from asok_auth_core.auth import Auth
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.stores import credentials as credentials_module
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.raises import raises_code

pytestmark = pytest.mark.requirement("SECURITY-38")


def auth_of(app: Asok) -> Auth:
    return app.extensions["AuthExtension"].auth


def tables(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


@contextmanager
def tenants(root: Path, *names: str, auth: Mapping[str, object] | None = None) -> Iterator[Asok]:
    """An app with its own database and one for each tenant, each with a user 1."""
    with asok_app(root, auth=auth) as app:
        try:
            for name in names:
                register_tenant_database(name, f"sqlite://{root / name}.db")
                with tenant_context(name):
                    MODELS_REGISTRY["User"].create_table()
                    MODELS_REGISTRY["User"].create(email=f"user@{name}.example")
            yield app
        finally:
            close_all_db_connections()
            clear_tenant_databases()


class TestTheInstallation:
    def test_is_made_at_start_up_and_kept(self, tmp_path: Path) -> None:
        made = []
        for _ in range(2):
            with asok_app(tmp_path) as app:
                made.append(auth_of(app).installation())
                rows = (
                    MODELS_REGISTRY["User"]
                    .get_engine()
                    .execute("SELECT identifier FROM auth_credentials WHERE kind = 'installation'", ())
                )
                assert [row["identifier"] for row in rows] == ["installation"]
        assert made[0] == made[1]
        assert made[0].highest_user_id == 0

    def test_records_the_highest_user_id_of_a_database_that_has_users(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False):
            for number in range(3):
                MODELS_REGISTRY["User"].create(email=f"{number}@example.com")
        with asok_app(tmp_path) as app:
            assert auth_of(app).installation().highest_user_id == 3
            MODELS_REGISTRY["User"].create(email="new@example.com")
        with asok_app(tmp_path) as app:
            assert auth_of(app).installation().highest_user_id == 3

    def test_a_database_without_a_user_table_has_no_users(self, tmp_path: Path) -> None:
        """The app starts before ``asok migrate``."""
        with asok_app(tmp_path) as app:
            MODELS_REGISTRY["User"].get_engine().execute("DROP TABLE users", ())
            assert auth_of(app).users.highest_id() == 0

    def test_each_tenant_has_its_own(self, tmp_path: Path) -> None:
        with tenants(tmp_path, "a", "b") as app:
            found = [auth_of(app).installation()]
            for name in "ab":
                with tenant_context(name):
                    found += [auth_of(app).installation(), auth_of(app).installation()]
            assert len({one.id for one in found}) == 3
            assert [one.highest_user_id for one in found] == [0, 1, 1, 1, 1]

    def test_a_context_for_reading_from_replicas_does_not_change_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with asok_app(tmp_path) as app:
            monkeypatch.setitem(router.DATABASES, "default", str(MODELS_REGISTRY["User"]._db_path))
            monkeypatch.setattr(router, "REPLICAS", [f"sqlite://{tmp_path / 'replica.db'}"])
            here = auth_of(app).installation()
            with router.database_router_context(op="read"):
                assert auth_of(app).installation() == here
            assert not (tmp_path / "replica.db").exists()


class TestTwoTenants:
    def test_the_credential_table_is_made_in_each_database(self, tmp_path: Path) -> None:
        with tenants(tmp_path, "a", "b") as app:
            for name in "ab":
                with tenant_context(name):
                    auth_of(app).credentials.add("1", "kind", "same identifier", name)
                assert "auth_credentials" in tables(tmp_path / f"{name}.db")
            for name in "ab":
                with tenant_context(name):
                    (row,) = auth_of(app).credentials.list("1")
                    assert row.data == f'"{name}"'
            assert list(auth_of(app).credentials.list("1")) == []

    def test_state_budgets_and_locks_are_each_tenants_own(self, tmp_path: Path) -> None:
        with tenants(tmp_path, "a", "b") as app:
            state = auth_of(app).state
            for name in "ab":
                with tenant_context(name):
                    assert state.get("pending:handle") is None
                    state.put("pending:handle", name.encode(), 60)
                    assert state.incr("limit", 60) == 1
                    assert state.add("lock", b"1", 60)
            assert state.take("pending:handle") is None
            for name in "ab":
                with tenant_context(name):
                    assert state.take("pending:handle") == name.encode()


@pytest.mark.parametrize("same_secret", [True, False], ids=["staging and production", "two apps"])
def test_two_apps_on_one_store_share_nothing(tmp_path: Path, same_secret: bool) -> None:
    url = f"sqlite:///{tmp_path / 'state.sqlite3'}"
    kept: list[bytes | None] = []
    for number in range(2):
        secret = {} if same_secret else {"SECRET_KEY": secrets.token_hex(32)}
        with asok_app(tmp_path / str(number), auth={"STATE_STORE": url}, environ=secret) as app:
            state = auth_of(app).state
            kept.append(state.get("pending:handle"))
            state.put("pending:handle", b"a pending login of user 1", 60)
            assert state.incr("limit", 60) == 1
    assert kept == [None, None]


class TestTheSchema:
    UPGRADE = ("CREATE TABLE IF NOT EXISTS auth_upgraded (x TEXT)",)

    def test_upgrades_itself_once_and_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with asok_app(tmp_path) as app:
            made = auth_of(app).credentials.add("1", "kind", "identifier", 1)
        monkeypatch.setattr(credentials_module, "UPGRADES", (self.UPGRADE,))
        for starts in range(2):
            caplog.clear()
            with caplog.at_level(logging.INFO, "asok_auth"), asok_app(tmp_path) as app:
                assert auth_of(app).credentials.find("kind", "identifier") == made
                assert ("upgraded to schema version 2" in caplog.text) is (starts == 0)
        assert "auth_upgraded" in tables(tmp_path / "db.sqlite3")

    def test_each_tenants_database_is_upgraded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(credentials_module, "UPGRADES", (self.UPGRADE,))
        with tenants(tmp_path, "a", "b") as app:
            for name in "ab":
                with tenant_context(name):
                    auth_of(app).credentials.find("kind", "identifier")
                assert "auth_upgraded" in tables(tmp_path / f"{name}.db")

    def test_a_newer_schema_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as newer:
            newer.setattr(credentials_module, "UPGRADES", (self.UPGRADE,))
            with asok_app(tmp_path):
                pass
        with ExitStack() as stack:
            app = stack.enter_context(asok_app(tmp_path))
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="version 2; this asok-auth-core knows up to 1"):
                    auth_of(app).credentials.find("kind", "identifier")


class TestTokens:
    @pytest.mark.requirement("SECURITY-23")
    @pytest.mark.parametrize("revocation", ["checked", "stateless"])
    def test_a_token_of_one_tenant_opens_no_other(self, tmp_path: Path, revocation: str) -> None:
        """Used once at its own, it is remembered; that memory belongs to its own."""
        with tenants(tmp_path, "a", "b", auth={"TOKEN_REVOCATION": revocation}) as app:
            tokens = ApiTokens(auth_of(app))
            with tenant_context("a"):
                token, _ = tokens.create(1, expires_in=600)
                assert tokens.verify(token).user_id == tokens.verify(token).user_id == "1"
            for other in ("b", None):
                with tenant_context(other):
                    for _ in range(2):
                        with raises_code("token_revoked"):
                            tokens.verify(token)
            with tenant_context("a"):
                assert tokens.verify(token).user_id == "1"

    @pytest.mark.requirement("SECURITY-23")
    def test_each_tenant_can_revoke_its_own_and_only_its_own(self, tmp_path: Path) -> None:
        with tenants(tmp_path, "a", "b") as app:
            tokens, worker = ApiTokens(auth_of(app)), ApiTokens(auth_of(app))
            made = {}
            for name in "ab":
                with tenant_context(name):
                    made[name], _ = tokens.create(1)
                    assert worker.verify(made[name])
            with tenant_context("b"):
                assert tokens.revoke(made["a"]) is False
                assert tokens.revoke_all(1) == 1
                with raises_code("token_revoked"):
                    worker.verify(made["b"])
            with tenant_context("a"):
                assert worker.verify(made["a"]).user_id == "1"
                assert tokens.revoke(made["a"]) is True
                with raises_code("token_revoked"):
                    worker.verify(made["a"])

    def test_the_token_of_another_app_with_the_same_key_opens_nothing(self, tmp_path: Path) -> None:
        """Staging and production, with tokens that no store knows."""
        made = []
        for number in range(2):
            with asok_app(tmp_path / str(number), auth={"TOKEN_REVOCATION": "stateless"}) as app:
                MODELS_REGISTRY["User"].create(email="user@example.com")
                tokens = ApiTokens(auth_of(app))
                made.append(tokens.create(1, expires_in=600)[0])
                assert tokens.verify(made[number]).user_id == "1"
                if number:
                    with raises_code("token_revoked"):
                        tokens.verify(made[0])

    def test_a_token_of_before_names_no_database_and_needs_its_record(self, tmp_path: Path) -> None:
        for revocation in ("checked", "stateless"):
            with asok_app(tmp_path / revocation, auth={"TOKEN_REVOCATION": revocation}) as app:
                MODELS_REGISTRY["User"].create(email="user@example.com")
                tokens = ApiTokens(auth_of(app))
                token, record = tokens.create(1, expires_in=600)
                claims = msgspec.structs.replace(tokens.codec.verify(token), aud=None)
                old = tokens.codec.sign(claims)
                if revocation == "checked":
                    assert tokens.verify(old).id == record.id
                else:
                    with raises_code("token_revoked"):
                        tokens.verify(old)
