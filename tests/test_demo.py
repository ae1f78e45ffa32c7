"""The demo as a visitor sees it: real server, real SMTP, real providers."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from asok_auth_tests.browser import hidden_fields
from asok_auth_tests.machines import totp_code

from asok_auth_core.testing.waiting import PATIENCE, wait_until

DEMO = Path(__file__).parents[1] / "examples" / "demo"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo, so a running one is not touched."""
    copy = tmp_path_factory.mktemp("demo")
    shutil.copytree(DEMO, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".asok"))
    return copy


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """The demo on a free port."""
    with served(folder, "--fresh") as address:
        yield address


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    output = folder / "output.txt"
    with output.open("w") as written:
        command = [sys.executable, "-u", "serve.py", "--port", "0", *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=written, stderr=subprocess.STDOUT)
    try:
        yield printed_address(process, output)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def printed_address(process: subprocess.Popen[bytes], output: Path) -> str:
    said = r"The demo of asok-auth-core is at (\S+)"
    wait_until(lambda: process.poll() is not None or re.search(said, output.read_text()) is not None, said)
    found = re.search(said, output.read_text())
    assert found is not None, output.read_text()
    return found[1]


class Visitor(requests.Session):
    """A browser without JavaScript."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.trust_env = False
        self.url = url
        self.page = requests.Response()

    def open(self, path: str, method: str = "GET") -> requests.Response:
        self.page = self.request(method, urljoin(self.url, path), timeout=PATIENCE)
        return self.page

    def press(self, action: str, **fields: str) -> requests.Response:
        """Send the form of this page that leads to ``action``, filled in."""
        forms = re.findall(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', self.page.text, re.DOTALL)
        body = next(body for target, body in forms if html.unescape(target).endswith(action))
        data = hidden_fields(body) | fields
        target = next(html.unescape(target) for target, _ in forms if html.unescape(target).endswith(action))
        self.page = self.post(
            urljoin(self.page.url, target), data=data, headers={"Referer": self.page.url}, timeout=PATIENCE
        )
        return self.page

    def mail(self, address: str) -> str:
        """The text of the newest mail to ``address``, from the mailbox page."""
        listing = self.open("/auth/dev/mailbox").text
        links = re.findall(r'href="(/auth/dev/mailbox/\d+)"', listing)
        for link in links:
            shown = html.unescape(self.open(html.unescape(link)).text)
            if address in shown:
                return shown
        raise AssertionError(f"no mail to {address}")

    @property
    def user(self) -> str | None:
        found = re.search(r"logged in as <strong>([^<]+)</strong>", self.open("/").text)
        return found[1] if found else None


@pytest.fixture
def visitor(url: str) -> Visitor:
    return Visitor(url)


def ask(visitor: Visitor, address: str) -> str:
    """Ask for a link; the mail that came."""
    visitor.open("/auth/login")
    page = visitor.press("/auth/magic/send", email=address)
    assert page.status_code == 200
    assert "Check your" in page.text
    return visitor.mail(address)


def link(mail: str) -> str:
    return re.search(r"http://[^\s\"<]+/auth/magic/callback\?token=[\w.-]+", mail)[0]  # type: ignore[index]


def code(mail: str) -> str:
    return re.search(r"\b([2-9A-Z]{4}-[2-9A-Z]{4})\b", mail)[1]  # type: ignore[index]


def test_the_demo_logs_in_by_magic_link(visitor: Visitor) -> None:
    mail = ask(visitor, "ada@example.org")
    for method in ("GET", "GET", "GET", "HEAD"):
        assert visitor.open(link(mail), method).status_code == 200
        assert visitor.user is None
    visitor.open(link(mail))
    assert visitor.press("/auth/magic/callback").url == urljoin(visitor.url, "/")
    assert visitor.user == "ada@example.org"
    again = visitor.open(link(mail))
    assert again.status_code == 400
    assert "already used" in again.text


def test_the_demo_logs_in_by_code_in_another_browser(url: str, visitor: Visitor) -> None:
    mail = ask(visitor, "grace@example.org")
    other = Visitor(url)
    other.open("/auth/magic/code")
    other.press("/auth/magic/code", email="grace@example.org", code=code(mail))
    assert other.user == "grace@example.org"
    assert visitor.user is None
    third = Visitor(url)
    third.open("/auth/magic/code")
    assert third.press("/auth/magic/code", email="grace@example.org", code=code(mail)).status_code == 400


@pytest.mark.parametrize("provider", ["google", "github"])
def test_the_demo_logs_in_with_each_provider(visitor: Visitor, provider: str) -> None:
    visitor.open("/auth/login")
    page = visitor.press(f"/auth/{provider}/login")
    assert page.status_code == 200
    assert "Choose an account" in page.text
    account = re.search(r'<button name="account" value="(\d+)"', page.text)
    assert account is not None
    visitor.post(page.url, data={"account": account[1]}, timeout=PATIENCE)
    assert visitor.user is not None


def test_the_demo_protects_a_page_by_permission(visitor: Visitor) -> None:
    assert visitor.open("/editors").status_code == 401
    mail = ask(visitor, "linus@example.org")
    visitor.open(link(mail))
    visitor.press("/auth/magic/callback")
    denied = visitor.open("/editors")
    assert denied.status_code == 403
    assert "posts.edit" in denied.text, "in DEBUG the page says what is missing"
    assert "Welcome to the editors" in choose_role(visitor, "editor").text
    assert visitor.open("/editors").status_code == 200
    assert choose_role(visitor, "").status_code == 403


def choose_role(visitor: Visitor, role: str) -> requests.Response:
    """Press the button of the role's page; the page that it leads to."""
    page = visitor.open("/become-editor")
    assert f'value="{role}"' in page.text
    return visitor.post(page.url, data={**hidden_fields(page.text), "role": role}, timeout=PATIENCE)


