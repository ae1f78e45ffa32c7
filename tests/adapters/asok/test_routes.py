"""A plugin's routes behind real servers: methods, parameters, JSON, CSRF."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import uvicorn
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.engine.strict_json import MAX_DEPTH
from asok_auth_core.errors import LoginRequired
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.waiting import PATIENCE, wait_until
from asok_auth_core.web import MAX_JSON_BYTES, Route, WebRequest, WebResponse

from .apps import ENTER_PAGE, TOKEN_PAGE

PAGES = {
    "enter.py": ENTER_PAGE,
    "token.py": TOKEN_PAGE,
    "[slug]/page.py": """
def get(request):
    return "page " + request.params["slug"]
""",
    "things/mine.py": """
def get(request):
    return "the app's own"
""",
}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
BYTES = bytes(range(256))
JSON_TYPE = {"Content-Type": "application/json"}


class Things:
    """A plugin with routes and nothing else."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl
    def asok_auth_start(self, auth: Auth) -> None:
        self.calls.append("start")

    @hookimpl
    def asok_auth_stop(self, auth: Auth) -> None:
        self.calls.append("stop")

    @hookimpl
    def asok_auth_routes(self, auth: Auth) -> list[Route]:
        everything = dict.fromkeys(("get", "post", "put", "patch", "delete"), self.told)
        return [
            Route("/things", **everything, json=True),
            Route("/things/{id}", **everything, json=True),
            Route("/things/{id}/parts/{part}", get=self.told),
            Route("/hook/{id}", post=self.told, put=self.told, patch=self.told, delete=self.told, csrf=False),
            Route("/things/new", get=lambda request: WebResponse("new")),
            Route("/things/mine", get=lambda request: WebResponse("the plugin's")),
            Route("/echo", get=self.locked, post=self.echo),
            Route("/api/echo", post=self.echo),
            Route("/bytes", get=lambda request: WebResponse(BYTES, content_type="image/png")),
            Route("/bytes/public", get=self.public),
            Route("/gone", delete=lambda request: WebResponse("", 204)),
            Route("/data", get=lambda request: WebResponse.json({"café": [1, None]}, 201)),
            Route("/locked", get=self.locked, json=True),
            Route("/café", get=lambda request: WebResponse(request.path)),
            Route("/wrong", get=lambda request: "not an answer"),  # type: ignore[arg-type, return-value]
        ]

    def told(self, request: WebRequest) -> WebResponse:
        user = None if request.user is None else request.user.id
        return WebResponse.json({"method": request.method, "user": user, **request.params})

    def echo(self, request: WebRequest) -> WebResponse:
        return WebResponse.json(request.json)

    def public(self, request: WebRequest) -> WebResponse:
        return WebResponse(BYTES, 200, "image/png", (("Cache-Control", "public, max-age=60"),))

    def locked(self, request: WebRequest) -> WebResponse:
        raise LoginRequired("Please log in first.")


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def wsgi(app: Asok) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, Threads, Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


@contextmanager
def asgi(app: Asok) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "uvicorn has started")
        [listening] = server.servers
        yield listening.sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> object:
        assert self.headers["Content-Type"].startswith("application/json"), self.body[:300]
        return json.loads(self.body)


