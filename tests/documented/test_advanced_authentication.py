"""The page "Advanced Authentication" of Asok's documentation, word for word.

``advanced-authentication.txt`` is that page. Its seven snippets are taken from it as they stand and are
the pages of a real Asok app here. Two of them use ``User`` without importing it, so every page starts
with that import.
"""

from __future__ import annotations

import json
import re
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyotp
import pytest
import requests
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.browser import FormBrowser, mail_text, mails

from asok_auth_core.testing import asok_app
from asok_auth_core.testing.waiting import PATIENCE

DOCUMENT = (Path(__file__).parent / "advanced-authentication.txt").read_text("utf-8")
IMPORT_USER = "from models.user import User\n\n"
ADA = "ada@example.com"

MODELS = {
    "user.py": """
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True)
    name = Field.String(nullable=True)
    role = Field.String(nullable=True)
""",
    "role.py": """
from asok import Field, Model


class Role(Model):
    name = Field.String(unique=True)
    permissions = Field.String(default="")
""",
}


def snippets(document: str) -> list[str]:
    """The code in ``document``, from an import, a path or an ``if`` to the prose."""
    found: list[list[str]] = []
    inside = False
    for line in document.splitlines():
        if re.match(r"from asok import |# page/|if request\.", line) and not (
            inside and found[-1][-1].startswith("# page/")
        ):
            found.append([])
            inside = True
        elif inside and line and not re.match(r"\s|def |from |#", line):
            inside = False
        if inside:
            found[-1].append(line)
    return ["\n".join(lines).rstrip() + "\n" for lines in found]


SEND_LINK, LINK_CALLBACK, START, PROVIDER_CALLBACK, CREATE_TOKEN, PROFILE, CHECK = snippets(DOCUMENT)

CHECK_PAGE = (
    "def get(request):\n"
    + textwrap.indent(CHECK, "    ")
    + '        return "allowed"\n'
    + '    return "denied"\n'
)
PAGES = {
    "login.py": SEND_LINK + "\n\ndef get(request):\n    return request.csrf_input()\n",
    "auth/magic/callback.py": IMPORT_USER + LINK_CALLBACK,
    "api/token.py": CREATE_TOKEN,
    "api/profile.py": PROFILE,
    "check.py": CHECK_PAGE,
    **{
        page: IMPORT_USER + source.replace("google", name)
        for name in ("google", "github")
        for page, source in {
            f"start/{name}.py": START,
            f"auth/{name}/callback.py": PROVIDER_CALLBACK,
        }.items()
    },
}


@pytest.fixture
def provider() -> Iterator[DevProvider]:
    """A local Google and GitHub, where the documented app is registered."""
    with DevProvider("https://myapp.com", debug=True) as local:
        for server in local.servers.values():
            server.client.client_id = "YOUR_CLIENT_ID"
            server.client.client_secret = "YOUR_CLIENT_SECRET"
        yield local


@pytest.fixture
def app(tmp_path: Path, provider: DevProvider) -> Iterator[Asok]:
    auth = {"PROVIDERS": provider.settings()}
    with asok_app(tmp_path, pages=PAGES, models=MODELS, auth=auth) as made:
        yield made


@pytest.fixture
def browser(app: Asok) -> FormBrowser:
    return FormBrowser(app)


def mailed_link(app: Asok) -> str:
    """Path and query of the link in the last mail."""
    parts = urlsplit(re.search(r"https?://\S+", mail_text(mails(app)[-1]))[0])
    return f"{parts.path}?{parts.query}"


def log_in(browser: FormBrowser) -> str:
    """Log in by the documented pages; where the callback page leads."""
    assert browser.send_form("/login", email=ADA).text.startswith("Check your email!")
    answer = browser.get(mailed_link(browser.app))
    assert answer.status_code in (302, 303), answer.text
    return str(answer.headers["Location"])


def test_the_snippets_are_those_of_the_page() -> None:
    """All code of the page is in the seven snippets, in the page's order."""
    found = snippets(DOCUMENT)
    assert len(found) == 7
    rest = DOCUMENT
    for snippet in found:
        before, text, rest = rest.partition(snippet)
        assert text, snippet
        assert not re.search(r"^(def |import |return )|request\.auth\.\w+\.\w+\(", before, re.MULTILINE)
    assert "request." not in rest


class TestMagicLinks:
    def test_a_new_user_logs_in(self, browser: FormBrowser) -> None:
        assert log_in(browser) == "/"
        assert browser.user == ADA

    def test_a_link_works_once(self, app: Asok, browser: FormBrowser) -> None:
        log_in(browser)
        assert FormBrowser(app).get(mailed_link(app)).text.startswith("Invalid or expired token.")
        assert browser.get("/auth/magic/callback").text.startswith("Invalid or expired token.")

    def test_the_second_login_finds_the_account(self, app: Asok, browser: FormBrowser) -> None:
        log_in(browser)
        log_in(FormBrowser(app))
        assert MODELS_REGISTRY["User"].count() == 1


