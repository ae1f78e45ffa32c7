"""Below /auth there is always a page of ours, or of the app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.testing.apps import asok_app

from .apps import ENTER_PAGE

PAGES = {
    "enter.py": ENTER_PAGE,
    "auth/help.py": "def get(request):\n    return 'the app helps'\n",
    "auth/about/[topic]/page.py": "def get(request):\n    return 'about ' + request.params['topic']\n",
    "shop/page.html": "<head>{{ auth_css() }}</head><main>{{ oauth_buttons('/next') }}</main>",
}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(tmp_path, pages=PAGES) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.com")
        yield app


@pytest.mark.parametrize("path", ["/auth/nothing", "/auth/account/nothing", "/auth/totp/x/y", "/auth/%C3%A9"])
def test_an_unknown_path_gets_our_page(app: Asok, path: str) -> None:
    answer = TestClient(app).get(path)
    assert answer.status_code == 404
    assert "<h1>Page not found</h1>" in answer.text
    assert "Error code: not_found" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "asok_auth_core" not in answer.text, "no path of a file"


def test_a_program_gets_json(app: Asok) -> None:
    answer = TestClient(app).get("/auth/nothing", headers={"Accept": "application/json"})
    assert (answer.status_code, json.loads(answer.text)["error"]) == (404, "not_found")


def test_a_form_sent_to_an_unknown_path(app: Asok) -> None:
    client = TestClient(app)
    client.get("/auth/login")
    answer = client.post("/auth/nothing", data={"csrf_token": client.cookies["asok_csrf"]})
    assert answer.status_code == 404


def test_the_apps_own_pages_are_found(app: Asok) -> None:
    assert TestClient(app).get("/auth/help").text.startswith("the app helps")
    assert TestClient(app).get("/auth/about/us").text.startswith("about us")
    for path in ("/authors", "/nothing"):
        answer = TestClient(app).get(path)
        assert answer.status_code == 404
        assert "not_found" not in answer.text


def test_the_first_part_alone_leads_on(app: Asok) -> None:
    client = TestClient(app)
    for path in ("/auth", "/auth/"):
        assert client.get(path).headers["Location"] == "/auth/login"
    client.get("/enter")
    assert client.get("/auth").headers["Location"] == "/auth/account"


def test_a_template_links_the_stylesheet_of_the_buttons(app: Asok) -> None:
    client = TestClient(app)
    page = client.get("/shop").text
    [path] = re.findall(r'<link rel="stylesheet" href="(/auth/static/[^"]+)"', page)
    sheet = client.get(path)
    assert sheet.headers["Content-Type"].startswith("text/css")
    rules = re.sub(r"@[^{]+{|\([^()]*\)", "", sheet.text)
    selectors = [one.strip() for part in re.findall(r"([^{}]+){", rules) for one in part.split(",")]
    assert [one for one in selectors if "asok-auth" not in one and one != ":root"] == []
