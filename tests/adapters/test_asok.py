"""The Asok adapter in real apps: its seams, and what happens without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.auth import MagicLink
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from markupsafe import Markup

from asok_auth_core import AuthExtension, Event, LoginMethod, SecondFactor, hookimpl
from asok_auth_core.adapters.asok.answers import answer_page
from asok_auth_core.adapters.asok.patches import page
from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.auth import Auth
from asok_auth_core.errors import (
    ConfigurationError,
    LoginRejected,
    PluginError,
    SettingError,
    StoreUnavailable,
    TokenExpired,
)
from asok_auth_core.testing.asok_app import asgi_call, asok_app
from asok_auth_core.types import User
from asok_auth_core.web import Route, WebRequest, WebResponse

PAGES = {
    "enter.py": """
from models.user import User

def get(request):
    request.login(User.find(email=request.query.get("as")))
    return request.redirect("/")
""",
    "leave.py": """
def get(request):
    request.logout()
    return request.redirect("/")
""",
    "fail.py": """
from asok_auth_core.errors import RateLimited

def get(request):
    raise RateLimited("Slow down.", retry_after=7)
""",
    "api/fail.py": """
from asok_auth_core.errors import LoginRequired

def get(request):
    raise LoginRequired("Please log in first.")
""",
    "go.py": """
def get(request):
    return request.redirect("/elsewhere")
""",
    "stop.py": """
def get(request):
    request.abort(404, "gone")
""",
    "boom.py": """
def get(request):
    raise RuntimeError("boom")
""",
    "nothing.py": """
def get(request):
    try:
        request.auth.telepathy
    except AttributeError as error:
        return str(error)
""",
    "mistaken.py": """
def get(request):
    auth = request.auth
    mistakes = (
        lambda: auth.badge.nothing,
        lambda: auth.badge.auth,
        lambda: auth.badge._private,
        lambda: auth.badge.a_private,
        lambda: auth.plain,
        lambda: auth.word,
    )
    said = []
    for mistake in mistakes:
        try:
            said.append(repr(mistake()))
        except AttributeError as error:
            said.append(str(error).partition(" Installed")[0])
    return request.api(said)
""",
    "client.py": """
def get(request):
    return request.app.extensions["AuthExtension"].app_auth.web_request(request).client_ip
""",
    "posted.py": """
def post(request):
    return "done " + (request.user.email if request.user else "nobody")
""",
}

RECENT = """
from asok_auth_core import requires_recent_login

@requires_recent_login
def get(request):
    return "got in"
