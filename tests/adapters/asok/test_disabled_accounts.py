"""Disabling an account ends its logins, in and outside of transactions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.flows.epoch import epoch
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.testing import asok_app

pytestmark = pytest.mark.requirement("SECURITY-23", "SECURITY-37")
ENTER = """
from models.user import User


def get(request):
    request.login(User.find(id=1))
    return "in"
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(tmp_path, pages={"enter.py": ENTER}) as started:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        yield started


def auth_of(app: Asok) -> Any:
    return app.extensions["AuthExtension"].auth


def entered(app: Asok) -> TestClient:
    client = TestClient(app)
    client.get("/enter")
    assert "ada@example.org" in client.get("/").text
    return client


def set_active(is_active: bool) -> Any:
    user = MODELS_REGISTRY["User"].find(id=1)
    user.is_active = is_active
    user.save()
    return user


def test_a_session_of_a_disabled_account_does_not_come_back(app: Asok) -> None:
    client = entered(app)
    before = epoch(auth_of(app), "1")
    user = set_active(False)
    assert "nobody" in client.get("/").text
    assert sessions_of(auth_of(app), user) == []
    set_active(True)
    assert "nobody" in client.get("/").text
    assert epoch(auth_of(app), "1") == before + 1
    assert "ada@example.org" in entered(app).get("/").text


def test_a_mailed_link_of_before_is_void(app: Asok) -> None:
    method = auth_of(app).login_methods["magic"]
    token = method._proofs.issue("ada@example.org", 600, user=MODELS_REGISTRY["User"].find(id=1)).token
    set_active(False)
    set_active(True)
    assert TestClient(app).get(f"/auth/magic/callback?token={token}").status_code == 400


def test_another_change_of_an_active_account_ends_nothing(app: Asok) -> None:
    client = entered(app)
    user = MODELS_REGISTRY["User"].find(id=1)
    user.name = "Ada"
    user.save()
    assert "ada@example.org" in client.get("/").text
    assert epoch(auth_of(app), "1") == 0


def test_in_a_transaction_the_logins_end_with_it(app: Asok) -> None:
    client = entered(app)
    with MODELS_REGISTRY["User"].transaction():
        user = set_active(False)
    assert "nobody" in client.get("/").text
    assert sessions_of(auth_of(app), user) == []


def test_a_store_that_fails_is_logged_and_the_account_is_disabled(
    app: Asok, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = entered(app)

    def fail(*arguments: object) -> None:
        raise StoreUnavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(type(auth_of(app).credentials), "add", fail)
        set_active(False)
    assert "The sessions of disabled user 1 could not be ended" in caplog.text
    assert "nobody" in client.get("/").text
