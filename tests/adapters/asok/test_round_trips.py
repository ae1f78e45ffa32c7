"""How often a request asks the app's database and the state store."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.orm.engines.sqlite import SQLiteEngine
from asok_auth_tests.browser import FormBrowser, hidden_fields, mail_text, mails

from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.apps import asok_app

DOCS = Path(__file__).parents[3] / "docs" / "performance.md"

# (statements of the app's database, calls of the state store), with asok-magic-link and no other plugin
TRIPS = {
    "ask for a mail": (2, 3),
    "open the link": (2, 1),
    "press the button": (8, 3),
    "press the button, first login": (16, 3),
    "page with a session": (1, 0),
    "page with a bearer token, first in a minute": (3, 0),
    "page with a bearer token": (1, 0),
    "page, anonymous": (0, 0),
}


class Counted:
    """Counts both, and remembers the statements."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trips: Counter[str] = Counter()
        self.statements: list[tuple[object, ...]] = []
        self._inside = False
        execute = SQLiteEngine.execute

        def counted(engine: SQLiteEngine, *arguments: Any) -> Any:
            self.trips["sql"] += 1
            self.statements.append((arguments[0], tuple(arguments[1]) if len(arguments) > 1 else ()))
            return execute(engine, *arguments)

        monkeypatch.setattr(SQLiteEngine, "execute", counted)
        for name in ("put", "get", "take", "add", "incr", "delete", "batch"):
            monkeypatch.setattr(SQLiteStateStore, name, self._counted(getattr(SQLiteStateStore, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(store: SQLiteStateStore, *arguments: Any, **named: Any) -> Any:
            outer, self._inside = not self._inside, True
            self.trips["state"] += outer
            try:
                return call(store, *arguments, **named)
            finally:
                self._inside = not outer

        return counted

    def of(self, call: Callable[[], object]) -> tuple[int, int]:
        self.trips.clear()
        self.statements.clear()
        call()
        return self.trips["sql"], self.trips["state"]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(tmp_path, auth={"PLUGINS": ["magic-link"]}) as started:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        yield started


@pytest.fixture
def counted(app: Asok, monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def asked(app: Asok, counted: Counted, browser: FormBrowser, email: str) -> tuple[tuple[int, int], str]:
    """The trips of asking for a mail, and the link in it."""
    form = {**hidden_fields(browser.get("/auth/login").text), "email": email}
    trips = counted.of(lambda: browser.post("/auth/magic/send", data=form))
    found = re.search(r"/auth/magic/callback\S+", mail_text(mails(app)[-1]))
    assert found is not None
    return trips, found[0]


def pressed(counted: Counted, browser: FormBrowser, link: str) -> tuple[int, int]:
    form = hidden_fields(browser.get(link).text)
    return counted.of(lambda: browser.post("/auth/magic/callback", data=form))


def test_what_a_request_asks(app: Asok, counted: Counted) -> None:
    found = {}
    browser = FormBrowser(app)
    for email in ("new@example.org", "ada@example.org", "ada@example.org"):
        # The second login of an account: the first one verifies its email address.
        browser = FormBrowser(app)
        found["ask for a mail"], link = asked(app, counted, browser, email)
        found["open the link"] = counted.of(lambda at=link, by=browser: by.get(at))
        name = "press the button, first login" if email.startswith("new") else "press the button"
        found[name] = pressed(counted, browser, link)
        assert browser.user == email
    token, _ = ApiTokens(app.extensions["AuthExtension"].auth).create(1)
    bearer = {"Authorization": f"Bearer {token}"}
    found["page with a session"] = counted.of(lambda: browser.get("/"))
    for name in ("page with a bearer token, first in a minute", "page with a bearer token"):
        found[name] = counted.of(lambda: FormBrowser(app).get("/", headers=bearer))
    found["page, anonymous"] = counted.of(lambda: FormBrowser(app).get("/"))
    assert found == TRIPS


def test_the_docs_say_so() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| (\d+) \| (\d+) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert {name: (int(sql), int(state)) for name, sql, state in rows} == TRIPS