"""


class Badge(LoginMethod):
    """Authenticates each request by a header; has a page, an api, and a form for other sites."""

    name = "badge"

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def authenticate(self, request: WebRequest) -> User | None:
        badge = request.headers.get("X-Badge")
        if badge is None:
            return None
        if badge == "old":
            raise TokenExpired("This badge has expired.")
        return self.auth.users.by_email(badge)

    def routes(self) -> list[Route]:
        return [
            Route("/auth/badge/echo", get=self.echo, post=self.echo),
            Route("/auth/badge/foreign", post=self.echo, csrf=False),
        ]

    def echo(self, request: WebRequest) -> WebResponse:
        request.set_cookie("badge", "1", max_age=60)
        body = f"{request.method} {sorted(request.form)} {request.client_ip} {request.base_url}"
        return WebResponse(body, content_type="text/plain")

    def login_block(self, request: WebRequest) -> Markup:
        return Markup("<p>badge here</p>")

    @property
    def api(self) -> Badge:
        return self

    def _private(self) -> None:
        raise NotImplementedError


class Plain(LoginMethod):
    """Gives pages nothing to call."""

    name = "plain"


class Word(SecondFactor):
    name = "word"
    label = "Secret word"

    def is_enrolled(self, user: User) -> bool:
        return getattr(user, "name", None) == "two"

    def challenge(self, request: WebRequest, user: User) -> Markup:
        return Markup('<input name="word">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("word") == "swordfish"


class Plugin:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [Badge(auth), Plain()]

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [Word()]

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def app(tmp_path: Path, plugin: Plugin) -> Iterator[Asok]:
    with asok_app(tmp_path, pages=PAGES, plugins=[plugin]) as made:
        user = MODELS_REGISTRY["User"]
        user.create(email="ada@example.org")
        user.create(email="two@example.org", name="two")
        yield made


@pytest.fixture
def client(app: Asok) -> TestClient:
    return TestClient(app)


def home(client: TestClient, **arguments: object) -> str:
    return client.get("/", **arguments).text.splitlines()[0]


class TestLogin:
    def test_an_apps_own_login(self, client: TestClient, plugin: Plugin) -> None:
        client.get("/")
        before = client.cookies["asok_sid"]
        response = client.get("/enter?as=ada@example.org")
        assert (response.status_code, response.headers["Location"]) == (302, "/")
        assert home(client) == "ada@example.org"
        assert client.cookies["asok_sid"] != before
        assert [(e.name, e.method) for e in plugin.events] == [("login.succeeded", "app")]

    def test_logging_out(self, client: TestClient, plugin: Plugin) -> None:
        client.get("/enter?as=ada@example.org")
        old = dict(client.cookies)
        client.get("/leave")
        assert home(client) == "nobody"
        assert plugin.events[-1].name == "logout"
        client.cookies = old
        assert home(client) == "nobody", "the old cookies are worth nothing"

    def test_an_apps_own_login_asks_for_the_second_factor(self, client: TestClient) -> None:
        """A6.3.4"""
        response = client.get("/enter?as=two@example.org")
        assert (response.status_code, response.headers["Location"]) == (303, "/auth/second-factor")
        assert home(client) == "nobody"
        page = client.get("/auth/second-factor").text
        assert 'name="word"' in page
        data = {"csrf_token": client.cookies["asok_csrf"], "factor": "word", "word": "trout"}
        refused = client.post("/auth/second-factor", data=data)
        assert refused.status_code == 400
        assert 'role="alert"' in refused.text
        assert home(client) == "nobody"
        response = client.post("/auth/second-factor", data={**data, "word": "swordfish"})
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        assert home(client) == "two@example.org"

    def test_a_session_that_was_not_begun_by_the_pipeline_is_nobodys(
        self, app: Asok, client: TestClient
    ) -> None:
        client.get("/enter?as=ada@example.org")
        sid = app._unsign(client.cookies["asok_sid"])
        data = app._session_store.load(sid)
        del data["asok_auth.login"]
        app._session_store.save(sid, data)
        assert home(client) == "nobody"

    def test_a_session_of_one_user_is_not_anothers(self, app: Asok, client: TestClient) -> None:
        client.get("/enter?as=ada@example.org")
        sid = app._unsign(client.cookies["asok_sid"])
        data = app._session_store.load(sid)
        data["user_id"] = MODELS_REGISTRY["User"].find(email="two@example.org").id
        app._session_store.save(sid, data)
        assert home(client) == "nobody"

    def lend(self, app: Asok, client: TestClient, **changes: object) -> str:
        """Who a session is after Asok's Admin, or somebody else, has changed it so."""
        client.get("/enter?as=ada@example.org")
        sid = app._unsign(client.cookies["asok_sid"])
        data = app._session_store.load(sid)
        data.update(changes)
        app._session_store.save(sid, {name: value for name, value in data.items() if value is not None})
        return home(client)

    def test_the_admin_lends_a_session_to_who_acts_as_somebody_else(
        self, app: Asok, client: TestClient
    ) -> None:
        ada, bob = (MODELS_REGISTRY["User"].create(email=f"{name}@example.net") for name in ("ada", "bob"))
        lender = MODELS_REGISTRY["User"].find(email="ada@example.org")
        assert self.lend(app, client, user_id=bob.id, impersonator_id=lender.id) == "bob@example.net"
        assert self.lend(app, client, user_id=bob.id, impersonator_id=ada.id) == "nobody", "not hers to lend"

    def test_a_session_that_was_not_begun_by_the_pipeline_cannot_be_lent(
        self, app: Asok, client: TestClient
    ) -> None:
        """Such as one from before the extension was installed: no second factor, no end from afar."""
        bob = MODELS_REGISTRY["User"].create(email="bob@example.net")
        lender = MODELS_REGISTRY["User"].find(email="ada@example.org")
        changes = {"user_id": bob.id, "impersonator_id": lender.id, "asok_auth.login": None}
        assert self.lend(app, client, **changes) == "nobody"

    def test_a_signed_number_is_no_session(self, app: Asok, client: TestClient) -> None:
        """In DEBUG, Asok 0.8 takes any signed user id for a session."""
        client.cookies["asok_session"] = app._sign("1")
        assert home(client) == "nobody"

    def test_a_deleted_user(self, client: TestClient) -> None:
        client.get("/enter?as=ada@example.org")
        MODELS_REGISTRY["User"].find(email="ada@example.org").delete()
        assert home(client) == "nobody"


