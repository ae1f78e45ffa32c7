"""A failing part of a plugin costs only its own block."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from asok.testing import TestClient
from markupsafe import Markup

from asok_auth_core import AuthExtension
from asok_auth_core.auth import Auth
from asok_auth_core.contracts import LoginMethod, SecondFactor
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.methods.oauth import OAuthMethod
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing import FakeUser, raises_code
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.login_method import EnrolledFactor
from asok_auth_core.types import Event
from asok_auth_core.web import Route, WebRequest, WebResponse

from .apps import make_user

pytestmark = pytest.mark.requirement("SECURITY-34")

PAGES = {
    "enter/page.py": "from asok.orm import MODELS_REGISTRY\n"
    "def get(request):\n"
    "    request.login(MODELS_REGISTRY['User'].find(email='ada@example.com'))\n"
    "    return 'in'\n",
    "out/page.py": "def get(request):\n    request.redirect('https://login.example/')\n",
    "shop/page.html": "<main>{{ oauth_buttons('/next') }}</main>",
    "form/page.py": "def post(request):\n    return 'posted'\n",
}


class Plugin:
    """Brings one login method, and records events."""

    def __init__(self, method: type[LoginMethod]) -> None:
        self.method = method()
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [self.method]

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)

    def failures(self) -> list[str]:
        return [
            str(event.detail["function"]).rpartition(".")[2]
            for event in self.events
            if event.name == "plugin.failed"
        ]


def failing(name: str, answer: object) -> type[LoginMethod]:
    """A login method whose ``name`` raises ``answer``, or returns it."""

    def fail(self: LoginMethod, *arguments: object) -> object:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    fail.__name__ = name
    return type("Failing", (LoginMethod,), {"name": "failing", name: fail, "__module__": __name__})


ERRORS = [
    RuntimeError("out of order"),
    StoreUnavailable("No answer."),
    AttributeError("'None'"),
    "<b>text</b>",
    7,
]


@pytest.mark.parametrize("answer", ERRORS, ids=lambda a: type(a).__name__)
def test_a_login_block_that_fails_costs_only_itself(tmp_path: Path, answer: object) -> None:
    plugin = Plugin(failing("login_block", answer))
    with asok_app(tmp_path, plugins=[plugin]) as app:
        page = TestClient(app).get("/auth/login")
    assert page.status_code == 200
    assert 'name="email"' in page.text
    assert "<b>text</b>" not in page.text
    assert plugin.failures() == ["login_block"]


@pytest.mark.parametrize("answer", ERRORS, ids=lambda a: type(a).__name__)
def test_an_account_block_that_fails_costs_only_itself(tmp_path: Path, answer: object) -> None:
    plugin = Plugin(failing("account_block", answer))
    with asok_app(tmp_path, plugins=[plugin], pages=PAGES) as app:
        make_user("ada@example.com")
        client = TestClient(app)
        client.get("/enter")
        page = client.get("/auth/account")
    assert page.status_code == 200
    assert "ada@example.com" in page.text
    assert plugin.failures() == ["account_block"]


def test_buttons_that_fail_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def buttons(self: OAuthMethod, request: WebRequest, next_url: str | None = None) -> Markup:
        raise RuntimeError("out of order")

    monkeypatch.setattr(OAuthMethod, "buttons", buttons)
    plugin = Plugin(failing("login_block", None))
    with asok_app(tmp_path, plugins=[plugin], pages=PAGES) as app:
        client = TestClient(app)
        assert "<main></main>" in client.get("/shop").text
        assert client.get("/auth/login").status_code == 200
    assert plugin.failures() == ["buttons"]


NO_USER = [
    RuntimeError("out of order"),
    KeyError("x"),
    OSError(),
    "yes",
    True,
    "",
    0,
    FakeUser("1", "a@b.example"),
]


@pytest.mark.parametrize("answer", NO_USER, ids=repr)
def test_authenticate_that_fails_logs_nobody_in(tmp_path: Path, answer: object) -> None:
    """Not even the session's user: the request may mean another one."""
    plugin = Plugin(failing("authenticate", None))
    with asok_app(tmp_path, plugins=[plugin], pages=PAGES) as app:
        make_user("ada@example.com")
        client = TestClient(app)
        client.get("/enter")
        assert client.get("/").text.splitlines()[0] == "ada@example.com"
        plugin.method = type(plugin.method)()
        app.extensions["AuthExtension"].auth.login_methods["failing"] = failing("authenticate", answer)()
        assert client.get("/").text.splitlines()[0] == "nobody"
        answer = client.get("/auth/account")
        assert answer.status_code == 401
        assert "out of order" not in answer.text
        assert client.get("/auth/login").status_code == 200
    assert set(plugin.failures()) == {"authenticate"}


@pytest.mark.parametrize(
    "answer", [RuntimeError("out of order"), StoreUnavailable("No."), "yes", 1], ids=repr
)
def test_allows_redirect_must_be_true(tmp_path: Path, answer: object) -> None:
    with asok_app(tmp_path, plugins=[Plugin(failing("allows_redirect", answer))], pages=PAGES) as app:
        client = TestClient(app)
        assert "login.example" not in client.get("/out").headers.get("Location", "")
        assert client.get("/auth/account").status_code == 401


