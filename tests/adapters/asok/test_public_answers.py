"""Answers that a shared cache may store hold nothing of a visitor (RFC 9111)."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok_auth_tests.valkey_server import free_port

from asok_auth_core.adapters.asok.app_auth import app_auth_on
from asok_auth_core.auth import Auth
from asok_auth_core.paths import JWKS_PATH
from asok_auth_core.plugin import LoginMethod, hookimpl
from asok_auth_core.testing.apps import asgi_call, asok_app
from asok_auth_core.testing.waiting import PATIENCE, wait_until
from asok_auth_core.web import Route, WebRequest, WebResponse

from .apps import PAGES

pytestmark = pytest.mark.requirement("SECURITY-41")

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
CONFIGURATION = """
daemon off;
# One process, so it keeps the rights of the tests in their folder.
master_process off;
pid {folder}/pid;
error_log {folder}/errors;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache keys_zone=all:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{app};
      proxy_set_header Host $http_host;
      proxy_cache all;
      # nginx itself does not store answers with cookies; many caches do.
      {besides}
      add_header X-Cache $upstream_cache_status always;
    }}
  }}
}}
"""
PAGE = "<!DOCTYPE html><html><head><title>t</title></head><body><script>1</script></body></html>"
CACHED = {
    "public": "public, max-age=60",
    "shared": "s-maxage=60, must-revalidate",
    "plain": "Max-Age=60",
    # nginx does not store it, but RFC 9111, section 5.2.2.7, lets a cache do so.
    "partly": 'public, max-age=60, private="X-Other"',
}
NOT_CACHED = {"mine": "private, max-age=60", "never": "no-store, max-age=60", "silent": ""}


class Pages(LoginMethod):
    """Pages of a plugin that say themselves whether a cache may store them."""

    name = "pages"

    def routes(self) -> list[Route]:
        return [Route(f"/auth/pages/{name}", get=self.page) for name in {**CACHED, **NOT_CACHED}]

    def page(self, request: WebRequest) -> WebResponse:
        says = {**CACHED, **NOT_CACHED}[request.path.rpartition("/")[2]]
        request.set_cookie("seen", "1", max_age=60)
        return WebResponse(PAGE, headers=(("Cache-Control", says), ("X-Other", "kept")) if says else ())


class Plugin:
    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [Pages()]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(tmp_path, pages={"enter.py": PAGES["enter.py"]}, plugins=(Plugin(),)) as made:
        for name in ("ada", "bob"):
            MODELS_REGISTRY["User"].create(email=f"{name}@example.org")
        yield made


def stylesheet(app: Asok) -> str:
    app_auth = app_auth_on(app)
    assert app_auth is not None
    return next(path for path in app_auth.router.paths if path.endswith(".css"))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: str

    def __getitem__(self, name: str) -> str | None:
        return next((value for given, value in self.headers if given == name), None)


def check_public(answer: Answer) -> None:
    """Fail if ``answer`` holds anything of the visitor who caused it."""
    assert answer.status == 200
    assert {"set-cookie", "x-csrf-token", "access-control-expose-headers"} & {
        n for n, _ in answer.headers
    } == set()
    assert "cookie" not in (answer["vary"] or "").lower()
    policy = answer["content-security-policy"]
    assert policy is not None, "a public page needs a policy too"
    assert "nonce-" not in policy + answer.body
    assert "csrf" not in answer.body


class TestWithoutCache:
    @pytest.mark.parametrize("name", ["stylesheet", "jwks", *CACHED])
    def test_a_public_answer_under_asgi_is_the_same_for_everyone(self, app: Asok, name: str) -> None:
        path = {"stylesheet": stylesheet(app), "jwks": JWKS_PATH}.get(name, f"/auth/pages/{name}")
        _, headers, _ = asgi_call(app, "GET", "/enter?as=ada@example.org")
        cookie = "; ".join(value.split(";")[0] for given, value in headers if given == "set-cookie")
        assert "asok_sid" in cookie
        known = Answer(*asgi_call(app, "GET", path, [("cookie", cookie)]))
        unknown = Answer(*asgi_call(app, "GET", path))
        check_public(known)
        assert known == unknown
        head = Answer(*asgi_call(app, "HEAD", path))
        assert (head.headers, head.body) == (known.headers, "")

    @pytest.mark.parametrize("name", NOT_CACHED)
    def test_other_answers_keep_their_cookies_and_say_that_they_are_private(
        self, app: Asok, name: str
    ) -> None:
        answer = Answer(*asgi_call(app, "GET", f"/auth/pages/{name}"))
        cookies = [value for given, value in answer.headers if given == "set-cookie"]
        assert any(cookie.startswith("seen=1") for cookie in cookies)
        assert answer["x-csrf-token"]
        assert answer["cache-control"] == (NOT_CACHED[name] or "no-store")

    @pytest.mark.parametrize("origins", ["*", ["https://other.example"]])
    def test_no_visitors_origin_is_repeated(self, app: Asok, origins: object) -> None:
        app.config["CORS_ORIGINS"] = origins
        answer = Answer(*asgi_call(app, "GET", JWKS_PATH, [("origin", "https://other.example")]))
        check_public(answer)
        assert "https://other.example" not in str(answer.headers)
        assert answer["access-control-allow-origin"] == ("*" if origins == "*" else None)

    def test_what_the_plugin_says_is_kept(self, app: Asok) -> None:
        answer = Answer(*asgi_call(app, "GET", "/auth/pages/public"))
        assert answer["x-other"] == "kept"
        assert answer["cache-control"] == CACHED["public"]
        assert answer.body == PAGE


# -- through a real cache ------------------------------------------------------------------------------


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def app_port(app: Asok) -> Iterator[int]:
    """The app on a real WSGI server."""
    with make_server("127.0.0.1", 0, app, server_class=Server, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(params=["", "proxy_ignore_headers Set-Cookie Vary;"], ids=["careful", "careless"])
def cache(request: pytest.FixtureRequest, app_port: int, tmp_path: Path) -> Iterator[int]:
    """The port of a caching proxy in front of the app."""
    if NGINX is None:
        pytest.skip("NOT TESTED, a caching proxy: install nginx")
    folder = tmp_path / "nginx"
    folder.mkdir()
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port, app=app_port, besides=request.param))
    process = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", str(file), "-e", str(folder / "errors")], stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        assert process.poll() is None, (folder / "errors").read_text()
        try:
            return get(port, JWKS_PATH + "?first").status == 200
        except OSError:
            return False

    try:
        wait_until(answers, "nginx")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def get(port: int, path: str, cookie: str = "") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    answer = Answer(response.status, headers, response.read().decode())
    connection.close()
    return answer


def logged_in(port: int, email: str) -> str:
    """The cookies of a new visitor who logged in."""
    answer = get(port, f"/enter?as={email}")
    assert answer.status == 302
    return "; ".join(value.split(";")[0] for name, value in answer.headers if name == "set-cookie")


def test_two_visitors_behind_one_cache_share_no_cookie(app: Asok, cache: int) -> None:
    ada, bob = logged_in(cache, "ada@example.org"), logged_in(cache, "bob@example.org")
    assert ada != bob
    for path in (
        stylesheet(app),
        JWKS_PATH,
        *(f"/auth/pages/{name}" for name in ("public", "shared", "plain")),
    ):
        first, second, third = get(cache, path, ada), get(cache, path, bob), get(cache, path)
        assert [answer["x-cache"] for answer in (first, second, third)] == ["MISS", "HIT", "HIT"], path
        for answer in (first, second, third):
            check_public(answer)


def test_private_pages_are_never_stored(cache: int) -> None:
    ada, bob = logged_in(cache, "ada@example.org"), logged_in(cache, "bob@example.org")
    for path in (
        "/auth/login",
        "/auth/logout",
        "/auth/account",
        "/nothing",
        *(f"/auth/pages/{name}" for name in NOT_CACHED),
    ):
        for cookie in (ada, bob, ""):
            assert get(cache, path, cookie)["x-cache"] == "MISS", path
    for cookie, email in ((ada, "ada@example.org"), (bob, "bob@example.org"), ("", "nobody")):
        assert get(cache, "/", cookie).body.startswith(email)