class TestAuthenticatedRequests:
    def test_a_method_that_proves_the_request_itself(self, client: TestClient) -> None:
        assert home(client, headers={"X-Badge": "ada@example.org"}) == "ada@example.org"
        assert home(client) == "nobody"

    def test_a_bad_proof_counts_more_than_a_session(self, client: TestClient) -> None:
        client.get("/enter?as=ada@example.org")
        assert home(client, headers={"X-Badge": "old"}) == "nobody"
        assert home(client) == "ada@example.org"

    def test_it_needs_no_csrf_token_without_cookies(self, app: Asok) -> None:
        response = TestClient(app).post("/posted", headers={"X-Badge": "ada@example.org"})
        assert response.status_code == 200
        assert response.text.startswith("done ada@example.org")

    def test_it_needs_one_with_a_session_cookie(self, client: TestClient) -> None:
        """CSRF is for cookies: with one, the browser may have been made to send this."""
        client.get("/")
        assert client.post("/posted", headers={"X-Badge": "ada@example.org"}).status_code == 403

    def test_nobody_needs_one(self, app: Asok) -> None:
        assert TestClient(app).post("/posted").status_code == 403
        assert TestClient(app).post("/posted", headers={"X-Badge": "old"}).status_code == 401
        assert TestClient(app).post("/posted", headers={"X-Badge": "eve@example.org"}).status_code == 403


