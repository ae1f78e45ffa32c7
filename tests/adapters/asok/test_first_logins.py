"""First logins of one email address at once, in the database of an Asok app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok_auth_tests.browser import FormBrowser

from asok_auth_core.auth import Auth
from asok_auth_core.errors import AuthError
from asok_auth_core.flows.linking import account_for
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.races import in_threads
from asok_auth_core.types import Identity, Proof

EMAIL = "ada@example.org"
BROWSERS = 8


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asok]:
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    with asok_app(tmp_path, database=url) as made:
        yield made


def press(app: Asok, token: str) -> int:
    """Open the link in a new browser and press its button; the status."""
    page = f"/auth/magic/callback?token={token}"
    return int(FormBrowser(app).send_form("/auth/magic/callback", page=page).status_code)


def come_back(auth: Auth) -> int:
    """Log in with one identity at a trusted provider; the status."""
    identity = Identity("https://login.example", "ada", "example", EMAIL, True)
    proof = Proof("example", EMAIL, identity)
    try:
        complete_login(auth, FakeRequest(), account_for(auth, proof), proof)
    except AuthError as error:
        return error.status
    return 303


@pytest.mark.requirement("SECURITY-36")
def test_first_logins_at_once_make_one_account(app: Asok) -> None:
    auth = app.extensions["AuthExtension"].auth
    magic = auth.login_methods["magic"].api
    numbers = iter(range(BROWSERS))
    tokens = [magic.create_token(FakeRequest(), EMAIL) for _ in range(BROWSERS)]

    def once() -> list[int]:
        number = next(numbers)
        return [press(app, tokens[number]) if number % 2 else come_back(auth)]

    statuses = [status for part in in_threads(once, BROWSERS) for status in part]
    assert max(statuses) < 500, statuses
    assert 303 in statuses
    [user] = MODELS_REGISTRY["User"].all()
    kinds = [row.kind for row in auth.credentials.list(str(user.id))]
    assert kinds.count("email") == 1
    assert kinds.count("identity") <= 1
    assert len(sessions_of(auth, user)) <= statuses.count(303)
