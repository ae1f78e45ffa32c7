"""Only proofs that no browser sends by itself need no CSRF token."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.errors import CredentialRejected, PluginFailed
from asok_auth_core.methods.token import TokenMethod
from asok_auth_core.plugin import LoginMethod, hookimpl
from asok_auth_core.testing.apps import asgi_call, asok_app
from asok_auth_core.types import Authentication
from asok_auth_core.web import Route, WebRequest, WebResponse

from .apps import ENTER_PAGE, TOKEN_PAGE

EMAIL = "ada@example.org"
PAGES = {
    "posted.py": """
def post(request):
    return "done by " + (request.user.email if request.user else "nobody")
""",
    "api/posted.py": """
def post(request):
    return "done by " + (request.user.email if request.user else "nobody")
""",
    "enter.py": ENTER_PAGE,
    "token.py": TOKEN_PAGE,
}


class ByHeader(LoginMethod):
    """Proves the email address in a header of the request."""

    header = ""
    ambient: object = True

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def email(self, request: WebRequest) -> str | None:
        return request.headers.get(self.header)

    def authenticate(self, request: WebRequest) -> Authentication | None:
        email = self.email(request)
        user = None if email is None else self._auth.users.by_email(email)
        return None if user is None else Authentication(user, ambient=cast("bool", self.ambient))


class Basic(ByHeader):
    """RFC 7617; a browser repeats the credentials with every request."""

    name = "basic"

    def email(self, request: WebRequest) -> str | None:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        if rest == b64encode(b"wrong:wrong").decode():
            raise CredentialRejected("The password is incorrect.")
        return EMAIL

    def routes(self) -> list[Route]:
        return [Route("/auth/basic", get=self.ask), Route("/auth/basic/hook", post=self.told, csrf=False)]

    def ask(self, request: WebRequest) -> WebResponse:
        return WebResponse("", 401, headers=(("www-authenticate", 'Basic realm="app"'),))

    def told(self, request: WebRequest) -> WebResponse:
        return WebResponse(f"told by {getattr(request.user, 'email', 'nobody')}")


class Certificate(ByHeader):
    name = "certificate"
    header = "X-Client-Cert-Email"


class Proxy(ByHeader):
    name = "proxy"
    header = "X-Forwarded-User"


class Cookie(ByHeader):
    name = "cookie"

    def email(self, request: WebRequest) -> str | None:
        return request.cookies.get("sso")


class Odd(ByHeader):
    """Returns ``answer``, as a plugin with a mistake would."""

    name = "odd"
    header = "X-Odd"
    answer: Callable[[Any], object]

    def authenticate(self, request: WebRequest) -> Authentication | None:
        if "X-Odd" not in request.headers:
            return None
        return cast("Authentication", self.answer(self._auth.users.by_email(EMAIL)))


class Plugin:
    def __init__(self, *methods: type[LoginMethod]) -> None:
        self.methods = methods

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [method(auth) for method in self.methods]  # type: ignore[call-arg]


Send = Callable[..., tuple[int, dict[str, str], str]]


@contextmanager
def started(root: Path, *methods: type[LoginMethod], debug: str = "") -> Iterator[Asok]:
    environ, config = {"DEBUG": debug}, {"APP_URL": "http://localhost"}
    with asok_app(root, pages=PAGES, plugins=[Plugin(*methods)], environ=environ, config=config) as app:
        MODELS_REGISTRY["User"].create(email=EMAIL)
        yield app


def wsgi(app: Asok, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    client = TestClient(app)
    response = (client.get if method == "GET" else client.post)(path, headers=headers)
    found = {name.lower(): value for name, value in dict(response.headers).items()}
    return response.status_code, found, response.text


def asgi(app: Asok, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    status, pairs, text = asgi_call(app, method, path, list(headers.items()))
    return status, dict(pairs), text


@pytest.fixture(params=[wsgi, asgi])
def send(request: pytest.FixtureRequest) -> Send:
    return cast("Send", request.param)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with started(tmp_path, Basic, Certificate, Proxy, Cookie) as made:
        yield made


AMBIENT = {
    "basic": {"Authorization": "Basic YWRhOnB3"},
    "certificate": {"X-Client-Cert-Email": EMAIL},
    "proxy": {"X-Forwarded-User": EMAIL},
    "cookie": {"Cookie": f"sso={EMAIL}"},
}


def bearer(app: Asok) -> dict[str, str]:
    method = app.extensions["AuthExtension"].auth.login_methods["token"]
    assert isinstance(method, TokenMethod)
    return {"Authorization": f"Bearer {method.tokens.create(1, expires_in=60)[0]}"}


def session_cookie(app: Asok) -> str:
    client = TestClient(app)
    assert client.get("/enter").status_code == 302
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items() if "csrf" not in name)


@pytest.mark.requirement("SECURITY-39")
@pytest.mark.parametrize("path", ["/posted", "/api/posted"])
@pytest.mark.parametrize("proof", AMBIENT)
def test_a_proof_that_a_browser_sends_by_itself_needs_a_csrf_token(
    app: Asok, send: Send, proof: str, path: str
) -> None:
    assert send(app, "GET", "/", AMBIENT[proof])[2].startswith(EMAIL), "the plugin does not work"
    status, _, text = send(app, "POST", path, AMBIENT[proof])
    assert (status, "done" in text) == (403, False)
    token = "ab" * 32
    cookies = f"asok_csrf={token}; {AMBIENT[proof].get('Cookie', '')}"
    both = {**AMBIENT[proof], "Cookie": cookies, "X-CSRF-Token": token}
    assert send(app, "POST", path, both)[2].startswith(f"done by {EMAIL}")


@pytest.mark.requirement("SECURITY-39")
def test_a_bearer_token_needs_none_without_cookies_and_one_with_a_session(app: Asok, send: Send) -> None:
    token = bearer(app)
    assert send(app, "POST", "/api/posted", token)[::2] == (200, f"done by {EMAIL}")
    with_session = {**token, "Cookie": session_cookie(app)}
    status, _, text = send(app, "POST", "/api/posted", with_session)
    assert (status, "done" in text) == (403, False)


@pytest.mark.requirement("SECURITY-39")
@pytest.mark.parametrize("ambient", [0, None, "", "no", [], ()])
def test_only_false_itself_says_that_a_proof_is_not_ambient(
    tmp_path: Path, ambient: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Sloppy(Proxy):
        pass

    Sloppy.ambient = ambient
    with started(tmp_path, Sloppy) as app:
        status, _, text = wsgi(app, "POST", "/api/posted", AMBIENT["proxy"])
    assert (status, "done" in text) == (PluginFailed.status, False)
    assert "ambient is neither True nor False" in caplog.text


@pytest.mark.requirement("SECURITY-39")
@pytest.mark.parametrize("proof", [*AMBIENT, "session"])
def test_a_route_without_csrf_check_does_not_know_ambient_users(app: Asok, send: Send, proof: str) -> None:
    headers = {"Cookie": session_cookie(app)} if proof == "session" else AMBIENT[proof]
    assert send(app, "GET", "/", headers)[2].startswith(EMAIL)
    assert send(app, "POST", "/auth/basic/hook", headers)[::2] == (200, "told by nobody")
    # And the session is in force afterwards.
    assert send(app, "GET", "/", headers)[2].startswith(EMAIL)


@pytest.mark.requirement("SECURITY-39")
def test_a_route_without_csrf_check_knows_the_user_of_a_token(app: Asok, send: Send) -> None:
    assert send(app, "POST", "/auth/basic/hook", bearer(app))[2] == f"told by {EMAIL}"


def test_a_plugins_own_challenge_is_the_only_one(app: Asok, send: Send) -> None:
    status, headers, _ = send(app, "GET", "/auth/basic", {})
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="app"')


def test_a_rejected_proof_that_is_no_token_is_not_called_an_invalid_token(app: Asok, send: Send) -> None:
    wrong = {"Authorization": f"Basic {b64encode(b'wrong:wrong').decode()}", "Cookie": session_cookie(app)}
    status, headers, _ = send(app, "GET", "/auth/account", wrong)
    assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="api"')


async def late(user: object) -> object:
    return Authentication(cast("Any", user), ambient=False)


INVALID = {
    "a user": (lambda user: user, "returned User, not an Authentication"),
    "True": (lambda user: True, "returned bool"),
    "False": (lambda user: False, "returned bool"),
    "a text": (lambda user: "", "returned str"),
    "a coroutine": (late, "returned coroutine"),
    "a look-alike": (
        lambda user: SimpleNamespace(user=user, scopes=None, ambient=False, expires_at=None),
        "returned SimpleNamespace",
    ),
    "no user": (lambda user: Authentication(cast("Any", None), ambient=False), "without a stored user"),
    "one scope as a text": (
        lambda user: Authentication(user, cast("Any", "posts.view"), ambient=False),
        "scopes are neither",
    ),
    "other scopes": (
        lambda user: Authentication(user, cast("Any", (1,)), ambient=False),
        "scopes are neither",
    ),
    "a time as a text": (
        lambda user: Authentication(user, expires_at=cast("Any", "soon"), ambient=False),
        "expires_at is neither",
    ),
}


@pytest.mark.requirement("SECURITY-39", "SECURITY-32")
@pytest.mark.parametrize("mistake", INVALID)
def test_anything_but_an_authentication_logs_nobody_in_and_names_the_method(
    tmp_path: Path, send: Send, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, problem = INVALID[mistake]

    class Mistaken(Odd):
        pass

    Mistaken.answer = staticmethod(answer)  # type: ignore[assignment]
    with started(tmp_path, Mistaken, debug="true") as app, caplog.at_level(logging.ERROR):
        both = {"X-Odd": "1", "Cookie": session_cookie(app)}
        assert send(app, "GET", "/", both)[2].startswith("nobody")
        assert send(app, "GET", "/auth/account", both)[0] == 401
        status, _, text = send(app, "POST", "/api/posted", {"X-Odd": "1"})
        assert status == PluginFailed.status
        assert "Mistaken.authenticate failed with TypeError" in text
        assert send(app, "GET", "/", {})[0] == 200
    assert f"{__name__}." in caplog.text
    assert "Mistaken.authenticate failed" in caplog.text
    assert problem in caplog.text


@pytest.mark.requirement("SECURITY-39")
def test_an_expired_proof_logs_nobody_in(tmp_path: Path, send: Send) -> None:
    class Stale(Odd):
        @staticmethod
        def answer(user: Any) -> object:  # type: ignore[override]
            return Authentication(user, ambient=False, expires_at=1.0)

    with started(tmp_path, Stale) as app:
        assert send(app, "POST", "/api/posted", {"X-Odd": "1"})[0] == 401
        assert send(app, "GET", "/", {"X-Odd": "1"})[2].startswith("nobody")


@pytest.mark.requirement("SECURITY-39")
def test_what_needs_no_csrf_token_changes_nothing(app: Asok) -> None:
    """Unchecked methods on each of our pages, with all that a browser sends."""
    app_auth = app.extensions["AuthExtension"].app_auth
    method = app_auth.auth.login_methods["token"]
    assert isinstance(method, TokenMethod)
    method.tokens.create(1, name="kept")
    cookie = session_cookie(app)

    def kept() -> list[tuple[object, ...]]:
        rows = MODELS_REGISTRY["User"].get_engine().execute("SELECT * FROM auth_credentials ORDER BY id")
        fixed = [tuple(value for name, value in dict(row).items() if name != "last_used_at") for row in rows]
        return [*fixed, *((user.id, user.email) for user in MODELS_REGISTRY["User"].all())]

    before = kept()
    kinds = {"account_browser", "account_profile", "api_token", "installation", "session"}
    assert {row[2] for row in before if len(row) > 2} == kinds
    assert len(before) == len(kinds) + 1, "one of each, and the user"
    for path in app_auth.router.paths:
        for verb in ("GET", "HEAD", "OPTIONS", "post", "SEARCH"):
            for headers in ({"Cookie": cookie}, AMBIENT["basic"], AMBIENT["proxy"]):
                status, _, _ = asgi_call(app, verb, path, list(headers.items()))
                assert status < 500, (verb, path)
                assert kept() == before, (verb, path)