class TestPages:
    def test_a_plugins_route(self, client: TestClient) -> None:
        response = client.get("/auth/badge/echo")
        assert (response.status_code, response.text) == (200, "GET []  http://localhost")
        assert response.headers["Content-Type"] == "text/plain"
        assert client.cookies["badge"] == "1"

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost:8000", 200),
            ("127.0.0.2", 200),
            ("[::1]:8000", 200),
            ("app.example", 500),
            ("192.0.2.1", 500),
            ("localhost.evil.example", 500),
            ("a@localhost", 500),
            ("localhost/evil", 500),
        ],
    )
    def test_without_app_url_links_name_only_loopback_hosts(
        self, client: TestClient, host: str, status: int
    ) -> None:
        response = client.get("/auth/badge/echo", headers={"Host": host})
        assert response.status_code == status
        assert (f"http://{host}" in response.text) is (status == 200)

    def test_head_is_head(self, client: TestClient) -> None:
        response = client._request("HEAD", "/auth/badge/echo")
        assert (response.status_code, response.body) == (200, b"")

    def test_form_fields_come_from_the_body_only(self, client: TestClient) -> None:
        client.get("/")
        data = {"csrf_token": client.cookies["asok_csrf"], "b": "1"}
        response = client.post("/auth/badge/echo?a=1", data=data)
        assert response.text.startswith("POST ['b', 'csrf_token']")

    def test_a_route_that_proves_its_caller_in_another_way(self, app: Asok) -> None:
        assert TestClient(app).post("/auth/badge/foreign").status_code == 200
        assert TestClient(app).post("/auth/badge/echo").status_code == 403

    def test_methods_that_are_not_answered(self, client: TestClient) -> None:
        response = client.get("/auth/badge/foreign")
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
        client.get("/")
        headers = {"X-CSRF-Token": client.cookies["asok_csrf"]}
        for send in (client.put, client.patch, client.delete):
            assert send("/auth/login", headers=headers).status_code == 405

    def test_the_page_file_leads_every_method_to_us(self) -> None:
        """Asok asks a page file for a function by the method's name, and runs it outside its package."""
        found = {name: value for name, value in vars(page).items() if callable(value)}
        assert set(found.values()) == {answer_page}
        assert found.keys() - {"answer_page"} == {"get", "post", "put", "patch", "delete"}

    def test_the_login_page_shows_every_methods_block(self, client: TestClient) -> None:
        page = client.get("/auth/login").text
        assert "badge here" in page
        assert 'name="email"' in page

    def test_paths_that_are_nobodys(self, client: TestClient) -> None:
        for path in (
            "/auth",
            "/auth/x",
            "/auth/login/x",
            "/auth/static/x.css",
            "/auth/../x",
            "/auth//login/y",
        ):
            assert client.get(path).status_code == 404, path

    def test_the_stylesheet_is_kept(self, client: TestClient) -> None:
        path = re.search(r'href="(/auth/static/[0-9a-f]+\.css)"', client.get("/auth/login").text)[1]
        response = client.get(path)
        assert response.headers["Content-Type"].startswith("text/css")
        assert "immutable" in response.headers["Cache-Control"]

    def test_the_account_page(self, client: TestClient) -> None:
        response = client.get("/auth/account")
        assert response.status_code == 401
        assert "log in" in response.text
        client.get("/enter?as=ada@example.org")
        assert "ada@example.org" in client.get("/auth/account").text

    def test_the_log_out_page(self, client: TestClient) -> None:
        client.get("/enter?as=ada@example.org")
        assert client.get("/auth/logout").status_code == 200
        assert home(client) == "ada@example.org", "GET logs nobody out"
        response = client.post("/auth/logout", data={"csrf_token": client.cookies["asok_csrf"]})
        assert response.headers["Location"] == "/"
        assert home(client) == "nobody"

    def test_no_page_tells_where_it_is_installed(self, client: TestClient) -> None:
        page = client.get("/auth/login").text
        assert "site-packages" not in page
        assert "adapters" not in page

    def test_an_apps_own_page_comes_first_and_its_pattern_last(self, tmp_path: Path) -> None:
        pages = {
            "auth/login.py": "def get(request):\n    return 'my own'\n",
            "auth/[anything].py": "def get(request):\n    return 'pattern'\n",
        }
        with asok_app(tmp_path, pages=pages) as app:
            client = TestClient(app)
            assert client.get("/auth/login").text.startswith("my own")
            assert client.get("/auth/other").text.startswith("pattern")
            assert "Log out" in client.get("/auth/logout").text

    def test_an_apps_own_template_comes_first(self, tmp_path: Path) -> None:
        own = tmp_path / "src" / "partials" / "auth"
        own.mkdir(parents=True)
        (own / "logout.html").write_text(
            '{% extends "auth/base.html" %}{% block content %}Bye?{% endblock %}'
        )
        with asok_app(tmp_path) as app:
            assert "Bye?" in TestClient(app).get("/auth/logout").text

    @pytest.mark.parametrize("path", ["//auth//login", "/auth//login", "/auth/./login"])
    def test_a_path_has_one_spelling(self, app: Asok, path: str) -> None:
        """Asok leaves empty parts out when it looks for a page; what limits or protects paths does not."""
        assert TestClient(app).get(path).status_code == 404


