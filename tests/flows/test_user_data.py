"""What is kept about a user is exported, and removed with the account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from asok_auth_tests.pipeline import Browser, Word, World

from asok_auth_core.errors import TokenError
from asok_auth_core.flows.accounts import open_account
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.sessions import client_ip_of, sessions_of
from asok_auth_core.flows.user_data import export_user, remove_user
from asok_auth_core.flows.verified_emails import mark_email_verified
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.types import JSON, Newcomer, Proof, User

EMAIL = "ada@example.com"


class Posts:
    """A plugin that keeps posts."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.posts = {"1": 3}

    @hookimpl
    def asok_auth_export_user(self, user: User) -> Mapping[str, JSON]:
        if self.fails:
            raise RuntimeError("no database")
        return {"posts": self.posts.get(str(user.id), 0)}

    @hookimpl
    def asok_auth_remove_user(self, user: User) -> None:
        if self.fails:
            raise RuntimeError("no database")
        self.posts.pop(str(user.id), None)


class Stuck(Word):
    """A factor that cannot be reset."""

    name = "stuck"
    enrol_path = None

    def reset(self, user: User) -> None:
        raise RuntimeError("no database")

    def routes(self) -> list[object]:  # type: ignore[override]
        return []


def lived_in(root: Path, *plugins: object, **options: object) -> tuple[World, Browser, FakeUser, str]:
    """A user with a session, an identity, a verified email, a token, a factor."""
    world = World(root, MemoryUsers(), plugins=plugins, **options)  # type: ignore[arg-type]
    browser = Browser(world)
    browser.log_in_at_provider()
    user = world.users.by_id("1")
    assert isinstance(user, FakeUser)
    world.word.users.add("1")
    token, _ = ApiTokens(world.auth).create("1", name="ci")
    return world, browser, user, token


def test_the_export_holds_what_is_kept_and_no_secret(tmp_path: Path) -> None:
    world, browser, user, token = lived_in(tmp_path, Posts())
    given = export_user(world.auth, user)
    own = given["asok_auth_core"]
    assert isinstance(own, dict)
    assert own["email"] == EMAIL
    assert own["verified_emails"] == [EMAIL]
    text = json.dumps(given)
    assert '"posts": 3' in text
    assert '"name": "ci"' in text
    assert '"provider": "example"' in text
    assert given["failed"] == []
    cookies = browser.at.follow("/").cookies
    secrets = [text for name, text in cookies.items() if name != "asok_auth_last"]  # a method's name
    assert len(secrets) == len(cookies) - 1 >= 1
    for secret in (token, *secrets):
        assert secret not in text
        assert secret.partition(".")[2][:20] not in text or not secret.partition(".")[2]


def test_a_plugin_that_cannot_export_is_named(tmp_path: Path) -> None:
    world, _, user, _ = lived_in(tmp_path, Posts(fails=True))
    [failed] = export_user(world.auth, user)["failed"]  # type: ignore[misc]
    assert "Posts" in str(failed)


@pytest.mark.requirement("SECURITY-23")
def test_removing_a_user_removes_every_row_and_ends_everything(tmp_path: Path) -> None:
    posts = Posts()
    world, browser, user, token = lived_in(tmp_path, posts)
    link = world.token(EMAIL)
    [record] = sessions_of(world.auth, user)
    assert client_ip_of(world.auth, record) == "192.0.2.1"
    removed = remove_user(world.auth, user)
    assert removed.failed == ()
    assert world.kinds("1") == []
    assert world.word.users == set()
    assert posts.posts == {}
    assert browser.user_id is None
    assert client_ip_of(world.auth, record) is None
    assert Browser(world).open(link).status == 400
    with pytest.raises(TokenError):
        ApiTokens(world.auth).verify(token)
    [event] = world.events("account.removed")
    assert event.detail == {"rows": removed.rows, "failed": None}
    assert remove_user(world.auth, user).rows == 0


