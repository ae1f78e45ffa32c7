"""NUL and lone surrogates from forms, JSON and providers; no database takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok_auth_dev.accounts import ACCOUNTS, Account
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.browser import FormBrowser, hidden_fields

from asok_auth_core.testing.apps import asgi_call, asok_app
from asok_auth_core.testing.waiting import PATIENCE

from .apps import emptied

NUL, HALF = "\x00", "\ud83d"
"""HALF: an emoji that was cut in two, as a database that counts UTF-16 cuts names."""
CALLS = {
    "send": "request.auth.magic.send(request, TEXT)",
    "subject": "request.auth.magic.send(request, 'ann@app.example', 'Hello ' + TEXT)",
    "verify": "str(request.auth.magic.verify_token(request, TEXT))",
    "state": "request.auth.oauth.get_auth_url('github', 'client', state=TEXT)",
    "callback": "str(request.auth.oauth.callback('github', 'client', 'secret', code=TEXT, state=TEXT))",
    "token": "str(request.auth.token.verify(request, TEXT))",
    "name": "request.auth.token.create(request, 1, name=TEXT)",
    "revoke": "str(request.auth.token.revoke(request, TEXT))",
    "invite": "str(request.auth.account.invite(request, 'eve@app.example', name=TEXT))",
}
PAGES = {
    f"call/{name}.py": f"def post(request):\n    TEXT = request.json_body['text']\n    return {call}\n"
    for name, call in CALLS.items()
}
FORMS = {
    "/auth/magic/send": ("email", "next"),
    "/auth/magic/code": ("email", "code"),
    "/auth/magic/callback": ("token",),
    "/auth/github/login": ("next",),
    "/auth/second-factor": ("code",),
    "/auth/provider/email": ("email",),
}
FIELDS = [(path, field) for path, fields in FORMS.items() for field in fields]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    with emptied(url):
        yield url


@pytest.fixture
def app(tmp_path: Path, database: str | None) -> Iterator[Asok]:
    auth = {"PROVIDERS": {"github": {"client_id": "client", "client_secret": "secret"}}}
    with asok_app(tmp_path, pages=PAGES, auth=auth, database=database) as made:
        MODELS_REGISTRY["User"].create(email="ann@app.example")
        yield made


def statuses(app: Asok, path: str, text: str, **fields: str) -> set[int]:
    """Answers to a form in each encoding, with WSGI and ASGI."""
    browser = FormBrowser(app)
    hidden = hidden_fields(browser.get("/auth/login").text)
    form = {**hidden, **fields}
    headers = {"X-CSRF-Token": hidden["csrf_token"]}
    found = [browser.post(path, json_body=form, headers=headers).status_code]
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    sent = [*headers.items(), ("cookie", cookies)]
    body = json.dumps(form).encode()
    found.append(asgi_call(app, "POST", path, [*sent, ("content-type", "application/json")], body)[0])
    if HALF not in text:
        found.append(browser.post(path, data=form).status_code)
        found.append(browser.get(f"{path}?{urlencode(fields)}").status_code)
        found.append(asgi_call(app, "POST", path, sent, urlencode(form).encode())[0])
    return set(found)


class TestOurForms:
    @pytest.mark.parametrize("bad", [NUL, HALF], ids=["NUL", "half"])
    @pytest.mark.parametrize(("path", "field"), FIELDS)
    def test_answer_with_less_than_500(self, app: Asok, path: str, field: str, bad: str) -> None:
        for text in (bad, f"/inbox{bad}", f"eve{bad}@app.example", f"eve@app.example{bad}"):
            given = {"email": "eve@app.example", "code": "ABCDEFGH", field: text}
            assert max(statuses(app, path, text, **given)) < 500, ascii(text)
        assert MODELS_REGISTRY["User"].count() == 1


class TestCallsOfAnAppsPage:
    @pytest.mark.parametrize("bad", [NUL, HALF], ids=["NUL", "half"])
    @pytest.mark.parametrize("name", CALLS)
    def test_take_what_the_page_was_sent(self, app: Asok, name: str, bad: str) -> None:
        browser = FormBrowser(app)
        token = hidden_fields(browser.get("/auth/login").text)["csrf_token"]
        answer = browser.post(f"/call/{name}", json_body={"text": f"a{bad}"}, headers={"X-CSRF-Token": token})
        assert answer.status_code < 500, answer.text


class Cut(Account):
    """An account whose id at the provider ends in the text of its domain."""

    def claims(self) -> dict[str, object]:
        return {**super().claims(), "sub": f"1001{self.domain}"}


class TestAProvider:
    def log_in(
        self, root: Path, database: str | None, account: Account, name: str = "google"
    ) -> tuple[int, str, list[Any]]:
        """Choose ``account`` there.

        Return the callback's status, the current user and all accounts.
        """
        with (
            DevProvider("http://localhost", debug=True, accounts=[account]) as local,
            asok_app(root, auth={"PROVIDERS": local.settings()}, database=database) as app,
        ):
            browser = FormBrowser(app)
            url = browser.send_form(f"/auth/{name}/login", page="/auth/login").headers["Location"]
            answer = requests.post(url, data={"account": "1001"}, allow_redirects=False, timeout=PATIENCE)
            path = answer.headers["Location"].removeprefix("http://localhost")
            status = int(browser.get(path).status_code)
            return status, browser.user, MODELS_REGISTRY["User"].all()

    # The library of the local Google cannot sign half a character; see tests/engine/test_storable.py.
    @pytest.mark.parametrize(("name", "bad"), [("google", NUL), ("github", NUL), ("github", HALF)])
    def test_with_a_name_that_was_cut_logs_in(
        self, tmp_path: Path, database: str | None, name: str, bad: str
    ) -> None:
        account = replace(ACCOUNTS[0], name=f"Ada {bad}")
        status, user, [made] = self.log_in(tmp_path, database, account, name)
        assert (status, user, made.name) == (303, "ada@example.com", "Ada \ufffd")

    @pytest.mark.parametrize("bad", [NUL, "\ufffd"], ids=["NUL", "replaced"])
    def test_with_such_an_email_address_sends_none(
        self, tmp_path: Path, database: str | None, bad: str
    ) -> None:
        """The user is asked for one."""
        account = replace(ACCOUNTS[0], email=f"ada{bad}@example.com")
        assert self.log_in(tmp_path, database, account) == (303, "nobody", [])

    @pytest.mark.parametrize("bad", [NUL, "\ufffd"], ids=["NUL", "replaced"])
    def test_with_such_an_id_is_rejected(self, tmp_path: Path, database: str | None, bad: str) -> None:
        """Two users whose ids were cut would be one."""
        account = Cut(1001, "ada", "Ada", "ada@example.com", domain=bad)
        assert self.log_in(tmp_path, database, account) == (400, "nobody", [])


@pytest.mark.parametrize("bad", [NUL, HALF], ids=["NUL", "half"])
def test_accounts_are_not_found_by_such_text(app: Asok, bad: str) -> None:
    users = app.extensions["AuthExtension"].auth.users
    assert users.by_email(f"ann@app.example{bad}") is None
    assert users.by_id(f"1{bad}") is None
    assert users.ids_alike(f"ann{bad}@app.example") == []
    made = users.create("bob@app.example", f"Bob {bad}")
    assert users.by_id(str(made.id)).name == "Bob \ufffd"
    assert quote(users.by_email("bob@app.example").name)