class TestBehindAProxy:
    @pytest.mark.parametrize(
        ("trusted", "seen"),
        [
            (None, "127.0.0.1"),
            ("", "127.0.0.1"),
            ("10.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "10.0.0.7"),
            (" 127.0.0.1, 10.0.0.0/8 ", "192.0.2.9"),
            (["127.0.0.1", "10.0.0.7"], "192.0.2.9"),
        ],
        ids=["none", "empty", "another", "one", "two", "list"],
    )
    def test_33_only_what_trusted_proxies_say_counts(self, app: Asok, trusted: object, seen: str) -> None:
        app.config["TRUSTED_PROXIES"] = trusted
        forwarded = ("X-Forwarded-For", "203.0.113.1, 192.0.2.9, 10.0.0.7")
        assert asgi_call(app, "GET", "/client", [forwarded])[2].split("<")[0].strip() == seen


class TestScriptsOfAsok:
    """Our pages use none; an app's own template of one of them may."""

    @pytest.fixture
    def shown(self, tmp_path: Path) -> Iterator[Callable[[str], str]]:
        own = tmp_path / "src" / "partials" / "auth"
        own.mkdir(parents=True)
        environ = {"DEBUG": "false", "APP_URL": "http://localhost"}  # DEBUG has a script of its own
        with asok_app(tmp_path, environ=environ) as app:

            def show(content: str) -> str:
                (own / "logout.html").write_text(
                    '{% extends "auth/base.html" %}{% block content %}' + content + "{% endblock %}"
                )
                return str(TestClient(app).get("/auth/logout").text)

            yield show

    def test_words_that_only_look_like_theirs_bring_none(self, shown: Callable[[str], str]) -> None:
        page = shown("<p>news-desk@app.example ws-1</p>")
        assert "news-desk" in page
        assert page.count("<script") == 0

    @pytest.mark.parametrize(
        "content", ['<div data-asok-component="Clock"></div>', '<div class="asok-toggle"></div>']
    )
    def test_a_template_that_asks_for_them_gets_them(self, shown: Callable[[str], str], content: str) -> None:
        page = shown(content)
        assert content in page
        assert page.count("<script") > 0


class TestErrors:
    def test_an_error_in_an_apps_page(self, client: TestClient) -> None:
        response = client.get("/fail")
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "7"
        assert "Slow down." in response.text
        assert "Traceback" not in response.text

    def test_json_where_a_program_asked(self, client: TestClient) -> None:
        response = client.get("/api/fail")
        assert response.status_code == 401
        assert response.json == {"error": "Please log in first.", "code": "login_required", "status": 401}
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        response = client.get("/fail", headers={"Accept": "application/json"})
        assert response.json["code"] == "rate_limited"

    def test_other_errors_stay_asoks(self, client: TestClient) -> None:
        assert client.get("/boom").status_code == 500
        assert client.get("/stop").status_code == 404

    def test_an_inner_error_says_nothing_of_the_inside(self, tmp_path: Path) -> None:
        page = """
from asok_auth_core.errors import StoreUnavailable

def get(request):
    raise StoreUnavailable("/var/lib/secret/place is locked")
"""
        with asok_app(tmp_path, pages={"down.py": page}, environ={"DEBUG": "false"}) as app:
            response = TestClient(app).get("/down")
            assert response.status_code == 503
            assert "/var/lib" not in response.text
            assert "try again" in response.text

    def test_a_method_that_is_not_installed(self, client: TestClient) -> None:
        assert "request.auth has no 'telepathy'. Installed: " in client.get("/nothing").text

    def test_what_a_method_does_not_give(self, client: TestClient) -> None:
        """Public functions are the api; what is private or no function is nobody's to call."""
        *of_badge, plain, word = client.get("/mistaken").json["data"]
        names = ("nothing", "auth", "_private", "a_private")
        assert of_badge == [f"Badge has no {name!r}" for name in names]
        assert plain == "request.auth has no 'plain'."
        assert word == "request.auth has no 'word'."

    def test_query(self, app: Asok, client: TestClient) -> None:
        """request.query does not exist in Asok 0.8."""
        assert client.get("/enter?as=ada@example.org").status_code == 302


class TestASGI:
    def call(
        self, app: Asok, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        status, pairs, body = asgi_call(app, "GET", path, list((headers or {}).items()))
        cookies = "; ".join(v.split(";")[0] for k, v in pairs if k == "set-cookie")
        return status, {**dict(pairs), "cookies": cookies}, body

    def test_pages(self, app: Asok) -> None:
        status, _, body = self.call(app, "/auth/login")
        assert status == 200
        assert "badge here" in body

    def test_login(self, app: Asok) -> None:
        """Asok 0.8 answers 500 to any request.redirect() under ASGI."""
        status, headers, _ = self.call(app, "/enter?as=ada@example.org")
        assert (status, headers["location"]) == (302, "/")
        _, _, body = self.call(app, "/", {"cookie": headers["cookies"]})
        assert body.startswith("ada@example.org")

    def test_second_factor(self, app: Asok) -> None:
        status, headers, _ = self.call(app, "/enter?as=two@example.org")
        assert (status, headers["location"]) == (303, "/auth/second-factor")
        _, _, body = self.call(app, "/", {"cookie": headers["cookies"]})
        assert body.startswith("nobody")
        status, _, body = self.call(app, "/auth/second-factor", {"cookie": headers["cookies"]})
        assert status == 200
        assert 'name="word"' in body

    def test_errors(self, app: Asok) -> None:
        assert self.call(app, "/fail")[0] == 429
        assert self.call(app, "/stop")[0] == 404
        assert self.call(app, "/boom")[0] == 500
        assert self.call(app, "/go")[1]["location"] == "/elsewhere"


class TestStarting:
    def test_registered_by_hand_first(self, tmp_path: Path) -> None:
        """The usual idiom of extensions, and then Asok's."""
        with asok_app(tmp_path, extension=False) as app:
            extension = AuthExtension()
            extension.init_app(app)
            auth = extension.auth
            app.register_extension(extension)
            extension.init_app(app)
            assert extension.auth is auth, "started once"
            assert TestClient(app).get("/auth/login").status_code == 200
            extension.close()

    def test_registered_twice(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False) as app:
            extension = AuthExtension(app)
            app.register_extension(extension)
            app.register_extension(AuthExtension())
            assert app.extensions["AuthExtension"] is extension
            assert TestClient(app).get("/auth/login").status_code == 200
            extension.close()

    def test_two_extensions(self, tmp_path: Path) -> None:
        class Mine(AuthExtension):
            pass

        with asok_app(tmp_path) as app, pytest.raises(ConfigurationError, match="Two AuthExtensions"):
            app.register_extension(Mine())

    def test_two_apps_in_one_process(self, tmp_path: Path) -> None:
        """Each has its own; an app without the extension is as it was."""
        with (
            asok_app(tmp_path / "a", pages=PAGES, plugins=[Plugin()]) as first,
            asok_app(tmp_path / "b", plugins=[]) as second,
            asok_app(
                tmp_path / "c",
                extension=False,
                pages={
                    "kind.py": "def get(request):\n    return request.auth.magic.__module__\n",
                    "enter.py": PAGES["enter.py"].replace("request.query", "request.args"),
                    "posted.py": PAGES["posted.py"],
                    "leave.py": PAGES["leave.py"],
                    "recent.py": RECENT,
                },
            ) as plain,
        ):
            assert "badge here" in TestClient(first).get("/auth/login").text
            assert "badge here" not in TestClient(second).get("/auth/login").text
            client = TestClient(plain)
            assert client.get("/auth/login").status_code == 404
            assert client.get("/kind").text.startswith(MagicLink.__module__)
            assert home(client) == "nobody"
            MODELS_REGISTRY["User"].create(email="ada@example.org")
            client.get("/enter?as=ada@example.org")
            assert home(client) == "ada@example.org"
            assert client.post("/posted").status_code == 403
            recent = client.get("/recent")
            assert recent.status_code == 500, "what needs a recent login has none to ask for"
            assert "got in" not in recent.text
            client.get("/leave")
            assert home(client) == "nobody"

    def test_no_user_model(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False) as app:
            app.config["AUTH_MODEL"] = "Person"
            with pytest.raises(
                ConfigurationError, match=r"no user model 'Person'. Create src/models/person.py"
            ):
                app.register_extension(AuthExtension())

    @pytest.mark.parametrize(
        ("auth", "message"),
        [
            (
                {"STATE_STORE": "sqlight:///x"},
                "asks for 'sqlight', which no plugin gives; there is: .*Did you mean 'sqlite'",
            ),
            ({"MAIL_TRANSPORT": "pigeon"}, "asks for 'pigeon', which no plugin gives"),
            ({"MAGIC_LINK": {"LIFETIEM": 1}}, "Did you mean 'LIFETIME'"),
        ],
    )
    def test_a_setting_that_is_wrong(self, tmp_path: Path, auth: dict[str, object], message: str) -> None:
        with pytest.raises(SettingError, match=message), asok_app(tmp_path, auth=auth):
            pass

    def test_a_short_key_outside_debug(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False, environ={"DEBUG": "false"}) as app:
            app.config["SECRET_KEY"] = "short"
            with pytest.raises(SettingError, match="SECRET_KEY has 5 bytes; at least 32"):
                app.register_extension(AuthExtension())

    def test_a_path_that_two_parts_want(self, tmp_path: Path) -> None:
        class Clashing(Badge):
            name = "clash"

        class Two(Plugin):
            @hookimpl
            def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
                return [Badge(auth), Clashing(auth)]

        with (
            pytest.raises(PluginError, match="Two parts want the path /auth/badge/echo"),
            asok_app(tmp_path, plugins=[Two()]),
        ):
            pass

    def test_broken_plugins_and_a_working_app(self, tmp_path: Path) -> None:
        class Broken:
            @hookimpl
            def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
                raise RuntimeError("broken inside")

        with asok_app(tmp_path, plugins=[Broken(), Plugin()]) as app:
            assert "badge here" in TestClient(app).get("/auth/login").text
            [info] = app.extensions["AuthExtension"].auth.plugins.registry.quarantined
            assert "RuntimeError: broken inside" in info.reason
        with (
            pytest.raises(PluginError, match="broken inside"),
            asok_app(tmp_path, auth={"STRICT": True}, plugins=[Broken()]),
        ):
            pass


class TestStoreTrouble:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "state" / "auth.sqlite3"

    def test_a_store_that_cannot_be_opened_denies_quickly(self, tmp_path: Path, place: Path) -> None:
        """A16.5.2"""
        place.parent.write_text("a file where a folder should be")
        with asok_app(
            tmp_path, auth={"STATE_STORE": f"sqlite:///{place}"}, environ={"DEBUG": "false"}
        ) as app:
            client = TestClient(app)
            client.get("/auth/login")
            data = {"csrf_token": client.cookies["asok_csrf"], "email": "ada@example.org"}
            response = client.post("/auth/magic/send", data=data)
            assert response.status_code == 503
            assert str(place) not in response.text
            with pytest.raises(StoreUnavailable, match=r"auth\.sqlite3"):
                app.extensions["AuthExtension"].auth.state.get("x")


class TestUsers:
    def test_fields_that_disable(self, app: Asok) -> None:
        users = AsokUsers(app)
        user = MODELS_REGISTRY["User"].find(email="ada@example.org")
        assert users.is_active(user)
        user.is_active = False
        assert not users.is_active(user)
        user.is_active = True
        user.is_banned = True
        assert not users.is_active(user)

    @pytest.mark.parametrize("user_id", ["", "x", "-1", "1e3", str(2**63), "1 OR 1=1", "٣"])
    def test_odd_ids_are_nobody(self, app: Asok, user_id: str) -> None:
        assert AsokUsers(app).by_id(user_id) is None

    def test_addresses(self, app: Asok) -> None:
        users = AsokUsers(app)
        ada = users.by_email("Ada@Example.org")
        assert ada is not None
        assert users.email_of(ada) == "ada@example.org"
        created = users.create("bob@example.org", "Bob")
        assert users.by_id(str(created.id)).name == "Bob"  # type: ignore[union-attr]


class TestAddressesInAnyCase:
    """What an app stored before, with capitals, is found; SECURITY 15: nobody is picked by chance."""

    def test_capitals_in_the_database(self, app: Asok) -> None:
        User = MODELS_REGISTRY["User"]
        grace = User.create(email="Grace@Example.Org")
        users = AsokUsers(app)
        for spelling in ("grace@example.org", "Grace@example.org", "GRACE@EXAMPLE.ORG", "Grace@Example.Org"):
            assert users.by_email(spelling).id == grace.id  # type: ignore[union-attr]
        assert users.by_email("grace@example.com") is None

    def test_two_that_differ_in_case_only(self, app: Asok) -> None:
        User = MODELS_REGISTRY["User"]
        one, other = User.create(email="Grace@example.org"), User.create(email="GRACE@example.org")
        users = AsokUsers(app)
        assert users.by_email("Grace@example.org").id == one.id  # type: ignore[union-attr]
        assert users.by_email("GRACE@example.org").id == other.id  # type: ignore[union-attr]
        assert users.by_email("grace@example.org") is None
        with pytest.raises(LoginRejected, match="Several accounts"):
            users.create("grace@example.org")

    def test_letters_that_only_look_equal_are_not(self, app: Asok) -> None:
        """``K`` in lower case is ``k``, and databases know more such pairs."""
        MODELS_REGISTRY["User"].create(email="\N{KELVIN SIGN}ate@example.org")
        users = AsokUsers(app)
        assert users.by_email("kate@example.org") is None
        assert users.by_email("\N{KELVIN SIGN}ate@example.org") is not None


def test_installed_below_root(tmp_path: Path) -> None:
    """Asok refuses extension pages below /root; ours need no folder of pages."""
    with asok_app(tmp_path) as app:
        assert app._is_safe_extension_path("/root/x") is False
        extension = app.extensions["AuthExtension"]
        assert extension.get_pages_path() is None
        assert extension.get_templates_path() is None
        assert extension.get_static_path() is None
