"""A session and its user are read in one statement, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import CredentialStore
from asok_auth_core.testing.apps import asok_app

from .apps import emptied

PAGES = {
    "enter.py": """
from models.user import User

def get(request):
    request.login(User.find(email=request.query.get("as")))
    return request.redirect("/")
"""
}
SOFT = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True, nullable=False)
    name = Field.String()
    is_active = Field.Boolean(default=True)
    data = Field.String(nullable=True)
    version = Field.Integer(default=7)
    deleted_at = Field.SoftDelete()
"""


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asok]:
    """Its user model deletes softly, and has columns named as ours."""
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    with emptied(url), asok_app(tmp_path, database=url, pages=PAGES, models={"user.py": SOFT}) as app:
        for name in ("ada", "bob"):
            MODELS_REGISTRY["User"].create(email=f"{name}@example.org", data="theirs")
        yield app


@pytest.fixture
def auth(app: Asok) -> Auth:
    found: Auth = app.extensions["AuthExtension"].auth
    return found


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that reach the database of the user model."""
    engine = MODELS_REGISTRY["User"].get_engine()
    seen: list[str] = []
    execute = engine.execute

    def count(sql: str, *arguments: Any) -> Any:
        seen.append(sql)
        return execute(sql, *arguments)

    engine.execute = count
    try:
        yield seen
    finally:
        del engine.execute


def find(email: str) -> Any:
    return MODELS_REGISTRY["User"].find(email=email)


def test_a_request_with_a_session_costs_one_statement(app: Asok) -> None:
    client = TestClient(app)
    client.get("/enter?as=bob@example.org")
    with statements() as seen:
        assert client.get("/").text.splitlines()[0] == "bob@example.org"
    assert len(seen) == 1, seen


def test_both_are_as_two_statements_read_them(auth: Auth) -> None:
    bob = find("bob@example.org")
    auth.credentials.add(str(bob.id), "session", "s1", {"n": 1})
    joined = auth.credentials.find_with_user("session", "s1", auth.users)
    apart = CredentialStore.find_with_user(auth.credentials, "session", "s1", auth.users)
    assert joined is not None
    assert apart is not None
    assert joined[0] == apart[0]
    user, other = joined[1], apart[1]
    assert {**vars(user)} == {**vars(other)}
    assert (user.email, user.data, user.version) == ("bob@example.org", "theirs", 7)  # type: ignore[union-attr]


def test_what_is_not_there(auth: Auth) -> None:
    assert auth.credentials.find_with_user("session", "unknown", auth.users) is None
    auth.credentials.add("1", "other", "s1", {})
    assert auth.credentials.find_with_user("session", "s1", auth.users) is None
    assert auth.credentials.find_with_user("session", "x" * 5000, auth.users) is None


def test_a_user_who_is_gone(auth: Auth) -> None:
    auth.credentials.add("4711", "session", "s1", {})
    auth.credentials.add(str(find("bob@example.org").id), "session", "s2", {})
    # As bob.delete(), which writes quotes that MySQL rejects.
    deleted = "UPDATE users SET deleted_at = ? WHERE id = 2"
    MODELS_REGISTRY["User"].get_engine().execute(deleted, ("2026-11-26",))
    assert find("bob@example.org") is None
    for identifier in ("s1", "s2"):
        found = auth.credentials.find_with_user("session", identifier, auth.users)
        assert found is not None
        assert found[1] is None


def test_a_model_that_finds_users_in_its_own_way_is_asked(app: Asok, auth: Auth) -> None:
    model = MODELS_REGISTRY["User"]
    usual = model.find
    model.find = classmethod(lambda cls, **given: usual(**given) if given.get("id") != 1 else None)
    try:
        auth.credentials.add("1", "session", "s1", {})
        found = auth.credentials.find_with_user("session", "s1", auth.users)
        assert found is not None
        assert found[1] is None
    finally:
        del model.find
