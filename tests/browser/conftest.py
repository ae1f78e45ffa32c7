"""A real server of the demo, and visitors in a real browser."""

from __future__ import annotations

import base64
import hmac
import html
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# The demo, with a third-party provider and the strictest style policy added.
ANCHOR = "app.register_extension(AuthExtension())"
BESIDES = """
import time

from asok_auth_account.terms import TermsStep
from asok_auth_dev.oauth_server import RegisteredClient

from asok_auth_core.plugin import OpenIDProvider, Route, WebResponse, hookimpl


class HarbourProvider(DevProvider):
    @staticmethod
    def _client(app_url, name):
        return RegisteredClient("dev-client", "dev-secret", (app_url + "/auth/harbour/callback",))


harbour = HarbourProvider(os.environ["APP_URL"], debug=True).start()


class Harbour(OpenIDProvider):
    name = "harbour"
    label = "Harbour ID"
    issuer = harbour.url + "/google"


class Plugin:
    @hookimpl
    def asok_auth_providers(self):
        return [Harbour()]

    @hookimpl
    def asok_auth_routes(self, auth):
        # What support staff do on the command line, time that passes, and another setting.

        def recover(request):
            user = auth.users.by_email(request.query["email"])
            auth.login_methods["account"].recoveries.start(user, request.query["to"])
            return WebResponse("started")

        def clock(request):
            ahead = float(request.query["ahead"])
            auth.clock = lambda: time.time() + ahead
            return WebResponse(f"{ahead} s ahead")

        def terms(request):
            auth.sign_up_steps.pop("terms", None)
            if request.query["terms"]:
                auth.sign_up_steps["terms"] = TermsStep(auth, request.query["terms"], "2026-11")
            return WebResponse("set")

        return [
            Route("/auth/test/recover", get=recover),
            Route("/auth/test/clock", get=clock),
            Route("/auth/test/terms", get=terms),
        ]


app.config["CSP_STRICT_STYLES"] = True
app.config["RATE_LIMIT"] = False
app.config["AUTH"]["PROVIDERS"]["harbour"] = harbour.settings()["google"]
app.config["AUTH"]["MAGIC_LINK"] = {"SENDS_PER_CLIENT": 10000, "CODE_ATTEMPTS_PER_CLIENT": 10000}
app.register_extension(AuthExtension(plugins=[Plugin()]))
"""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running demo."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(DEMO, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".asok", "__pycache__"))
    wsgi = (folder / "wsgi.py").read_text()
    assert wsgi.count(ANCHOR) == 1
    (folder / "wsgi.py").write_text(wsgi.replace(ANCHOR, BESIDES))
    log = folder / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-u", "serve.py", "--port", "0"], cwd=folder, stdout=out, stderr=out
        )
    try:
        yield _address(server, log)
    finally:
        server.terminate()
        server.wait(60)


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := re.search(r"is at (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"The demo did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless Chromium."""
    if CHROMIUM is None:
        pytest.fail("There is no chromium on PATH. Install it, or name it in the variable CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """One browser profile. ``mode``: ``mouse``, ``keyboard`` or ``no-javascript``."""

    def __init__(self, browser: Browser, demo: str, mode: str, language: str = "en") -> None:
        self.demo = demo
        self.mode = mode
        self.context = browser.new_context(
            java_script_enabled=mode != "no-javascript",
            locale=language,
            reduced_motion="reduce",
            viewport={"width": 360, "height": 740},
        )
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.violations: dict[str, list[str]] = {}
        self._failed_urls: set[str] = set()
        self.page.on("response", self._on_response)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error in a script: {error}"))
        self.page.on("request", self._on_request)

    # -- what a user does --------------------------------------------------------------------------

    def goto(self, path: str) -> None:
        self.page.goto(path if path.startswith("http") else self.demo + path)

    def press(self, name: str | re.Pattern[str]) -> None:
        """The button or link called ``name``."""
        if self.mode == "keyboard":
            self._tab_to(name)
            with self.page.expect_navigation():
                self.page.keyboard.press("Enter")
        else:
            either = self.page.get_by_role("button", name=name, exact=True)
            either.or_(self.page.get_by_role("link", name=name, exact=True)).first.click()
        self.page.wait_for_load_state()

    def fill(self, label: str, text: str) -> None:
        """The field labeled ``label``; a keyboard pastes, as out of a password manager."""
        if self.mode == "keyboard":
            self._tab_to(label)
            self.page.keyboard.press("Control+A")
            self.page.keyboard.insert_text(text)
        else:
            self.page.get_by_label(label).fill(text)

    def tick(self, label: str | re.Pattern[str]) -> None:
        """The checkbox labeled ``label``."""
        if self.mode == "keyboard":
            self._tab_to(label)
            self.page.keyboard.press("Space")
        else:
            self.page.get_by_label(label).check()

    def log_in_by_link(self, email: str) -> None:
        """Log in with a link, up to the page after it."""
        self.goto("/auth/login")
        self.fill("Email address", email)
        self.press("Send me a link and a code")
        self.look("code")
        self.goto(self.mail(email)[0])
        self.look("confirm")
        self.press("Log in")

    def create_token(self, name: str) -> str:
        """A token with everything the user may do, made on our own page."""
        self.goto("/auth/account")
        self.press("Create a token")
        self.fill("Name", name)
        self.look("new token")
        self.press("Create a token")
        self.look("created token")
        return self.page.locator("#asok-auth-token").inner_text().strip()

    def mails_to(self, address: str) -> Iterator[str]:
        """The text of each mail to ``address`` in the mailbox, the last one first."""
        box = self._read("/auth/dev/mailbox")
        entries = re.findall(r'href="(/auth/dev/mailbox/\d+)".*?to ([^,<]+),', box, re.DOTALL)
        for path in (path for path, to in entries if address in html.unescape(to)):
            page = self._read(html.unescape(path))
            shown = re.search(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1]
            yield html.unescape(re.sub(r"<[^>]+>", "", shown))

    def read_mail(self, address: str, part: str) -> str:
        """The last mail to ``address`` that has ``part``."""
        return next(text for text in self.mails_to(address) if part in text)

    def mail(self, address: str) -> tuple[str, str]:
        """Link and code of the last login mail to ``address``; there are notices besides."""
        text = self.read_mail(address, "/auth/magic/callback")
        link = re.search(r"http\S+/auth/magic/callback\S+", text)[0]
        return link, re.search(r"\b([2-9A-Z]{4}-[2-9A-Z]{4})\b", text.replace(link, ""))[1]

    def mail_with(self, address: str, part: str) -> str:
        """The text of the last mail to ``address``, once that is one with ``part``."""
        until = time.monotonic() + 60
        while part not in (text := next(self.mails_to(address), "")):
            assert time.monotonic() < until, f"the last mail to {address} is without {part!r}: {text}"
            time.sleep(0.1)
        return text

    def mailed_link(self, address: str, path: str) -> str:
        """The link to a page below ``path`` in the last mail to ``address``."""
        [link] = re.findall(rf"{self.demo}{path}[/?]\S+", self.mail_with(address, path))
        return link

    @property
    def heading(self) -> str:
        return self.page.locator("h1").inner_text()

    # -- checks -------------------------------------------------------------------------------------

    def look(self, name: str) -> None:
        """Check the page's accessibility and its width, light and dark."""
        if self.mode != "mouse" or name in self.violations:
            return
        found: list[str] = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            report = Axe().run(self.page, options={"runOnly": {"type": "tag", "values": AXE_TAGS}})
            found += [
                f"{scheme}: {one['id']}: {one['help']}: {[node['target'] for node in one['nodes']]}"
                for one in report.response["violations"]
            ]
        for width in (320, 360, 768, 1280):
            self.page.set_viewport_size({"width": width, "height": 740})
            over = self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if over > 0:
                found.append(f"{over} px too wide at {width} px")
        found += [f"target below 24 px: {text}" for text in self.page.evaluate(SMALL_TARGETS)]
        self.page.set_viewport_size({"width": 360, "height": 740})
        self.page.emulate_media(color_scheme="light")
        self.violations[name] = found

    def close(self) -> None:
        self.context.close()
        other_hosts = {request for request in self.requests if urlsplit(request).hostname != "127.0.0.1"}
        assert other_hosts == set(), "requests off this machine"
        assert self.complaints == []
        assert {name: found for name, found in self.violations.items() if found} == {}

    # -- inner -------------------------------------------------------------------------------------

    def _tab_to(self, name: str | re.Pattern[str]) -> None:
        for _ in range(60):
            focused = self.page.evaluate(FOCUSED)
            if name.fullmatch(focused) if isinstance(name, re.Pattern) else focused == name:
                outline = self.page.evaluate(OUTLINE)
                ours = self.page.url.startswith(f"{self.demo}/auth/")
                assert outline or not ours, f"{name} has focus and does not show it"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"The keyboard does not reach {name!r} on {self.page.url}")

    def _read(self, path: str) -> str:
        with urllib.request.urlopen(self.demo + path) as answer:
            return answer.read().decode()

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and response.request.is_navigation_request():
            self._failed_urls.add(response.url)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Browsers log every error response; error pages are expected.
        url = message.location.get("url", "")
        if (
            message.type in ("error", "warning")
            and url not in self._failed_urls
            and not url.endswith("/favicon.ico")
        ):
            self.complaints.append(f"{self.page.url}: {message.text} ({url})")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.requests.append(request.url)


AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOCUSED = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return "";
  if (one.labels && one.labels.length) return one.labels[0].innerText.trim();
  return (one.innerText || one.value || "").trim().replace(/\\s+/g, " ");
}"""
OUTLINE = "parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"
SMALL_TARGETS = """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), summary")]
  .filter((one) => one.offsetParent && !(one.tagName === "A" && getComputedStyle(one).display === "inline"))
  .filter((one) => { const box = one.getBoundingClientRect(); return box.width < 24 || box.height < 24; })
  .map((one) => one.outerHTML.slice(0, 80))"""

NewVisitor = Callable[..., Visitor]


@pytest.fixture
def another(chromium: Browser, demo: str) -> Iterator[NewVisitor]:
    """Create visitors; each is checked again when the test ends."""
    visitors: list[Visitor] = []

    def make(mode: str = "mouse", language: str = "en") -> Visitor:
        visitors.append(Visitor(chromium, demo, mode, language))
        return visitors[-1]

    yield make
    for one in visitors:
        one.close()


@pytest.fixture(params=["mouse", "keyboard", "no-javascript"])
def visitor(request: pytest.FixtureRequest, another: NewVisitor) -> Visitor:
    """A visitor with a mouse, with a keyboard alone, and without JavaScript."""
    return another(request.param)


@pytest.fixture
def totp() -> Callable[[str, int], str]:
    """The code of an authenticator app (RFC 6238): ``totp(secret, steps)`` from now."""

    def code(secret: str, steps: int = 0) -> str:
        counter = struct.pack(">Q", int(time.time()) // 30 + steps)
        digest = hmac.digest(base64.b32decode(secret.replace(" ", "")), counter, "sha1")
        offset = digest[-1] & 15
        return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"

    return code
