"""Bearer tokens in real Asok apps, driven through WSGI and ASGI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.contracts import Signer, StateStore
from asok_auth_core.engine.signers import HS256
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing.apps import asgi_call, asok_app
from asok_auth_core.testing.fakes import FakeRequest

ME = """
def get(request):
    if not request.user:
        return request.api_error("Unauthorized", status=401)
    return request.api({"email": request.user.email})


def post(request):
    return request.api({"posted by": request.user.email if request.user else None})
"""

TOKENS = """
def get(request):
    call = request.args["call"]
    token = request.auth.token
    if call == "permanent":
        return request.api({"token": token.create(request, 1)})
    if call == "temporary":
        return request.api({"token": token.create(request, 1, expires_in=86400)})
    if call == "scoped":
        return request.api({"token": token.create(request, 1, scopes=["posts.view"], name="reader")})
    if call == "wider":
        return request.api({"token": token.create(request, 1, scopes=["posts.*"])})
    if call == "verify":
        return request.api({"user": token.verify(request, request.args.get("token"))})
    if call == "revoke":
        return request.api({"revoked": token.revoke(request, request.args["token"])})
    if call == "revoke_all":
        return request.api({"revoked": token.revoke_all(request, 1)})
    return request.api({"names": [one.name for one in token.list(request, 1)]})
"""

ASYNC = """
async def get(request):
    token = await request.auth.token.acreate(request, 1, expires_in=60)
    return request.api({"user": await request.auth.token.averify(request, token)})
"""

LOGIN = """
def get(request):
    from asok.orm import MODELS_REGISTRY

    request.login(MODELS_REGISTRY["User"].find(id=1))
    return request.api({"csrf": request.csrf_token_value})
"""

CSRF = """
def get(request):
    return request.api({"csrf": request.csrf_token_value})
"""

PUBLISH = """
from asok_auth_core import requires


@requires("posts.edit")
def get(request):
    return request.api({"views": request.user.can("posts.view")})
"""

ROLE_MODEL = """
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True)
    permissions = Field.String(nullable=True)
