"""Observers and policies learn the app, the request and the language."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.plugin import (
    Event,
    LoginAttempt,
    Route,
    WebRequest,
    WebResponse,
    current_request,
    hookimpl,
)
from asok_auth_core.testing import Browser, MemoryUsers
from asok_auth_core.testing.apps import asok_app

LOGIN_PAGE = """\
from models.user import User

def get(request):
    user = User.find(email="ada@example.org") or User.create(email="ada@example.org")
    request.login(user)
    return "in"
"""


class Watcher:
    """Notes the browser that each event came from, and the app of each hook call."""

    def __init__(self) -> None:
        self.agents: list[tuple[str, str | None]] = []
        self.auths: list[Auth] = []

    @hookimpl
    def asok_auth_event(self, event: Event, auth: Auth) -> None:
        self.auths.append(auth)
        request = current_request(auth)
        self.agents.append((event.name, None if request is None else request.headers.get("User-Agent", "")))

    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt, auth: Auth) -> None:
        self.auths.append(auth)


class Shouting:
    """A page that emits an event, and one that does so in a thread of its own."""

    @hookimpl
    def asok_auth_routes(self, auth: Auth) -> list[Route]:
        def shout(request: WebRequest) -> WebResponse:
            auth.events.emit("shouted.here")
            return WebResponse("")

        def elsewhere(request: WebRequest) -> WebResponse:
            thread = threading.Thread(target=lambda: auth.events.emit("shouted.elsewhere"))
            thread.start()
            thread.join()
            return WebResponse("")

        def fail(request: WebRequest) -> WebResponse:
            raise RuntimeError("broken")

        return [Route("/shout", get=shout), Route("/elsewhere", get=elsewhere), Route("/fail", get=fail)]


def test_hooks_get_the_app_that_calls_them(make_auth: Callable[..., Auth], fake_users: MemoryUsers) -> None:
    watcher = Watcher()
    ada = fake_users.by_id("1")
    assert ada is not None
    for auth in (make_auth(plugins=(watcher,)), make_auth(plugins=(watcher,))):
        watcher.auths.clear()
        Browser(auth).log_in(ada)
        assert len(watcher.auths) >= 2
        assert all(one is auth for one in watcher.auths)


def test_the_request_is_known_while_it_is_handled_and_not_after(make_auth: Callable[..., Auth]) -> None:
    watcher = Watcher()
    auth = make_auth(plugins=(watcher, Shouting()))
    browser = Browser(auth)
    browser.send("GET", "/shout", headers={"User-Agent": "Test/1"})
    auth.events.emit("shouted.later")
    assert watcher.agents == [("shouted.here", "Test/1"), ("shouted.later", None)]


def test_it_is_forgotten_after_a_page_that_raises(make_auth: Callable[..., Auth]) -> None:
    auth = make_auth(plugins=(Shouting(),))
    with pytest.raises(RuntimeError):
        Browser(auth).get("/fail")
    assert current_request(auth) is None


def test_it_belongs_to_one_app(make_auth: Callable[..., Auth]) -> None:
    watcher = Watcher()
    other = make_auth(plugins=(watcher,))

    class Caller:
        @hookimpl
        def asok_auth_routes(self, auth: Auth) -> list[Route]:
            def call(request: WebRequest) -> WebResponse:
                other.events.emit("shouted.over")
                return WebResponse("")

            return [Route("/call", get=call)]

    Browser(make_auth(plugins=(Caller(),))).get("/call")
    assert watcher.agents == [("shouted.over", None)]


def test_a_thread_of_its_own_has_none(make_auth: Callable[..., Auth]) -> None:
    watcher = Watcher()
    Browser(make_auth(plugins=(watcher, Shouting()))).get("/elsewhere")
    assert watcher.agents == [("shouted.elsewhere", None)]


class TestInAsok:
    def test_an_apps_own_page_is_a_request_too(self, tmp_path: Path) -> None:
        watcher = Watcher()
        with asok_app(tmp_path, pages={"enter/page.py": LOGIN_PAGE}, plugins=[watcher]) as app:
            client = TestClient(app)
            client.get("/enter", headers={"User-Agent": "Test/2"})
            auth = app.extensions["AuthExtension"].auth
            assert current_request(auth) is None
        assert dict(watcher.agents)["login.succeeded"] == "Test/2"

    def test_the_apps_texts_come_first(self, tmp_path: Path) -> None:
        folder = tmp_path / "src" / "locales"
        folder.mkdir(parents=True)
        (folder / "fr.json").write_text('{"Log in": "Entrer"}', "utf-8")
        with asok_app(tmp_path) as app:
            auth = app.extensions["AuthExtension"].auth
            assert auth.translate("fr", "Log in") == "Entrer"
            assert auth.translate("fr", "Log in to {app}", app="Shop") == "Se connecter à Shop"


@pytest.mark.parametrize(
    ("language", "said"),
    [("de", "Bei Shop anmelden"), ("en", "Log in to Shop"), ("xx", "Log in to Shop"), ("", "Log in to Shop")],
)
def test_texts_are_translated_without_a_request(auth: Auth, language: str, said: str) -> None:
    assert auth.translate(language, "Log in to {app}", app="Shop") == said


def test_values_may_have_any_name(auth: Auth) -> None:
    assert auth.translate("en", "{message} {language}", message="a", language="b") == "a b"