@pytest.mark.parametrize("name", ["routes", "form_action_origins"])
@pytest.mark.parametrize("answer", [RuntimeError("out of order"), SystemExit(1), None, 7], ids=repr)
def test_routes_that_fail_stop_the_start(tmp_path: Path, name: str, answer: object) -> None:
    with (
        raises_code("plugin", match=rf"{__name__}\.Failing\.{name} raised "),
        asok_app(tmp_path, plugins=[Plugin(failing(name, answer))]),
    ):
        pass


async def waiting(request: WebRequest) -> WebResponse:
    return WebResponse("never")


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete"])
def test_a_page_that_is_never_awaited_stops_the_start(tmp_path: Path, verb: str) -> None:
    handlers: dict[str, Callable[..., object]] = {verb: waiting}
    route = Route("/auth/failing", **handlers)  # type: ignore[arg-type]
    with (
        raises_code("plugin", match="/auth/failing of .*'failing' of plugin 'Plugin' is a coroutine"),
        asok_app(tmp_path, plugins=[Plugin(failing("routes", [route]))]),
    ):
        pass


class Broken:
    """Cannot be loaded: the hook's name is misspelled."""

    @hookimpl
    def asok_auth_befor_login(self, attempt: object) -> str:
        return "<i>Not today.</i>"


class TestBanner:
    def test_in_debug_our_pages_name_the_broken_plugin(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, plugins=[Broken()]) as app:
            page = TestClient(app).get("/auth/login").text
            french = TestClient(app).get("/auth/login", headers={"Accept-Language": "fr"}).text
        assert "Plugin Broken is not loaded: there is no hook" in page
        assert "Le module Broken n’est pas chargé" in french

    def test_the_apps_layout_shows_it_too(self, tmp_path: Path) -> None:
        layout = tmp_path / "src" / "partials" / "layout.html"
        layout.parent.mkdir(parents=True)
        layout.write_text("<body>{{ auth_content }}</body>")
        with asok_app(tmp_path, plugins=[Broken()], auth={"LAYOUT": "layout.html"}) as app:
            assert "Plugin Broken is not loaded" in TestClient(app).get("/auth/login").text

    def test_outside_debug_an_optional_plugin_is_not_shown_to_users(self, tmp_path: Path) -> None:
        environ = {"DEBUG": "false", "APP_URL": "https://app.example"}
        auth = {"OPTIONAL_PLUGINS": ["Broken", "dev"]}
        with asok_app(tmp_path, plugins=[Broken()], auth=auth, environ=environ) as app:
            page = TestClient(app).get("/auth/login").text
        assert 'name="email"' in page
        assert "Broken" not in page

    def test_a_sound_app_has_none(self, tmp_path: Path) -> None:
        with asok_app(tmp_path) as app:
            assert "is not loaded" not in TestClient(app).get("/auth/login").text


class Factor(EnrolledFactor):
    name = "failing"
    label = "Failing"

    def account_block(self, request: WebRequest) -> Markup | None:
        raise RuntimeError("out of order")

    def routes(self) -> Iterable[Route]:
        raise RuntimeError("out of order")


class WithFactor:
    """Brings ``factor``."""

    def __init__(self, factor: SecondFactor) -> None:
        self.factor = factor

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [self.factor]


def test_routes_of_a_factor_that_fail_stop_the_start(tmp_path: Path) -> None:
    with (
        raises_code("plugin", match=r"Factor\.routes raised RuntimeError: out of order"),
        asok_app(tmp_path, plugins=[WithFactor(Factor())]),
    ):
        pass


class Enrolled(Factor):
    """Is set up at ``enrol_path``; has a page for GET, and one for POST only."""

    def __init__(self, enrol_path: str | None) -> None:
        self.enrol_path = enrol_path  # type: ignore[misc]

    def routes(self) -> Iterable[Route]:
        answer = lambda request: WebResponse("page")  # noqa: E731
        return [Route("/auth/failing", get=answer), Route("/auth/failing/send", post=answer)]


@pytest.mark.parametrize("path", ["/auth/faling", "/auth/failing/send", "/", "/auth/faling?step=1"])
def test_an_enrol_path_without_a_page_stops_the_start(tmp_path: Path, path: str) -> None:
    pages = tmp_path / "src" / "pages"
    with asok_app(tmp_path, extension=False) as app:
        (pages / "page.py").unlink()
        extension = AuthExtension(plugins=[WithFactor(Enrolled(path))])
        told = f"{path!r} of second factor 'failing' of plugin 'WithFactor' has no page for GET"
        with raises_code("plugin", match=re.escape(told)):
            app.register_extension(extension)
        extension.close()


@pytest.mark.parametrize("path", [None, "/auth/failing", "/auth/failing/", "/auth/failing?step=1", "/own/7"])
def test_an_enrol_path_may_be_a_page_of_the_factor_or_the_app(tmp_path: Path, path: str | None) -> None:
    pages = {"own/[id].py": "def get(request):\n    return 'own'\n"}
    with asok_app(tmp_path, plugins=[WithFactor(Enrolled(path))], pages=pages) as app:
        if path is not None:
            assert TestClient(app).get(path).text.splitlines()[0] in ("page", "own")
