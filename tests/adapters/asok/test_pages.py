"""Our pages in an app: paths, methods, forms, and what Asok must not add to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.testing import TestClient

from asok_auth_core.testing.apps import asok_app

from .apps import home


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

    def test_the_login_page_shows_every_methods_block(self, client: TestClient) -> None:
        page = client.get("/auth/login").text
        assert "badge here" in page
        assert 'name="email"' in page

    def test_unknown_paths(self, client: TestClient) -> None:
        for path in (
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
        assert home(client) == "ada@example.org", "a GET must not log the user out"
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
        """Asok ignores empty path segments; limits and protections must not."""
        assert TestClient(app).get(path).status_code == 404


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
