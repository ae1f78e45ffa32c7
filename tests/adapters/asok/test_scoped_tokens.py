"""What a request with an API token can reach, in real apps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.flows.permissions import can, require
from asok_auth_core.flows.trusted_devices import trust_device, trusted_devices
from asok_auth_core.methods.token import TokenMethod
from asok_auth_core.plugin import LoginMethod, hookimpl
from asok_auth_core.testing.apps import asgi_call, asok_app
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.types import User
from asok_auth_core.web import Route, WebRequest, WebResponse

from .permissions.admin import add_admin

EMAIL = "ada@example.org"
USER_MODEL = """
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
    is_admin = Field.Boolean(default=False)
    role = Field.String(nullable=True)
    permissions = Field.String(nullable=True)
"""
PAGES = {
    "enter.py": """
from models.user import User

def get(request):
    request.login(User.find(id=int(request.query.get("id", 1))))
    return request.redirect("/")
""",
    "web.py": """
from models.user import User

def get(request):
    email = request.auth.magic.verify_token(request, request.query.get("token"))
    request.login(User.find(email=email) if email else request.user)
    return "in"
""",
    "api/make.py": """
def get(request):
    asked = request.query
    token = request.auth.token.create(
        request,
        asked.get("user", request.user.id),
        expires_in=int(asked["expires_in"]) if "expires_in" in asked else None,
        scopes=asked["scopes"].split() if "scopes" in asked else None,
    )
    return request.api({"token": token})
""",
    "api/undone.py": """
from models.user import User

def post(request):
    try:
        with User.transaction():
            request.auth.token.revoke_all(request, 1)
            raise RuntimeError("the app changes its mind")
    except RuntimeError:
        pass
    return request.api({"user": request.user.email})
""",
    "api/unmade.py": """
from models.user import User

def post(request):
    try:
        with User.transaction():
            token = request.auth.token.create(request, 1)
            assert request.auth.token.verify(request, token)
            raise RuntimeError("the app changes its mind")
    except RuntimeError:
        return request.api({"token": token})
""",
    "api/me.py": """
def get(request):
    return request.api({"user": request.user.email if request.user else None})
""",
    "api/role.py": """
def get(request):
    return request.api({"editor": request.has_role("editor"), "admin": request.has_role("admin", "editor")})
""",
}


class Posts(LoginMethod):
    """A plugin's page that checks a permission."""

    name = "posts"

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> list[Route]:
        return [Route("/auth/posts/edit", get=self._edit, post=self._edit)]

    def _edit(self, request: WebRequest) -> WebResponse:
        user = require(self._auth, request, "posts.edit")
        return WebResponse(f"{self._auth.users.email_of(user)} {can(self._auth, request, 'posts.delete')}")


class Plugin:
    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[str]:
        return ["posts.*"]

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [Posts(auth)]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(
        tmp_path,
        pages=PAGES,
        models={"user.py": USER_MODEL},
        plugins=[Plugin()],
        auth={"TRUSTED_DEVICE": 3600},
        environ={"DEBUG": ""},
        config={"APP_URL": "http://localhost"},
    ) as made:
        MODELS_REGISTRY["User"].create(_trust=True, email=EMAIL, role="editor", is_admin=True)
        MODELS_REGISTRY["User"].create(_trust=True, email="bob@example.org")
        yield made


def auth_of(app: Asok) -> Auth:
    auth = app.extensions["AuthExtension"].auth
    assert isinstance(auth, Auth)
    return auth


def token(app: Asok, *, user_id: int = 1, **named: Any) -> str:
    method = auth_of(app).login_methods["token"]
    assert isinstance(method, TokenMethod)
    return method.tokens.create(user_id, **named)[0]


def ask(app: Asok, path: str, bearer: str, method: str = "GET", kind: str = "wsgi") -> tuple[int, str]:
    """Status and text of the answer to a program that accepts JSON."""
    headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json"}
    if kind == "asgi":
        status, _, text = asgi_call(app, method, path, list(headers.items()))
        return status, text
    client = TestClient(app)
    answer = (client.get if method == "GET" else client.post)(path, headers=headers)
    return answer.status_code, answer.text