@dataclass
class Client:
    """Sends what it is told, byte for byte, with the cookies it was sent."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        own = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        connection.request(method, path, body, {**(own if self.cookies else {}), **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def safe(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """As :meth:`send`, with the CSRF token of this browser."""
        if "asok_csrf" not in self.cookies:
            self.send("GET", "/enter")
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(method, path, body, {"X-CSRF-Token": self.cookies["asok_csrf"], **given})

    def post_json(self, body: bytes, path: str = "/echo", kind: str = "application/json") -> Answer:
        return self.safe("POST", path, body, Content_Type=kind)


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture(params=[wsgi, asgi])
def client(request: pytest.FixtureRequest, tmp_path: Path, things: Things) -> Iterator[Client]:
    environ = {"DEBUG": "false", "APP_URL": "http://127.0.0.1"}
    with asok_app(tmp_path, plugins=[things], pages=PAGES, environ=environ) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        with request.param(app) as port:
            yield Client(port)


@pytest.mark.parametrize("method", ["GET", *UNSAFE])
@pytest.mark.parametrize("path", ["/things", "/things/"])
def test_each_method_has_its_handler(client: Client, method: str, path: str) -> None:
    answer = client.safe(method, path)
    assert (answer.status, answer.json) == (200, {"method": method, "user": 1})
    assert answer.headers["Cache-Control"] == "no-store"


def test_get_answers_head_without_a_body(client: Client) -> None:
    for path in ("/things", "/things/7", "/bytes", "/bytes/public"):
        answer, full = client.send("HEAD", path), client.send("GET", path)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"] == full.headers["Content-Type"]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PURGE", "post", "__CLASS__"])
def test_any_other_method_gets_405_with_the_methods_there_are(client: Client, method: str) -> None:
    every = "GET, HEAD, POST, PUT, PATCH, DELETE"
    for path, allowed in (("/things/7", every), ("/gone", "DELETE"), ("/bytes", "GET, HEAD")):
        answer = client.send(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allowed), (path, answer.body[:200])
    assert client.safe("PUT", "/echo").headers["Allow"] == "GET, HEAD, POST"


@pytest.mark.requirement("SECURITY-39")
@pytest.mark.parametrize("method", UNSAFE)
def test_an_unsafe_method_needs_a_csrf_token(client: Client, method: str) -> None:
    client.send("GET", "/enter")
    for path in ("/things", "/things/7"):
        for headers in ({}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": "é", **JSON_TYPE}):
            answer = client.send(method, path, b"{}", headers)
            assert answer.status == 403
            assert isinstance(answer.json, dict)
            assert answer.json["error"] == "form_expired"
            assert answer.headers["Cache-Control"] == "no-store"


def test_a_missing_csrf_token_is_reported_alike_below_api(client: Client) -> None:
    client.send("GET", "/enter")
    answer = client.send("POST", "/api/echo", b"{}", JSON_TYPE)
    assert answer.status == 403
    assert isinstance(answer.json, dict)
    assert answer.json["error"] == "form_expired"


@pytest.mark.requirement("SECURITY-39")
@pytest.mark.parametrize("method", UNSAFE)
def test_without_a_csrf_check_a_session_counts_for_nothing(client: Client, method: str) -> None:
    client.send("GET", "/enter")
    assert client.send(method, "/hook/7").json == {"method": method, "user": None, "id": "7"}


@pytest.mark.parametrize("method", UNSAFE)
def test_a_bearer_token_needs_no_csrf_token(client: Client, method: str) -> None:
    token = client.send("GET", "/token").body.decode()
    client.cookies.clear()
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/hook/7", "/things/7"):
        assert client.send(method, path, headers=headers).json == {"method": method, "user": 1, "id": "7"}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("7", "7"),
        ("caf%C3%A9", "café"),
        ("%F0%9F%94%91", "🔑"),
        ("a%20b%3Fc", "a b?c"),
        ("%2541", "%41"),
        ("x%27%20OR%201%3D1", "x' OR 1=1"),
        ("{id}", "{id}"),
        ("a+b", "a+b"),
        ("a" * 3000, "a" * 3000),
    ],
)
def test_a_parameter_is_decoded_once(client: Client, sent: str, read: str) -> None:
    assert client.send("GET", f"/things/{sent}").json == {"method": "GET", "user": None, "id": read}


@pytest.mark.parametrize(
    "path",
    [
        *(
            f"/things/{sent}"
            for sent in ("%E9", "%FF%FE", "%ED%A0%80", "%00", "a%0Ab", "%7F", "..%2Fx", "%2Fx")
        ),
        *(
            "/things/%2E%2E/parts/1",
            "/things/7/parts",
            "/things/7/parts/1/2",
            "/things//parts/1",
            "/things/a%2Fb",
        ),
    ],
)
def test_a_path_that_does_not_fit_is_not_found(client: Client, path: str) -> None:
    assert client.send("GET", path).status == 404


def test_several_parameters_and_exact_paths_first(client: Client) -> None:
    answer = client.send("GET", "/things/a/parts/b")
    assert answer.json == {"method": "GET", "user": None, "id": "a", "part": "b"}
    assert client.send("GET", "/things/new").body == b"new"
    assert client.send("GET", "/caf%C3%A9").body == "/café".encode()


def test_the_apps_own_page_comes_first_and_its_parameters_last(client: Client) -> None:
    assert client.send("GET", "/things/mine").body == b"the app's own"
    assert client.send("GET", "/other").body == b"page other"
    assert client.send("GET", "/echo").status == 401


@pytest.mark.parametrize("value", [{"a": [1, 2.5, "é", None, True]}, [], "text", 7, None, {"": {}}])
def test_json_is_read_and_written(client: Client, value: object) -> None:
    answer = client.post_json(json.dumps(value).encode(), kind="Application/JSON; charset=utf-8")
    assert (answer.status, answer.json) == (200, value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b" ", "Expecting value at line 1, column 2"),
        (b'{"a": 1,\n "b"}', "Expecting ':' delimiter at line 2, column 5"),
        (b"{} {}", "Extra data at line 1, column 4"),
        (b'{"a": 1, "a": 2}', "the same name twice"),
        (b'{"a": {"b": 1, "b": 1}}', "the same name twice"),
        (b"NaN", "NaN or Infinity"),
        (b"[-Infinity]", "NaN or Infinity"),
        (b"1e999", "too large"),
        (b"9" * 101, "too large"),
        (b"9" * 5000, "too large"),
        (b'"\\ud800"', "a lone surrogate"),
        (b'{"\\udc00": 1}', "a lone surrogate"),
        (b'["\\u0000"]', "NUL"),
        (b'"\x00"', "Invalid control character"),
        (b'"\xff"', "byte 2 is not UTF-8"),
        ("\ufeff{}".encode(), "BOM"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels"),
        (b"[" * 30_000 + b"]" * 30_000, f"more than {MAX_DEPTH} levels"),
        (b'{"a":' * 9_000 + b"0" + b"}" * 9_000, f"more than {MAX_DEPTH} levels"),
        (b"a=1", "Expecting value at line 1, column 1"),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_malformed_body_gets_400_with_the_reason(client: Client, body: bytes, reason: str) -> None:
    answer = client.post_json(body)
    assert answer.status == 400, answer.body[:300]
    assert isinstance(answer.json, dict)
    assert answer.json["error"] == "body_malformed"
    assert reason in answer.json["message"]


def test_the_deepest_and_the_largest_body_are_read(client: Client) -> None:
    assert client.post_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).status == 200
    largest = b'"' + b"a" * (MAX_JSON_BYTES - 2) + b'"'
    assert client.post_json(largest).status == 200
    answer = client.post_json(largest + b" ")
    assert answer.status == 413
    assert answer.json == {
        "error": "body_too_large",
        "message": f"The body of the request has more than {MAX_JSON_BYTES} bytes.",
    }


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp", "json"]
)
def test_another_content_type_gets_415(client: Client, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.safe("POST", "/api/echo", b'{"a": 1}', **headers)
    assert answer.status == 415
    assert isinstance(answer.json, dict)
    assert answer.json["error"] == "body_type"


def test_an_error_is_json_if_the_route_or_the_client_says_so(client: Client) -> None:
    told = {"error": "login_required", "message": "Please log in first."}
    assert client.send("GET", "/locked", headers={"Accept": "text/html"}).json == told
    assert client.send("GET", "/echo", headers={"Accept": "application/json"}).json == told
    assert client.send("GET", "/echo", headers=JSON_TYPE).json == told
    page = client.send("GET", "/echo", headers={"Accept": "*/*"})
    assert (page.status, page.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
    for accept in ("text/html, application/json", "text/html,*/*;q=0.1"):
        page = client.send("GET", "/echo?a=b%20c", headers={"Accept": accept})
        assert (page.status, page.headers["Location"]) == (303, "/auth/login?next=/echo%3Fa%3Db%2Bc")
        rejected = client.send("GET", "/echo", headers={"Accept": accept, "Authorization": "Bearer x"})
        assert rejected.status == 401


def test_bytes_are_sent_as_they_are(client: Client) -> None:
    client.send("GET", "/enter")
    answer = client.send("GET", "/bytes")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, BYTES, "image/png")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    public = client.send("GET", "/bytes/public")
    assert (public.body, public.headers["Cache-Control"]) == (BYTES, "public, max-age=60")
    assert "Set-Cookie" not in public.headers


def test_an_answer_of_json_or_without_a_body(client: Client) -> None:
    answer = client.send("GET", "/data")
    assert (answer.status, answer.json) == (201, {"café": [1, None]})
    assert answer.headers["Cache-Control"] == "no-store"
    gone = client.safe("DELETE", "/gone")
    assert (gone.status, gone.body) == (204, b"")


def test_a_handler_that_returns_something_else_is_named_in_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.send("GET", "/wrong").status == 500
    assert "/wrong of plugin 'Things' returned str, not WebResponse" in caplog.text


def test_a_plugin_is_started_before_and_stopped_after_all_requests(client: Client, things: Things) -> None:
    assert things.calls == ["start"]
    client.send("GET", "/things")
    assert things.calls == ["start"]


def test_an_asgi_server_stops_the_plugins_once(tmp_path: Path, things: Things) -> None:
    with asok_app(tmp_path, plugins=[things]) as app:
        with asgi(app):
            assert things.calls == ["start"]
        assert things.calls == ["start", "stop"]
    assert things.calls == ["start", "stop"]


def test_an_app_without_the_extension_is_left_alone(tmp_path: Path) -> None:
    with asok_app(tmp_path, extension=False) as app:
        assert TestClient(app).get("/things/7").status_code == 404