"""

PAGES = {
    "api/me.py": ME,
    "api/tokens.py": TOKENS,
    "api/async.py": ASYNC,
    "api/login.py": LOGIN,
    "api/csrf.py": CSRF,
    "api/publish.py": PUBLISH,
}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> dict[str, object]:
        """What the page gave to ``request.api``, or the whole document."""
        document = json.loads(self.text)
        return document.get("data", document)


@dataclass
class Wsgi:
    """A browser or program that keeps cookies."""

    app: Asok
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = TestClient(self.app)

    def send(
        self, method: str, path: str, token: str | None = None, header: str | None = None, body: str = ""
    ) -> Answer:
        header = f"Bearer {token}" if token is not None else header
        headers = {} if header is None else {"Authorization": header}
        if method == "GET":
            answer = self.client.get(path, headers=headers)
        else:
            answer = self.client.post(path, headers=headers, data=dict(parse_qsl(body)))
        found = {name.lower(): value for name, value in dict(answer.headers).items()}
        return Answer(answer.status_code, found, answer.text)


@dataclass
class Asgi:
    """The same through the app as an ASGI callable."""

    app: Asok
    cookies: dict[str, str] = field(default_factory=dict)

    def send(
        self, method: str, path: str, token: str | None = None, header: str | None = None, body: str = ""
    ) -> Answer:
        header = f"Bearer {token}" if token is not None else header
        headers = [] if header is None else [("authorization", header)]
        if self.cookies:
            headers.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        status, pairs, text = asgi_call(self.app, method, path, headers, body.encode())
        for name, value in pairs:
            if name == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return Answer(status, dict(pairs), text)


Client = Wsgi | Asgi


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(
        tmp_path, pages=PAGES, environ={"DEBUG": ""}, config={"APP_URL": "https://app.example"}
    ) as app:
        MODELS_REGISTRY["User"].create(email="ann@app.example")
        MODELS_REGISTRY["User"].create(email="bob@app.example")
        yield app


@pytest.fixture(params=[Wsgi, Asgi])
def client(app: Asok, request: pytest.FixtureRequest) -> Callable[[], Client]:
    return lambda: request.param(app)


def made(client: Callable[[], Client], call: str = "temporary") -> str:
    answer = client().send("GET", f"/api/tokens?call={call}")
    assert answer.status == 200, answer.text
    return str(answer.json()["token"])


@pytest.mark.parametrize("call", ["permanent", "temporary", "scoped"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_a_token_authenticates_its_owner(client: Callable[[], Client], call: str, scheme: str) -> None:
    token = made(client, call)
    answer = client().send("GET", "/api/me", header=f"{scheme} {token}")
    assert (answer.status, answer.json()) == (200, {"email": "ann@app.example"})


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "bearer\t",
        "Bearer ,",
        "Bearer a b",
        "Bearer {token} {token}",
        "Bearer {token},Bearer {token}",
        "Bearer {token}, {token}",
        "Bearer {token}x",
        "Bearer {token}=",
        "Bearer .",
        "Bearer ..",
        "Bearer \xe9\xff",
        "Bearer " + "a" * 1_000_000,
        "Bearer " + "." * 1_000_000,
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer 1|0.deadbeef",
    ],
    ids=lambda header: header[:24],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.requirement("SECURITY-8")
def test_a_bad_header_is_401_and_says_so(client: Callable[[], Client], header: str, method: str) -> None:
    """GHSA-xmf8-cvqr-rfgj: a malformed header must not crash."""
    header = header.replace("{token}", made(client))
    answer = client().send(method, "/api/me", header=header)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="api", error="invalid_token"')


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Digest x", "Bearerx y", "tokenbearer abc"])
def test_a_request_without_a_bearer_token_is_401(client: Callable[[], Client], header: str | None) -> None:
    answer = client().send("GET", "/api/me", header=header)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="api"')


def test_a_post_by_token_alone_needs_no_csrf_token(client: Callable[[], Client]) -> None:
    token, browser = made(client), client()
    for _ in range(2):  # a program that keeps cookies must not be given one that then asks for CSRF
        answer = browser.send("POST", "/api/me", token)
        assert (answer.status, answer.json()) == (200, {"posted by": "ann@app.example"})


def test_a_post_with_a_session_cookie_too_needs_a_csrf_token(client: Callable[[], Client]) -> None:
    token, browser = made(client), client()
    csrf = browser.send("GET", "/api/login").json()["csrf"]
    assert browser.send("POST", "/api/me", token).status == 403
    answer = browser.send("POST", "/api/me", token, body=f"csrf_token={csrf}")
    assert (answer.status, answer.json()) == (200, {"posted by": "ann@app.example"})


def test_a_bad_token_with_a_good_session_has_no_user(client: Callable[[], Client]) -> None:
    browser = client()
    browser.send("GET", "/api/login")
    assert browser.send("GET", "/api/me").status == 200
    assert browser.send("GET", "/api/me", token="nonsense").status == 401


@pytest.mark.requirement("SECURITY-23")
def test_a_revoked_token_is_rejected_on_the_next_request(client: Callable[[], Client]) -> None:
    token, other = made(client), made(client)
    assert client().send("GET", "/api/me", token).status == 200
    assert client().send("GET", f"/api/tokens?call=revoke&token={token}").json() == {"revoked": True}
    assert client().send("GET", "/api/me", token).status == 401
    assert client().send("GET", "/api/me", other).status == 200
    assert client().send("GET", "/api/tokens?call=revoke_all").json() == {"revoked": 1}
    assert client().send("GET", "/api/me", other).status == 401


@pytest.mark.requirement("SECURITY-23")
def test_the_token_of_a_disabled_user_is_rejected_on_the_next_request(client: Callable[[], Client]) -> None:
    """django-allauth 2025-65431: tokens survived a disabled user."""
    token = made(client)
    assert client().send("GET", "/api/me", token).status == 200
    user = MODELS_REGISTRY["User"].find(id=1)
    user.is_active = False
    user.save()
    assert client().send("GET", "/api/me", token).status == 401
    user.is_active = True
    user.save()
    assert client().send("GET", "/api/me", token).status == 200


def test_the_token_of_a_deleted_user_is_rejected(client: Callable[[], Client]) -> None:
    token = made(client)
    MODELS_REGISTRY["User"].find(id=1).delete()
    assert client().send("GET", "/api/me", token).status == 401


def test_verify_returns_the_user_id_or_none(client: Callable[[], Client]) -> None:
    token = made(client)
    assert client().send("GET", f"/api/tokens?call=verify&token={token}").json() == {"user": "1"}
    assert client().send("GET", f"/api/tokens?call=verify&token={token}x").json() == {"user": None}
    assert client().send("GET", "/api/tokens?call=verify").json() == {"user": None}


def test_a_scoped_token_cannot_create_one_with_broader_scopes(client: Callable[[], Client]) -> None:
    token = made(client, "scoped")
    assert client().send("GET", "/api/tokens?call=wider", token).status == 403
    narrow = str(client().send("GET", "/api/tokens?call=permanent", token).json()["token"])
    assert client().send("GET", "/api/tokens?call=wider", narrow).status == 403


@pytest.mark.parametrize("kind", [Wsgi, Asgi])
@pytest.mark.requirement("SECURITY-23")
def test_scopes_limit_the_owners_permissions_and_a_removed_permission_counts_at_once(
    tmp_path: Path, kind: type[Wsgi | Asgi]
) -> None:
    options = {"environ": {"DEBUG": ""}, "config": {"APP_URL": "https://app.example"}}
    with asok_app(tmp_path, pages=PAGES, models={"user.py": ROLE_MODEL}, **options) as app:
        user = MODELS_REGISTRY["User"].create(email="ada@app.example", permissions="posts.*")
        tokens = app.extensions["AuthExtension"].auth.login_methods["token"].tokens
        editor, viewer, unlimited, greedy = (
            tokens.create(user.id, scopes=scopes)[0]
            for scopes in (["posts.edit"], ["posts.view"], None, ["*", "users.delete"])
        )

        def publish(token: str | None) -> tuple[int, object]:
            answer = kind(app).send("GET", "/api/publish", token)
            return answer.status, answer.json() if answer.status == 200 else answer.headers.get(
                "www-authenticate"
            )

        assert publish(editor) == (200, {"views": False})
        assert publish(unlimited) == publish(greedy) == (200, {"views": True})
        assert publish(viewer) == (403, 'Bearer realm="api", error="insufficient_scope", scope="posts.edit"')
        assert publish(None) == (401, 'Bearer realm="api"')
        user.permissions = "posts.view"
        user.save()
        assert publish(editor) == publish(unlimited) == publish(greedy) == (403, None)


def test_awaitable_twins(app: Asok) -> None:
    assert Asgi(app).send("GET", "/api/async").json() == {"user": "1"}


def test_the_account_page_lists_and_revokes(app: Asok) -> None:
    browser = Wsgi(app)
    csrf = browser.send("GET", "/api/login").json()["csrf"]
    token = made(lambda: Wsgi(app), "scoped")
    made(lambda: Wsgi(app), "permanent")
    page = browser.send("GET", "/auth/account").text
    assert "reader" in page
    assert "posts.view" in page
    assert "never expires" in page
    assert token not in page
    token_id = page.split('name="token" value="')[1].split('"')[0]
    body = f"csrf_token={csrf}&token={token_id}"
    assert "<h1>Revoke reader?</h1>" in browser.send("POST", "/auth/token/revoke", body=body).text
    assert Wsgi(app).send("GET", "/api/me", token).status == 200
    answer = browser.send("POST", "/auth/token/revoke", body=f"{body}&confirmed=yes")
    assert answer.status == 303
    assert browser.send("POST", "/auth/token/revoke", body=f"token={token_id}").status == 403
    assert Wsgi(app).send("GET", "/api/me", token).status == 401
    assert "reader" not in browser.send("GET", "/auth/account").text


def test_a_user_cannot_revoke_the_token_of_another(app: Asok) -> None:
    tokens = app.extensions["AuthExtension"].auth.login_methods["token"].tokens
    token, record = tokens.create(2, name="bob's")
    browser = Wsgi(app)
    csrf = browser.send("GET", "/api/login").json()["csrf"]
    body = f"csrf_token={csrf}&token={record.id}&confirmed=yes"
    browser.send("POST", "/auth/token/revoke", body=body)
    assert Wsgi(app).send("GET", "/api/me", token).json() == {"email": "bob@app.example"}


def test_revoking_on_the_account_page_needs_a_login(app: Asok) -> None:
    """Neither an anonymous caller nor a token created for other scopes may revoke."""
    tokens = app.extensions["AuthExtension"].auth.login_methods["token"].tokens
    token, record = tokens.create(1, scopes=["posts.view"])
    nobody = Wsgi(app)
    csrf = nobody.send("GET", "/api/csrf").json()["csrf"]
    body = f"csrf_token={csrf}&token={record.id}&confirmed=yes"
    assert nobody.send("POST", "/auth/token/revoke", body=body).status == 401
    assert (
        Wsgi(app).send("POST", "/auth/token/revoke", token, body=f"token={record.id}&confirmed=yes").status
        == 403
    )
    assert Wsgi(app).send("GET", "/api/me", token).status == 200


def test_without_a_user_the_account_page_shows_no_tokens(app: Asok) -> None:
    method = app.extensions["AuthExtension"].auth.login_methods["token"]
    method.tokens.create(1, name="reader")
    assert method.account_block(FakeRequest("/auth/account")) is None


def test_documented_calls_list_tokens_and_report_unknown_ones(app: Asok) -> None:
    made(lambda: Wsgi(app), "scoped")
    made(lambda: Wsgi(app), "permanent")
    assert Wsgi(app).send("GET", "/api/tokens?call=list").json() == {"names": ["reader", None]}
    for token in ("nonsense", "a.b.c"):
        assert Wsgi(app).send("GET", f"/api/tokens?call=revoke&token={token}").json() == {"revoked": False}


def test_jwks_is_empty_for_a_symmetric_signer(app: Asok) -> None:
    answer = Wsgi(app).send("GET", "/.well-known/jwks.json")
    assert (answer.status, answer.json()) == (200, {"keys": []})
    assert answer.headers["content-type"] == "application/jwk-set+json"


@pytest.mark.requirement("SECURITY-32")
def test_a_store_that_does_not_answer_grants_nothing(tmp_path: Path) -> None:
    class Failing(StateStore):
        up = True

        def put(self, key: str, value: bytes, ttl: int) -> None:
            self._ask()

        def get(self, key: str) -> bytes | None:
            self._ask()
            return b"mark"

        def take(self, key: str) -> bytes | None:
            self._ask()
            return None

        def add(self, key: str, value: bytes, ttl: int) -> bool:
            self._ask()
            return True

        def incr(self, key: str, ttl: int) -> int:
            self._ask()
            return 1

        def delete(self, key: str) -> None:
            self._ask()

        def _ask(self) -> None:
            if not self.up:
                raise StoreUnavailable("The store is down.")

    store = Failing()

    class Plugin:
        @hookimpl
        def asok_auth_state_stores(self) -> dict[str, Callable[[str], StateStore]]:
            return {"failing": lambda url: store}

    with asok_app(
        tmp_path,
        pages=PAGES,
        auth={"STATE_STORE": "failing:"},
        plugins=[Plugin()],
        environ={"DEBUG": ""},
        config={"APP_URL": "https://app.example"},
    ) as app:
        MODELS_REGISTRY["User"].create(email="ann@app.example")
        token = made(lambda: Wsgi(app))
        assert Wsgi(app).send("GET", "/api/me", token).status == 200
        store.up = False
        assert Wsgi(app).send("GET", "/api/me", token).status == 401
        store.up = True
        assert Wsgi(app).send("GET", "/api/me", token).status == 200


class RemoteSigner(Signer):
    """The signer of a service that may be down."""

    algorithm = "ES384"
    up = True

    def __init__(self, material: bytes) -> None:
        self._inner = HS256(material)

    def sign(self, message: bytes) -> bytes:
        return self._inner.sign(self._ask(message))

    def verify(self, message: bytes, signature: bytes) -> bool:
        return self._inner.verify(self._ask(message), signature)

    def _ask(self, message: bytes) -> bytes:
        if not RemoteSigner.up:
            raise ConnectionError("canary of the service")
        return message


class RemoteSigning:
    @hookimpl
    def asok_auth_signers(self) -> dict[str, type[Signer]]:
        return {"ES384": RemoteSigner}


@pytest.mark.requirement("SECURITY-32")
@pytest.mark.parametrize("interface", [Wsgi, Asgi])
def test_while_its_signer_is_down_no_token_is_accepted_and_none_is_made(
    tmp_path: Path, interface: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asok_app(
        tmp_path,
        pages=PAGES,
        auth={"SIGNER": "ES384"},
        plugins=[RemoteSigning()],
        environ={"DEBUG": ""},
        config={"APP_URL": "https://app.example"},
    ) as app:
        MODELS_REGISTRY["User"].create(email="ann@app.example")
        token = made(lambda: interface(app))
        again = made(lambda: interface(app))
        assert interface(app).send("GET", "/api/me", token).status == 200
        monkeypatch.setattr(RemoteSigner, "up", False)
        down = interface(app).send("GET", "/api/me", again)
        assert down.status == 401
        unsigned = interface(app).send("GET", "/api/tokens?call=permanent")
        assert unsigned.status == 503
        assert "signer_unavailable" in unsigned.text
        assert "canary" not in down.text + unsigned.text
        monkeypatch.setattr(RemoteSigner, "up", True)
        assert interface(app).send("GET", "/api/me", again).status == 200