def made(app: Asok, query: str, bearer: str, kind: str = "wsgi") -> str | None:
    """The token that the page made, or None if it answered 403."""
    status, text = ask(app, f"/api/make?{query}", bearer, kind=kind)
    assert status in (200, 403), text
    return str(json.loads(text)["data"]["token"]) if status == 200 else None


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_short_scoped_token_makes_no_wider_longer_or_foreign_one(app: Asok, kind: str) -> None:
    short = token(app, expires_in=60, scopes=["posts.view"])
    for query in ("expires_in=61", "expires_in=86400", "scopes=*", "scopes=posts.*", "user=2"):
        assert made(app, query, short, kind) is None, query
    child = made(app, "", short, kind)
    assert child is not None
    tokens = auth_of(app).login_methods["token"].tokens  # type: ignore[attr-defined]
    parent, verified = tokens.verify(short), tokens.verify(child)
    assert (verified.scopes, verified.expires_at) == (("posts.view",), parent.expires_at)
    assert made(app, "expires_in=86400", child, kind) is None
    grandchild = made(app, "expires_in=5&scopes=posts.view", child, kind)
    assert grandchild is not None
    assert ask(app, "/api/me", grandchild, kind=kind)[0] == 200
    assert json.loads(ask(app, "/api/me", grandchild, kind=kind)[1])["data"] == {"user": EMAIL}
    tokens.revoke(short)
    for void in (short, child, grandchild):
        assert json.loads(ask(app, "/api/me", void, kind=kind)[1])["data"] == {"user": None}


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize("limit", [{"scopes": ["posts.view"]}, {"expires_in": 60}], ids=["scopes", "expiry"])
def test_a_limited_token_starts_no_session(app: Asok, limit: dict[str, Any]) -> None:
    """The session would know no scopes, and live for weeks."""
    limited = {"Authorization": f"Bearer {token(app, **limit)}"}
    client = TestClient(app)
    assert client.get("/web", headers=limited).status_code == 403
    assert "asok_auth_session" not in client.cookies
    request = FakeRequest("/", auth=auth_of(app))
    link = auth_of(app).login_methods["magic"].api.create_token(request, EMAIL)  # type: ignore[union-attr]
    assert client.get(f"/web?token={link}", headers=limited).status_code == 200, (
        "the link is a proof of its own"
    )
    assert "asok_auth_session" in client.cookies
    whole = {"Authorization": f"Bearer {token(app)}"}
    assert TestClient(app).get("/web", headers=whole).status_code == 200


def test_a_session_makes_any_token_as_documented(app: Asok) -> None:
    client = TestClient(app)
    client.get("/enter")
    for query in ("", "user=2", "scopes=*&expires_in=86400"):
        assert client.get(f"/api/make?{query}").status_code == 200, query


OF_THE_ACCOUNT = [
    ("GET", "/auth/account"),
    ("GET", "/auth/second-factor/enrol"),
    ("POST", "/auth/sessions/end"),
    ("POST", "/auth/trusted-devices/forget"),
    ("POST", "/auth/token/revoke"),
]


def trusting(app: Asok) -> User:
    """Ada, who trusts a browser."""
    user = auth_of(app).users.by_id("1")
    assert user is not None
    trust_device(auth_of(app), FakeRequest(), user)
    return user


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("scopes", [None, ["*"], ["posts.view"], []], ids=repr)
@pytest.mark.parametrize(("method", "path"), OF_THE_ACCOUNT)
def test_no_token_opens_a_page_about_the_account(
    app: Asok, method: str, path: str, scopes: list[str] | None, kind: str
) -> None:
    ada = trusting(app)
    status, text = ask(app, path, token(app, scopes=scopes), method, kind)
    assert (status, json.loads(text)["error"]) == (403, "permission_denied")
    assert EMAIL not in text
    assert len(trusted_devices(auth_of(app), ada)) == 1


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize(("method", "path"), OF_THE_ACCOUNT)
def test_no_impersonator_opens_a_page_about_the_account(app: Asok, method: str, path: str) -> None:
    add_admin(app)
    client, ada = TestClient(app), trusting(app)
    MODELS_REGISTRY["User"].create(_trust=True, email="root@example.org", is_admin=True)
    client.get("/enter?id=3")
    form = {"csrf_token": client.cookies["asok_csrf"]}
    client.post("/admin/impersonate/1", data=form)
    assert client.get("/").text.startswith(EMAIL)
    form = {"csrf_token": client.cookies["asok_csrf"]}
    answer = client.get(path) if method == "GET" else client.post(path, data=form)
    assert answer.status_code == 403
    assert "not available during impersonation" in answer.text
    assert client.get("/api/make").status_code == 403
    assert auth_of(app).login_methods["token"].tokens.list(1) == []  # type: ignore[attr-defined]
    assert len(trusted_devices(auth_of(app), ada)) == 1
    # The administrator's own account is theirs again afterwards.
    client.post("/admin/stop-impersonate", data={"csrf_token": client.cookies["asok_csrf"]})
    assert client.get("/auth/account").status_code == 200