class TestProviders:
    @pytest.mark.parametrize("name", ["google", "github"])
    def test_a_user_logs_in(self, browser: FormBrowser, name: str) -> None:
        path = self.consent(browser, name)
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/"), answer.text
        assert browser.user == ADA
        assert MODELS_REGISTRY["User"].find(email=ADA).name == "Ada Example"

    @pytest.mark.parametrize("name", ["google", "github"])
    def test_the_answer_counts_in_the_browser_that_asked_only(
        self, app: Asok, browser: FormBrowser, name: str
    ) -> None:
        path = self.consent(browser, name)
        other = FormBrowser(app)
        assert other.get(path).status_code == 400
        assert other.user == "nobody"
        assert browser.get(path).status_code == 302

    def consent(self, browser: FormBrowser, name: str) -> str:
        """Choose Ada at the provider, from the documented page; the callback's path."""
        url = str(browser.get(f"/start/{name}").headers["Location"])
        answer = requests.post(url, data={"account": "1001"}, allow_redirects=False, timeout=PATIENCE)
        return answer.headers["Location"].removeprefix("https://myapp.com")


class TestTokens:
    def test_request_user_is_the_owner_of_the_token(self, app: Asok, browser: FormBrowser) -> None:
        log_in(browser)
        token = json.loads(browser.get("/api/token").text)["data"]["token"]
        program = FormBrowser(app)
        answer = program.get("/api/profile", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, json.loads(answer.text)["data"]) == (200, {"email": ADA})

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer made-up"}], ids=["none", "invalid"])
    def test_without_a_valid_token_it_is_401(self, browser: FormBrowser, headers: dict[str, str]) -> None:
        assert browser.get("/api/profile", headers=headers).status_code == 401

    def test_one_is_permanent_and_one_ends_after_a_day(self, app: Asok, browser: FormBrowser) -> None:
        log_in(browser)
        browser.get("/api/token")
        api = app.extensions["AuthExtension"].auth.login_methods["token"].api
        permanent, temporary = api.list(None, 1)
        assert permanent.expires_at is None
        assert temporary.expires_at - temporary.created_at == pytest.approx(86400, abs=2)


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ("posts.edit", "allowed"),
        ("posts.view, posts.edit", "allowed"),
        ("posts.*", "allowed"),
        ("*", "allowed"),
        ("posts.view", "denied"),
        ("users.*", "denied"),
        ("", "denied"),
    ],
)
def test_roles_with_wildcards(browser: FormBrowser, permissions: str, expected: str) -> None:
    MODELS_REGISTRY["Role"].create(name="editor", permissions=permissions)
    MODELS_REGISTRY["User"].create(email=ADA, role="editor")
    log_in(browser)
    assert browser.get("/check").text.startswith(expected)


class TestTwoFactor:
    """The page's recommended flow, which the extension implements; it has no snippet."""

    def test_the_flow_is_the_documented_one(self) -> None:
        steps = re.findall(r"^  (\d)\. (.+)$", DOCUMENT, re.MULTILINE)
        assert [number for number, _ in steps] == ["1", "2", "3", "4", "5"]
        words = ("TOTP secret", "QR code", "successful code", "hashed", "Rate-limit")
        assert all(word in text for word, (_, text) in zip(words, steps, strict=True))

    def test_the_documented_pages_ask_for_the_code(self, app: Asok, browser: FormBrowser) -> None:
        secret, codes = self.enroll(browser)
        again = FormBrowser(app)
        assert log_in(again) == "/auth/second-factor"
        assert again.user == "nobody"
        answer = again.send_form("/auth/second-factor", code=self.code(secret, steps=1))
        assert answer.status_code == 303, answer.text
        assert again.user == ADA
        third = FormBrowser(app)
        log_in(third)
        third.send_form("/auth/second-factor", page="/auth/second-factor?factor=recovery", code=codes[0])
        assert third.user == ADA

    def test_it_is_on_only_after_a_correct_code(self, app: Asok, browser: FormBrowser) -> None:
        log_in(browser)
        browser.send_form("/auth/totp/enrol", page="/auth/totp")
        assert browser.send_form("/auth/totp/confirm", page="/auth/totp", code="000000").status_code == 400
        assert log_in(FormBrowser(app)) == "/"

    def test_the_secret_is_shown_once_and_nothing_is_stored_in_plaintext(
        self, app: Asok, browser: FormBrowser
    ) -> None:
        secret, codes = self.enroll(browser)
        assert len(codes) == 10
        for page in ("/auth/totp", "/auth/account"):
            assert secret not in browser.get(page).text.replace(" ", "")
        stored = [row.data for row in app.extensions["AuthExtension"].auth.credentials.list("1")]
        assert any("hash" in data or "codes" in data for data in stored)
        assert not [text for text in (secret, *codes) if any(text in data for data in stored)]

    def test_attempts_are_limited(self, app: Asok, browser: FormBrowser) -> None:
        self.enroll(browser)
        attacker = FormBrowser(app)
        log_in(attacker)
        statuses = [attacker.send_form("/auth/second-factor", code="000000").status_code for _ in range(11)]
        assert statuses == [400] * 10 + [429]

    def enroll(self, browser: FormBrowser) -> tuple[str, list[str]]:
        """Log in and set up an authenticator app; its secret and the recovery codes."""
        log_in(browser)
        page = browser.send_form("/auth/totp/enrol", page="/auth/totp").text
        assert "<svg" in page
        secret = re.search(r"secret=([A-Z2-7]+)", page)[1]
        shown = browser.send_form("/auth/totp/confirm", page="/auth/totp", code=self.code(secret)).text
        return secret, re.findall(r"\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b", shown)

    def code(self, secret: str, steps: int = 0) -> str:
        """The code now, or ``steps`` time steps from now."""
        return str(pyotp.TOTP(secret).at(int(time.time()) + 30 * steps))