@pytest.mark.requirement("SECURITY-23")
def test_tokens_that_no_store_is_asked_about_do_not_keep_their_rows(tmp_path: Path) -> None:
    """Made before TOKEN_REVOCATION was stateless, which can revoke none."""
    world, _, user, token = lived_in(tmp_path)
    stateless = World(tmp_path, same_as=world, settings={"TOKEN_REVOCATION": "stateless"})
    assert "api_token" in world.kinds("1")
    assert remove_user(stateless.auth, user).failed == ()
    assert world.kinds("1") == []
    with pytest.raises(TokenError):
        ApiTokens(world.auth).verify(token)


def test_a_remover_that_raises_is_reported_and_the_rest_is_removed(tmp_path: Path) -> None:
    world, _, user, _ = lived_in(tmp_path, Posts(fails=True), factors=[Stuck()])
    failed = remove_user(world.auth, user).failed
    assert len(failed) == 2
    assert "stuck" in failed
    assert world.kinds("1") == []
    [event] = world.events("account.removed")
    assert "stuck" in str(event.detail["failed"])


@pytest.mark.requirement("SECURITY-35")
def test_a_new_account_gets_nothing_of_a_deleted_one_with_its_id(tmp_path: Path) -> None:
    """The database may reuse the id of an account deleted by a query."""
    world = World(tmp_path)
    mark_email_verified(world.auth, FakeUser("1"), "old@example.com")
    world.credentials.add("1", "identity", "x", {})
    world.clock.advance(1)
    user, is_new = open_account(world.auth, FakeRequest(), Newcomer(EMAIL), Proof("magic", EMAIL))
    assert (user.id, is_new) == ("1", True)
    assert world.kinds("1") == []


def test_a_new_account_keeps_what_a_faster_login_stored(tmp_path: Path) -> None:
    """It found the account that this login has just created."""

    class Slow(MemoryUsers):
        def create(self, email: str, name: str | None = None) -> FakeUser:
            user = super().create(email, name)
            Browser(world).log_in_by_mail(email)
            return user

    world = World(tmp_path, Slow())
    open_account(world.auth, FakeRequest(), Newcomer(EMAIL), Proof("magic", EMAIL))
    assert world.kinds("1") == ["email", "session"]


class TestInAsok:
    SOFT = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    gone = Field.SoftDelete()
"""

    def log_in(self, app, client: TestClient):  # type: ignore[no-untyped-def]
        auth = app.extensions["AuthExtension"].auth
        user = MODELS_REGISTRY["User"].create(email="ada@example.org")
        mark_email_verified(auth, user, "ada@example.org")
        ApiTokens(auth).create(user.id)
        return auth, user

    def test_deleting_the_user_removes_the_rows(self, tmp_path: Path) -> None:
        with asok_app(tmp_path) as app:
            auth, user = self.log_in(app, TestClient(app))
            kept = str(user.id)
            user.delete()
            assert [row.kind for row in auth.credentials.list(kept)] == ["epoch"]

    def test_a_soft_delete_keeps_them(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, models={"user.py": self.SOFT}) as app:
            auth, user = self.log_in(app, TestClient(app))
            user.delete()
            assert {row.kind for row in auth.credentials.list(str(user.id))} >= {"email", "api_token"}
            user.force_delete()
            assert [row.kind for row in auth.credentials.list(str(user.id))] == ["epoch"]

    def test_deleting_something_else_removes_nothing(self, tmp_path: Path) -> None:
        other = "from asok import Field, Model\n\nclass Post(Model):\n    title = Field.String()\n"
        with asok_app(tmp_path, models={"post.py": other}) as app:
            auth, user = self.log_in(app, TestClient(app))
            post = MODELS_REGISTRY["Post"].create(title="x")
            assert post.id == user.id
            post.delete()
            assert len(auth.credentials.list(str(user.id))) == 2

    @pytest.mark.requirement("SECURITY-35")
    def test_an_id_that_sqlite_uses_again_inherits_nothing(self, tmp_path: Path) -> None:
        with asok_app(tmp_path) as app:
            auth, user = self.log_in(app, TestClient(app))
            engine = MODELS_REGISTRY["User"].get_engine()
            engine.execute(f"DELETE FROM {MODELS_REGISTRY['User']._table} WHERE id = ?", (user.id,))
            again = MODELS_REGISTRY["User"].create(email="bob@example.org")
            assert [row.kind for row in auth.credentials.list(str(again.id))] in ([], ["epoch"])
