"""The contract suite of a plugin with routes; it asks a real Asok app.

The routes of its login methods and second factors count too.

::

    class TestMyRoutes(RoutesContract):
        def plugin(self):
            return my_plugin
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest

from ..adapters.asok.app_auth import app_auth_on
from ..auth import Auth
from ..pages.router import PARAMETER
from ..plugins import Plugins
from ..registry import PluginRegistry
from ..web import MAX_JSON_BYTES, Route
from .apps import asok_app

EMAIL = "ada@example.com"
SAFE = frozenset({"GET", "HEAD"})
HOOKS = ("asok_auth_routes", "asok_auth_login_methods", "asok_auth_second_factors")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "post")
HOSTILE = ("x' OR '1'='1", "<u>contract</u>", "%", "-1", "0", "é🗝", "a" * 2000, "{0}", "*")
BODIES = (
    *(b"", b"{", b"[]", b"null", b"7", b'"text"', b'{"a": 1, "a": 2}', b"NaN", b'{"a": "\\u0000"}', b"\xff"),
    *(b"[" * 5000, b"{}", b'{"name": null, "id": [], "email": {}}', b" " * (MAX_JSON_BYTES + 1)),
)
ENTER = """
from models.user import User

def get(request):
    request.login(User.find(id=1))
    return "in"
"""


class RoutesContract:
    """Inherit, name the class ``Test…`` and write :meth:`plugin`."""

    without_csrf: frozenset[str] = frozenset()
    """The paths, as in the routes, whose unsafe methods are not checked for CSRF, on purpose."""
    settings: Mapping[str, object] = {}
    """``AUTH`` of the app."""

    def plugin(self) -> object:
        """The plugin: a module or object with routes, or with parts that have some."""
        raise NotImplementedError("Write plugin(): return your plugin.")

    def parameters(self) -> Mapping[str, str]:
        """A value for each path parameter that your routes know; "1" without any."""
        return {}

    @contextmanager
    def _site(self, root: Path) -> Iterator[_Site]:
        plugin = self.plugin()
        pages = {"contract/enter.py": ENTER}
        environ = {"DEBUG": "false", "APP_URL": "http://localhost"}
        with asok_app(root, plugins=[plugin], pages=pages, auth=self.settings, environ=environ) as app:
            app_auth = app_auth_on(app)
            assert app_auth is not None
            auth = app_auth.auth
            assert isinstance(auth.plugins, Plugins)
            owner = auth.plugins.registry.described(auth.plugins.registry.manager.get_name(plugin) or "")
            auth.users.create(EMAIL, "Ada")
            site = _Site(app, [route for name, route in _owned_routes(auth) if name == owner])
            assert site.routes, "the plugin has no route"
            yield site

    def _path(self, route: Route, value: str | None = None) -> str:
        """A path of ``route``, with ``value`` or :meth:`parameters` in it."""
        known = self.parameters()
        return PARAMETER.sub(lambda m: quote(value or known.get(m[1], "1"), safe=""), route.path)

    def test_it_is_a_plugin_with_a_hook_for_routes(self) -> None:
        registry = PluginRegistry(strict=True)
        registry.register(self.plugin(), "routes")
        [info] = registry.infos
        assert info.state == "loaded"
        assert set(HOOKS) & set(info.hooks), f"it has none of {', '.join(HOOKS)}"

    def test_every_method_is_answered(self, tmp_path: Path) -> None:
        with self._site(tmp_path) as site:
            for route in site.routes:
                for browser in (_Browser(site), _Browser(site).logged_in()):
                    for method in METHODS:
                        answer = browser.send(method, self._path(route), csrf=True)
                        where = f"{method} {route.path}"
                        assert answer.status < 500, f"{where} answers {answer.status}"
                        if method not in route.methods:
                            assert answer.status == 405, where
                            assert answer.headers["allow"] == ", ".join(route.methods), where
                        if method == "HEAD":
                            assert answer.body == b"", f"{where} has a body"

    def test_no_body_breaks_a_route(self, tmp_path: Path) -> None:
        with self._site(tmp_path) as site:
            for route in site.routes:
                browser = _Browser(site).logged_in()
                for method in sorted(set(route.methods) - SAFE):
                    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
                        for body in BODIES if kind.endswith("json") else (b"", b"%FF=%00", b"name=%F0%9F"):
                            answer = browser.send(method, self._path(route), body, kind, csrf=True)
                            shown = f"{method} {route.path} with {kind} {body[:30]!r}"
                            assert answer.status < 500, f"{shown} answers {answer.status}"

    def test_no_parameter_breaks_a_route(self, tmp_path: Path) -> None:
        with self._site(tmp_path) as site:
            for route in site.routes:
                browser = _Browser(site).logged_in()
                for value in HOSTILE:
                    names = "&".join(f"{name}={quote(value)}" for name in ("next", "id", "page", "q", "name"))
                    for target in (self._path(route, value), f"{self._path(route)}?{names}"):
                        for method in route.methods:
                            answer = browser.send(method, target, csrf=True)
                            assert answer.status < 500, f"{method} {target[:80]} answers {answer.status}"
                            repeated = b"<u>contract" in answer.body and answer.is_html
                            assert not repeated, f"{method} {route.path} repeats input unescaped"

    @pytest.mark.requirement("SECURITY-39")
    def test_another_site_can_do_nothing_as_the_user(self, tmp_path: Path) -> None:
        """Its requests carry the user's cookies, and no CSRF token."""
        with self._site(tmp_path) as site:
            exempt = {route.path for route in site.routes if not route.csrf and set(route.methods) - SAFE}
            assert exempt <= self.without_csrf, f"CSRF is off for {sorted(exempt - self.without_csrf)}"
            for route in site.routes:
                user, nobody = _Browser(site).logged_in(), _Browser(site)
                for method in sorted(set(route.methods) - SAFE):
                    for body in (b"", b"{}"):
                        answer = user.send(method, self._path(route), body)
                        if route.csrf:
                            assert answer.status == 403, f"{method} {route.path} needs no CSRF token"
                            continue
                        other = nobody.send(method, self._path(route), body)
                        same = answer.status == other.status and EMAIL.encode() not in answer.body
                        assert same, f"{method} {route.path} knows the user without a CSRF token"

    @pytest.mark.requirement("SECURITY-41")
    def test_private_answers_are_not_stored(self, tmp_path: Path) -> None:
        """What differs for a logged-in user must not be kept by a cache or the browser."""
        with self._site(tmp_path) as site:
            for route in site.routes:
                if "GET" not in route.methods:
                    continue
                path = self._path(route)
                mine, theirs = _Browser(site).logged_in().send("GET", path), _Browser(site).send("GET", path)
                if (mine.status, mine.body) != (theirs.status, theirs.body):
                    for answer in (mine, theirs):
                        cache = answer.headers.get("cache-control", "")
                        assert re.search(r"\bno-store\b", cache), f"GET {route.path} has {cache!r}"


