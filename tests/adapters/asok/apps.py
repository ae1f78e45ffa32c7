"""The apps that the adapter's tests drive: models, pages and one plugin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from asok import Asok
from asok.orm import MODELS_REGISTRY, close_all_db_connections
from asok.orm.engines import _ENGINES_CACHE, get_engine
from asok.testing import TestClient
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import AuthError, TokenExpired
from asok_auth_core.plugin import Event, Grant, LoginMethod, SecondFactor, hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import Authentication, User
from asok_auth_core.web import Route, WebRequest, WebResponse

T = TypeVar("T")

USER_MODEL = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True, nullable=False)
    name = Field.String()
    password = Field.Password()
    is_active = Field.Boolean(default=True)
    is_admin = Field.Boolean(default=False, protected=True)
    role = Field.String(nullable=True)
    permissions = Field.String(nullable=True)
    totp_secret = Field.String(nullable=True, hidden=True, protected=True)
    totp_enabled = Field.Boolean(default=False, protected=True)
    backup_codes = Field.String(nullable=True, hidden=True, protected=True)
"""

POST_MODEL = """
from asok import Field, Model

class Post(Model):
    title = Field.String()

    class Admin:
        slug = "posts"
"""

ROLE_MODEL = """
from asok import Field, Model

class Role(Model):
    name = Field.String(unique=True, nullable=False)
    label = Field.String()
    permissions = Field.String(default="")
"""

PERMISSION_MODELS = {"user.py": USER_MODEL, "role.py": ROLE_MODEL, "post.py": POST_MODEL}

ENTER_PAGE = """
from models.user import User

def get(request):
    request.login(User.find(id=1))
    return request.redirect("/")
"""

TOKEN_PAGE = """
def get(request):
    return request.auth.token.create(request, 1, expires_in=60)
"""

DOCUMENTED_PAGE = """
def get(request):
    if request.user.can("posts.edit"):
        return "yes"
    return "no"
"""

RECENT_PAGE = """
from asok_auth_core import requires_recent_login

@requires_recent_login
def get(request):
    return "got in"
"""

PAGES = {
    "enter.py": """
from models.user import User

def get(request):
    next_url = request.query.get("next")
    request.login(User.find(email=request.query.get("as")), next_url=next_url)
    return request.redirect(next_url or "/")
""",
    "note.py": """
def get(request):
    if "keep" in request.query:
        request.session["note"] = request.query["keep"]
    return request.session.get("note") or "nothing"
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
    return request.redirect("/other")
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
    "posted_async.py": """
async def post(request):
    return "done " + (request.user.email if request.user else "nobody")
""",
    "documented.py": DOCUMENTED_PAGE,
    "awaited.py": """
async def get(request):
    reason = await request.user.aexplain("posts.edit")
    allowed = await request.user.acan("posts.edit")
    return f"{allowed} {reason.allowed}"
""",
    "explained.py": """
def get(request):
    return str(request.user.explain(request.query.get("what")))
""",
    "resource.py": """
def get(request):
    return str(request.user.can("posts.edit", request.query.get("post")))
""",
    "others.py": """
from models.user import User

def get(request):
    return str([user.can("posts.edit") for user in User.query().order_by("id").get()])
""",
    "bad.py": """
def get(request):
    asked = ["", ".", "a.", ".a", "**", " ", "x" * 10240, "p\\u043ests.edit", None, 5, []]
    return str([request.user.can(permission) for permission in asked])
""",
    "guarded.py": """
from asok_auth_core import requires

@requires("posts.edit")
def get(request):
    return "got in"
""",
    "guarded_async.py": """
from asok_auth_core import requires

@requires("posts.edit")
async def get(request):
    return "got in"
""",
    "api/guarded.py": """
from asok_auth_core import requires

@requires("posts.edit")
def get(request):
    return request.api({"got in": True})
""",
    "menu/page.html": "{% if can('posts.edit') %}edit{% else %}look{% endif %}",
}


class Badge(LoginMethod):
    """Proves a request by ``X-Badge: email[;scope,scope]``.

    It has pages, an API, and a route without CSRF check.
    """

    name = "badge"

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def authenticate(self, request: WebRequest) -> Authentication | None:
        badge, _, scopes = request.headers.get("X-Badge", "").partition(";")
        if not badge:
            return None
        if badge == "old":
            raise TokenExpired("This badge has expired.")
        user = self.auth.users.by_email(badge)
        return user and Authentication(user, tuple(scopes.split(",")) if scopes else None, ambient=False)

    def routes(self) -> list[Route]:
        return [
            Route("/auth/badge/echo", get=self.echo, post=self.echo),
            Route("/auth/badge/foreign", post=self.echo, csrf=False),
        ]

    def echo(self, request: WebRequest) -> WebResponse:
        request.set_cookie("badge", "1", max_age=60)
        body = f"{request.method} {sorted(request.form)} {request.client_ip} {request.base_url}"
        return WebResponse(body, content_type="text/plain")

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
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

    def reset(self, user: User) -> None:
        return

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="word">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("word") == "swordfish"


class Plugin:
    """Grants by email address, denies by resource, and brings Badge, Plain and Word."""

    def __init__(self) -> None:
        self.grants: dict[str, list[str]] = {}
        self.denied: set[str] = set()
        self.events: list[Event] = []
        self.asked = 0
        self.error: Exception | None = None

    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[str | Grant] | None:
        self.asked += 1
        if self.error:
            raise self.error
        return [Grant(pattern, "team") for pattern in self.grants.get(getattr(user, "email", ""), [])]

    @hookimpl
    def asok_auth_denies(self, user: User, permission: str, resource: object) -> str | None:
        return "locked" if permission in self.denied or resource == "locked" else None

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [Badge(auth), Plain()]

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [Word()]

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


@contextmanager
def emptied(url: str | None) -> Iterator[None]:
    """Drop the users and credentials at ``url``; close Asok's pool in the end."""
    if url is not None:
        engine = get_engine(url)
        engine.execute("DROP TABLE IF EXISTS users, auth_credentials")
        engine.close_connections()
    yield
    pool = getattr(_ENGINES_CACHE.pop(url, None), "_pool", None)
    if pool is not None:
        pool.close()


def started(root: Path, plugin: Plugin, **arguments: Any) -> AbstractContextManager[Asok]:
    """An app below ``root`` with PAGES and ``plugin``.

    ``arguments`` are those of ``asok_app``.
    """
    return asok_app(root, pages=PAGES, plugins=[plugin], **arguments)


def make_user(email: str, **fields: object) -> Any:
    return MODELS_REGISTRY["User"].create(_trust=True, email=email, password="Correct-horse-1", **fields)


def logged_in(app: Asok, email: str) -> TestClient:
    client = TestClient(app)
    assert client.get(f"/enter?as={email}").status_code == 302
    return client


def first_line(client: TestClient, path: str, **arguments: object) -> str:
    response = client.get(path, **arguments)
    assert response.status_code == 200, response.text
    return response.text.splitlines()[0]


def home(client: TestClient, **arguments: object) -> str:
    return client.get("/", **arguments).text.splitlines()[0]


def in_thread(work: Callable[[], T]) -> T:
    """The result of ``work`` in another thread, which has another connection."""
    found: list[T] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            close_all_db_connections()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    return found[0]