@pytest.mark.requirement("SECURITY-43", "SECURITY-24")
def test_tokens_are_revoked_on_the_account_page_after_a_recent_login_only(app: Asok) -> None:
    auth = auth_of(app)
    client = TestClient(app)
    client.get("/enter")
    auth.login_methods["token"].tokens.create(1)  # type: ignore[attr-defined]
    [listed] = auth.login_methods["token"].tokens.list(1)  # type: ignore[attr-defined]
    form = {"csrf_token": client.cookies["asok_csrf"], "token": listed.id}
    now = auth.clock()
    auth.clock = lambda: now + auth.settings.recent_login + 1
    assert client.post("/auth/token/revoke", data=form).status_code == 403
    auth.clock = lambda: now
    assert client.post("/auth/token/revoke", data=form).status_code == 200  # are you sure?
    assert auth.login_methods["token"].tokens.list(1)  # type: ignore[attr-defined]
    assert client.post("/auth/token/revoke", data={**form, "confirmed": "yes"}).status_code == 303
    assert not auth.login_methods["token"].tokens.list(1)  # type: ignore[attr-defined]


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_scopes_hold_on_a_plugins_page(app: Asok, kind: str, method: str) -> None:
    path = "/auth/posts/edit"
    assert ask(app, path, token(app, scopes=["posts.edit"]), method, kind) == (200, f"{EMAIL} False")
    assert ask(app, path, token(app, scopes=["posts.*"]), method, kind) == (200, f"{EMAIL} True")
    for scopes in (["posts.view"], []):
        status, text = ask(app, path, token(app, scopes=scopes), method, kind)
        assert (status, json.loads(text)["error"]) == (403, "permission_denied")
    client = TestClient(app)
    assert client.get(path).status_code == 401
    client.get("/enter")
    assert client.get(path).text == f"{EMAIL} True"


@pytest.mark.requirement("SECURITY-43")
def test_a_token_with_scopes_has_no_role(app: Asok) -> None:
    def roles(**named: Any) -> object:
        return json.loads(ask(app, "/api/role", token(app, **named))[1])["data"]

    assert roles() == roles(scopes=["*"]) == {"editor": True, "admin": True}
    assert roles(scopes=["posts.*"]) == roles(scopes=[]) == {"editor": False, "admin": False}


@pytest.mark.requirement("SECURITY-43")
def test_a_token_whose_creation_is_rolled_back_is_not_remembered(app: Asok) -> None:
    status, text = ask(app, "/api/unmade", token(app), "POST")
    assert status == 200
    unmade = json.loads(text)["data"]["token"]
    assert json.loads(ask(app, "/api/me", unmade)[1])["data"] == {"user": None}


@pytest.mark.requirement("SECURITY-37", "SECURITY-43")
def test_a_revocation_holds_when_the_app_rolls_its_transaction_back(app: Asok) -> None:
    first = token(app)
    child = made(app, "", first)
    assert child is not None
    other = token(app)
    assert ask(app, "/api/undone", other, "POST")[0] == 200
    for void in (first, child, other):
        assert json.loads(ask(app, "/api/me", void)[1])["data"] == {"user": None}