def test_the_demo_makes_tokens_for_its_curl_line(visitor: Visitor) -> None:
    visitor.open(link(ask(visitor, "token@example.org")))
    visitor.press("/auth/magic/callback")
    line = re.search(r'curl -H "Authorization: Bearer TOKEN" (\S+)</code>', visitor.open("/").text)
    assert line is not None
    visitor.open("/auth/token/new")
    page = visitor.press("/auth/token/new", name="curl", days="30", scope="*")
    token = re.search(r'id="asok-auth-token"[^>]*>([^<]+)<', page.text)
    assert token is not None
    answer = requests.get(line[1], headers={"Authorization": f"Bearer {token[1]}"}, timeout=PATIENCE)
    assert "token@example.org" in answer.text


def test_the_demo_survives_a_restart(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "demo"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".asok", "output.txt"))
    with served(copy) as url:
        visitor = Visitor(url)
        visitor.open(link(ask(visitor, "ada@example.org")))
        visitor.press("/auth/magic/callback")
        assert visitor.user == "ada@example.org"
    with served(copy) as url:
        visitor.url = url
        assert visitor.user == "ada@example.org"
        assert "Log in" in visitor.mail("ada@example.org")
    with served(copy, "--fresh") as url:
        visitor.url = url
        assert visitor.user is None


def choose_account(visitor: Visitor, number: int) -> requests.Response:
    """Choose an account on the page of the local provider."""
    assert "Choose an account" in visitor.page.text
    visitor.page = visitor.post(visitor.page.url, data={"account": str(number)}, timeout=PATIENCE)
    return visitor.page


def test_a_linked_login_survives_a_restart(folder: Path, tmp_path: Path) -> None:
    """It belongs to the provider's URL, so the local provider keeps its port."""
    copy = tmp_path / "demo"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".asok", "output.txt"))
    with served(copy) as url:
        visitor = Visitor(url)
        log_in(visitor, "owner@example.org")
        visitor.open("/auth/account")
        visitor.press("/auth/google/link")
        assert "Unlink" in choose_account(visitor, 1003).text
    with served(copy) as url:
        again = Visitor(url)
        again.open("/auth/login")
        again.press("/auth/google/login")
        choose_account(again, 1003)
        assert again.user == "owner@example.org"


def log_in(visitor: Visitor, address: str) -> None:
    """Log in with a link, as far as one factor leads."""
    visitor.open(link(ask(visitor, address)))
    visitor.press("/auth/magic/callback")


def log_out(visitor: Visitor) -> None:
    visitor.open("/auth/logout")
    visitor.press("/auth/logout")
    assert visitor.user is None


def test_the_demo_trusts_a_browser(url: str, visitor: Visitor) -> None:
    log_in(visitor, "trust@example.org")
    visitor.open("/auth/totp")
    visitor.press("/auth/totp/enrol")
    found = re.search(r'class="asok-auth-secret"[^>]*>([^<]+)<', visitor.page.text)
    assert found is not None
    secret = found[1].replace(" ", "")
    visitor.press("/auth/totp/confirm", code=totp_code(secret, steps=-1))
    log_out(visitor)
    log_in(visitor, "trust@example.org")
    assert "Trust this browser for 30 days" in visitor.page.text
    visitor.press("/auth/second-factor", code=totp_code(secret), trust="1")
    assert visitor.user == "trust@example.org"
    assert "Trusted browsers" in visitor.open("/auth/account").text
    log_out(visitor)
    log_in(visitor, "trust@example.org")
    assert visitor.user == "trust@example.org", "this browser is not asked again"
    other = Visitor(url)
    log_in(other, "trust@example.org")
    assert other.user is None, "another browser is asked"
