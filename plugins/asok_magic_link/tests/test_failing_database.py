"""The app's database fails in the middle of a login: the link still works."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.orm.engines.sqlite import SQLiteEngine
from asok_auth_tests.browser import FormBrowser, hidden_fields, mail_text, mails

from asok_auth_core.testing import asok_app

MANY = 10_000


class Outage:
    """Fails the statements of the app's database after the first ``at``."""

    def __init__(self, engine: type[SQLiteEngine], monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.seen = 0
        execute = engine.execute

        def failing(this: SQLiteEngine, *arguments: Any) -> Any:
            self.seen += 1
            if self.at is not None and self.seen > self.at:
                raise sqlite3.OperationalError("disk I/O error in /var/lib/secret/place")
            return execute(this, *arguments)

        monkeypatch.setattr(engine, "execute", failing)

    def begin(self, at: int | None) -> None:
        self.at, self.seen = at, 0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    limits = {"SENDS_PER_EMAIL": MANY, "SENDS_PER_CLIENT": MANY, "CODE_ATTEMPTS": MANY}
    auth = {"MAGIC_LINK": {**limits, "CODE_ATTEMPTS_PER_CLIENT": MANY}}
    with asok_app(tmp_path, auth=auth) as started:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        yield started


@pytest.mark.requirement("SECURITY-18", "SECURITY-32")
@pytest.mark.parametrize("way", ["link", "code"])
@pytest.mark.parametrize("who", ["ada", "new"])
def test_a_login_that_an_outage_breaks_off_can_be_repeated(
    app: Asok, monkeypatch: pytest.MonkeyPatch, way: str, who: str
) -> None:
    outage = Outage(SQLiteEngine, monkeypatch)
    failed = 0
    for at in itertools.count():
        browser = FormBrowser(app)
        address = "ada@example.org" if who == "ada" else f"new{at}@example.org"
        asked = browser.send_form("/auth/magic/send", page="/auth/login", email=address)
        assert asked.status_code == 303
        text = mail_text(mails(app)[-1])
        path = page = "/auth/magic/code"
        fields = {"email": address, "code": re.findall(r"^    (\w{4}-\w{4})\s*$", text, re.MULTILINE)[0]}
        if way == "link":
            path, fields = "/auth/magic/callback", {}
            page = path + re.findall(r"/auth/magic/callback(\S+)", text)[0]
        form = {**hidden_fields(browser.get(page).text), **fields}
        outage.begin(at)
        answer = browser.post(path, data=form)
        outage.begin(None)
        if answer.status_code == 303:
            break  # what comes after the login, such as a notice, does not break it off
        failed += 1
        assert answer.status_code == 503, at
        assert "/var/lib/secret" not in answer.text
        assert browser.user != address, at
        assert browser.send_form(path, page=page, **fields).status_code == 303, at
        assert browser.user == address
        other = FormBrowser(app)
        used = other.get(page) if way == "link" else other.send_form(path, page=page, **fields)
        assert used.status_code == 400
    assert failed > 5
    assert browser.user == address
