"""Our pages in a real app: size, theme, templates, layout and language."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from asok.testing import TestClient

from asok_auth_core.errors import SettingError
from asok_auth_core.testing.apps import asok_app

LAYOUT = """<!doctype html>
<html lang="en"><head><title>{{ auth_title }} | Shop</title>{{ auth_head }}</head>
<body><nav>The shop's own menu</nav><main>{{ auth_content }}</main></body></html>
"""
PROVIDERS = {name: {"client_id": "id", "client_secret": "secret"} for name in ("google", "github")}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    auth = {"APP_NAME": "News-Desk of Asok.", "PROVIDERS": PROVIDERS}
    environ = {"DEBUG": "false", "APP_URL": "https://app.example"}
    config = {"CSP_STRICT_STYLES": True, "APP_URL": "https://app.example"}
    with asok_app(tmp_path, auth=auth, environ=environ, config=config) as app:
        yield TestClient(app)


def write(root: Path, name: str, text: str) -> None:
    path = root / "src" / "partials" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def login_page(client: TestClient, lang: str) -> str:
    """The login page after ``?lang=…``, which Asok keeps in a cookie."""
    answer = client.get(f"/auth/login?lang={lang}")
    if answer.status_code == 302:
        assert answer.headers["Location"] == "/auth/login"
        answer = client.get("/auth/login")
    assert answer.status_code == 200
    return str(answer.text)


def stylesheet(client: TestClient, page: str) -> str:
    [path] = re.findall(r'<link rel="stylesheet" href="(/auth/static/[0-9a-f]{12}\.css)"', page)
    answer = client.get(path)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    return answer.text


class TestLoginPage:
    def test_the_login_page_is_light(self, client: TestClient) -> None:
        """At most 20 kB with every byte of style, one request for it, and no image."""
        page = client.get("/auth/login").text
        css = stylesheet(client, page)
        assert "Continue with Google" in page
        assert len(page.encode()) + len(css.encode()) <= 20_000
        assert not re.findall(r"<img|url\(|@import|<script", page + css)

    def test_nothing_comes_from_other_origins(self, client: TestClient) -> None:
        page = client.get("/auth/login").text
        urls = re.findall(r'(?:href|src|action)="([^"]+)"', page)
        assert urls
        assert [one for one in urls if not one.startswith("/") or one.startswith("//")] == []

    def test_asok_adds_no_script_or_path(self, client: TestClient) -> None:
        """The app's name has "ws-" and "Asok." in it, as Asok's components do."""
        page = client.get("/auth/login").text
        assert "News-Desk of Asok." in page
        assert "<script" not in page
        assert "page-id" not in page

    def test_the_page_has_no_inline_style(self, client: TestClient) -> None:
        """CSP_STRICT_STYLES."""
        answer = client.get("/auth/login")
        assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
        assert " style=" not in answer.text
        assert "<style" not in answer.text

    def test_every_login_method_keeps_next(self, client: TestClient) -> None:
        page = client.get("/auth/login?next=/orders").text
        assert page.count('name="next" value="/orders"') == 3


class TestLanguage:
    def test_the_login_page_is_in_french(self, client: TestClient) -> None:
        page = login_page(client, "fr")
        assert '<html lang="fr" dir="ltr">' in page
        assert "Continuer avec Google" in page

    def test_error_pages_are_translated(self, client: TestClient) -> None:
        page = client.get("/auth/account", headers={"Accept-Language": "fr-CA,fr;q=0.9"}).text
        assert "Connectez-vous d\u2019abord." in page

    def test_a_browser_from_austria_gets_german_pages(self, client: TestClient) -> None:
        austrian = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.8"}
        page = client.get("/auth/login", headers=austrian).text
        assert '<html lang="de" dir="ltr">' in page
        for text in ("Bei News-Desk of Asok. anmelden", "Weiter mit Google", "E-Mail-Adresse"):
            assert text in page
        assert "Link und Code senden" in page
        answer = client.get("/auth/account", headers={"Accept-Language": "de-AT"})
        assert answer.status_code == 401
        assert "Bitte melden Sie sich zuerst an." in answer.text

    @pytest.mark.parametrize(
        "lang", ["../..", pytest.param("x" * 10_000, id="10 kB"), "%00", "<script>", "{0.__class__}", "xx"]
    )
    def test_an_unknown_language_is_english(self, client: TestClient, lang: str) -> None:
        page = login_page(client, lang)
        assert '<html lang="en" dir="ltr">' in page
        assert len(page) < 6_000

    def test_the_apps_own_translations_win(self, tmp_path: Path) -> None:
        locales = tmp_path / "src" / "locales"
        locales.mkdir(parents=True)
        (locales / "fr.json").write_text('{"Email address": "Votre courriel"}', "utf-8")
        (locales / "ar.json").write_text('{"Email address": "\u0627\u0644\u0628\u0631\u064a\u062f"}', "utf-8")
        with asok_app(tmp_path) as app:
            client = TestClient(app)
            page = login_page(client, "fr")
            assert "Votre courriel" in page
            assert "M\u2019envoyer un lien" in page
            assert '<html lang="ar" dir="rtl">' in login_page(client, "ar")


class TestOwnTemplates:
    def test_the_apps_theme_is_added_to_the_stylesheet(self, tmp_path: Path) -> None:
        write(tmp_path, "auth/theme.css", ":root { --asok-auth-accent: #00695c; }")
        with asok_app(tmp_path) as app:
            client = TestClient(app)
            css = stylesheet(client, client.get("/auth/login").text)
            assert css.endswith(":root { --asok-auth-accent: #00695c; }")
            assert css.index("--asok-auth-accent: #1d4ed8") < css.index("#00695c")

    def test_templates_of_the_core_and_of_plugins_can_be_replaced(self, tmp_path: Path) -> None:
        write(tmp_path, "auth/brand.html", "<a href='/'>The Shop</a>")
        write(tmp_path, "auth/magic/form.html", "<p>{{ _('Email address') }}: ours</p>")
        with asok_app(tmp_path) as app:
            page = TestClient(app).get("/auth/login").text
            assert "<a href='/'>The Shop</a>" in page
            assert "Email address: ours" in page
            assert "asok-auth-monogram" not in page

    def test_user_input_is_escaped_in_them(self, tmp_path: Path) -> None:
        write(tmp_path, "auth/problem.html", "{{ request.query.get('x') }} {{ message }}")
        with asok_app(tmp_path) as app:
            page = TestClient(app).get("/auth/account?x=<script>alert(1)</script>").text
            assert "&lt;script&gt;alert(1)" in page

    def test_the_apps_layout_surrounds_our_pages(self, tmp_path: Path) -> None:
        write(tmp_path, "html/auth.html", LAYOUT)
        with asok_app(tmp_path, auth={"LAYOUT": "html/auth.html"}) as app:
            client = TestClient(app)
            page = client.get("/auth/login").text
            assert "<title>Log in | Shop</title>" in page
            assert "The shop's own menu" in page
            assert page.count("<html") == page.count("<main") == page.count("</body>") == 1
            assert page.index("The shop's own menu") < page.index(
                '<div class="asok-auth asok-auth-embedded">'
            )
            assert 'name="email"' in page
            assert "asok-auth-accent" in stylesheet(client, page)
            denied = client.get("/auth/account")
            assert denied.status_code == 401
            assert "The shop's own menu" in denied.text

    def test_a_missing_layout_stops_the_start(self, tmp_path: Path) -> None:
        with (
            pytest.raises(SettingError, match="LAYOUT"),
            asok_app(tmp_path, auth={"LAYOUT": "html/none.html"}),
        ):
            pass


def test_a_template_is_compiled_again_when_it_changed(tmp_path: Path) -> None:
    """By the running app, and by one started later in the same process."""
    for text in ("first", "second"):
        write(tmp_path, "auth/login.html", f"{text} text")
        with asok_app(tmp_path) as app:
            assert TestClient(app).get("/auth/login").text.startswith(f"{text} text")
            write(tmp_path, "auth/login.html", f"{text} text, changed")
            os.utime(tmp_path / "src" / "partials" / "auth" / "login.html", (0, 0))
            assert TestClient(app).get("/auth/login").text.startswith(f"{text} text, changed")