def _owned_routes(auth: Auth) -> Iterator[tuple[str, Route]]:
    """Every route of a plugin, and the plugin as messages name it."""
    yield from auth.routes
    for method in auth.login_methods.values():
        owner = auth.plugins.owner("asok_auth_login_methods", method.name)
        yield from ((owner, route) for route in method.routes())
    for factor in auth.second_factors.values():
        owner = auth.plugins.owner("asok_auth_second_factors", factor.name)
        yield from ((owner, route) for route in factor.routes())


@dataclass(frozen=True)
class _Site:
    app: Callable[..., Iterable[bytes]]
    routes: list[Route]


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def is_html(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/html")


@dataclass
class _Browser:
    site: _Site
    cookies: dict[str, str] = field(default_factory=dict)

    def logged_in(self) -> _Browser:
        answer = self.send("GET", "/contract/enter")
        assert answer.body == b"in", answer.body
        return self

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str = "application/json",
        *,
        csrf: bool = False,
    ) -> _Answer:
        """Send one WSGI request, with this browser's CSRF token if ``csrf``."""
        if csrf and "asok_csrf" not in self.cookies:
            self.send("GET", "/")
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            **({"HTTP_X_CSRF_TOKEN": self.cookies["asok_csrf"]} if csrf else {}),
        }
        started: list[tuple[int, dict[str, str]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            for name, value in headers:
                if name.lower() == "set-cookie":
                    self.cookies.update({key: m.value for key, m in SimpleCookie(value).items()})
            started.append((int(status[:3]), {name.lower(): value for name, value in headers}))

        content = b"".join(self.site.app(environ, start_response))
        [(status, headers)] = started
        return _Answer(status, headers, content)
