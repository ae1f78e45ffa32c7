"""Every journey of the demo, by mouse, by keyboard, without JavaScript."""

from __future__ import annotations

import io
import itertools
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
import zxingcpp
from PIL import Image

pytestmark = pytest.mark.browser

numbers = itertools.count(1)


@pytest.fixture
def address() -> str:
    return f"user-{next(numbers)}@example.org"


def test_link(visitor, address):
    visitor.goto("/auth/login")
    visitor.look("login")
    visitor.log_in_by_link(address)
    assert visitor.page.url == f"{visitor.demo}/"
    assert address in visitor.page.inner_text("body")


def test_code_in_another_browser(visitor, another, address):
    other = another()
    other.goto("/auth/login")
    other.fill("Email address", address)
    other.press("Send me a link and a code")
    visitor.goto("/auth/login")
    visitor.press("I already have a code")
    visitor.look("code without a mail")
    visitor.fill("Email address", address)
    visitor.fill("Code from the email", "2222-2222")
    visitor.press("Log in")
    visitor.look("wrong code")
    field = visitor.page.get_by_label("Code from the email")
    assert field.get_attribute("aria-invalid") == "true"
    described = field.get_attribute("aria-describedby").split()
    assert "already used" in visitor.page.locator(f"#{described[0]}").inner_text()
    visitor.fill("Email address", address)
    visitor.fill("Code from the email", visitor.mail(address)[1].lower().replace("-", " "))
    visitor.press("Log in")
    assert address in visitor.page.inner_text("body")


def test_wrong_address(visitor):
    visitor.goto("/auth/login")
    visitor.fill("Email address", "ada@example")
    visitor.press("Send me a link and a code")
    visitor.look("wrong address")
    field = visitor.page.get_by_label("Email address")
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("one => one === document.activeElement")


@pytest.mark.parametrize(
    ("label", "domain"), [("Google", "example.com"), ("GitHub", "example.com"), ("Harbour ID", "example.com")]
)
def test_provider(visitor, label, domain):
    visitor.goto("/auth/login")
    visitor.press(f"Continue with {label}")
    assert visitor.page.url.startswith("http://127.0.0.1")
    assert not visitor.page.url.startswith(visitor.demo)
    visitor.look(f"accounts at {label}")
    visitor.press("Ada Example")
    body = visitor.page.inner_text("body")
    assert f"ada@{domain}" in body or "already" in body, body
    visitor.look(f"after {label}")


def test_provider_cancelled(visitor):
    visitor.goto("/auth/login")
    visitor.press("Continue with Google")
    visitor.press("Cancel")
    assert visitor.heading == "Login canceled"
    visitor.look("cancelled")
    visitor.press("Back to login")
    assert visitor.page.url.startswith(f"{visitor.demo}/auth/login")


def test_second_factor(visitor, another, address, totp):
    visitor.log_in_by_link(address)
    visitor.goto("/auth/account")
    visitor.look("account")
    visitor.press(re.compile("Set up.*Two-factor authentication", re.DOTALL))
    visitor.look("second factor off")
    visitor.press("Set up an authenticator app")
    visitor.look("enrol")
    secret = visitor.page.locator(".asok-auth-secret").text_content()
    visitor.fill("Code shown in the app", "000000")
    visitor.press("Turn on")
    visitor.look("wrong enrolment code")
    assert visitor.page.locator(".asok-auth-secret").text_content() == secret, "the QR code stays"
    visitor.fill("Code shown in the app", totp(secret, -1))
    visitor.press("Turn on")
    visitor.look("recovery codes")
    assert visitor.heading == "Your recovery codes"
    codes = visitor.page.locator("#asok-auth-codes").inner_text().split()
    assert len(set(codes)) == 10
    for button in ("Copy", "Print"):
        shown = visitor.page.get_by_role("button", name=button).is_visible()
        assert shown == (visitor.mode != "no-javascript")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("link", name="Download").click()
    assert all(code in download.value.path().read_text() for code in codes)
    visitor.press("I have saved the codes, continue")
    visitor.goto("/auth/totp")
    visitor.look("second factor on")

    again = another(visitor.mode)
    again.log_in_by_link(address)
    again.look("second factor")
    assert again.heading == "Two-factor authentication"
    again.goto("/auth/account")
    assert again.heading == "Log in to the demo"
    assert again.page.url.endswith("/auth/login?next=/auth/account")
    again.goto("/auth/second-factor")
    again.fill("Code from your authenticator app", "123456")
    again.press("Log in")
    again.look("second factor wrong")
    field = again.page.get_by_label("Code from your authenticator app")
    assert "asok-auth-rejection" in field.get_attribute("aria-describedby")
    again.fill("Code from your authenticator app", totp(secret))
    again.press("Log in")
    assert address in again.page.inner_text("body")

    third = another(visitor.mode)
    third.log_in_by_link(address)
    third.press("Use another method: Recovery code")
    third.look("recovery code")
    third.fill("One of your recovery codes", codes[3])
    third.press("Log in")
    assert address in third.page.inner_text("body")
    third.goto("/auth/account")
    assert "Recovery codes left: 9." in third.page.inner_text("main")
    third.look("account with second factor")


@pytest.mark.parametrize("address", ["ada@example.org", "a" * 64 + "@" + "b" * 60 + ".example.org"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_camera_reads_the_qr_code(another, address, width):
    """However long the address is, in the dark and on a small phone."""
    ada = another()
    ada.page.emulate_media(color_scheme="dark")
    ada.page.set_viewport_size({"width": width, "height": 740})
    ada.log_in_by_link(address)
    ada.page.set_viewport_size({"width": width, "height": 740})
    ada.goto("/auth/totp")
    ada.press("Set up an authenticator app")
    uri = ada.page.locator('a[href^="otpauth:"]').get_attribute("href")
    box = ada.page.locator(".asok-auth-qr svg").bounding_box()
    card = ada.page.locator(".asok-auth-card").bounding_box()
    assert box["x"] >= card["x"]
    assert box["x"] + box["width"] <= card["x"] + card["width"]
    picture = Image.open(io.BytesIO(ada.page.screenshot(full_page=True)))
    (found,) = zxingcpp.read_barcodes(picture)
    assert found.text == uri
    assert len(uri) > len(address) + 80


def test_token(visitor, address):
    visitor.log_in_by_link(address)
    token = visitor.create_token("Backup")
    assert visitor.page.get_by_role("button", name="Copy").is_visible() == (visitor.mode != "no-javascript")
    assert profile(visitor.demo, token) == (200, address)
    visitor.page.reload()
    assert visitor.page.url.endswith("/auth/account"), "a reload makes no second token"
    assert "This token was already created." in visitor.page.inner_text("main")
    visitor.look("account with a token")
    visitor.press("Revoke Backup")
    assert visitor.heading == "Revoke Backup?"
    visitor.look("ask before revoking")
    visitor.press("Revoke Backup")
    assert "The token was revoked." in visitor.page.inner_text("main")
    assert "Backup" not in visitor.page.inner_text("main")
    assert profile(visitor.demo, token)[0] == 401


def profile(demo: str, token: str) -> tuple[int, str | None]:
    call = urllib.request.Request(f"{demo}/api/profile", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(call) as answer:
            return answer.status, re.search(r"[\w-]+@example\.org", json.dumps(json.load(answer)))[0]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def test_link_and_unlink(visitor, address):
    visitor.log_in_by_link(address)
    visitor.goto("/auth/account")
    visitor.press("Link GitHub")
    visitor.press("Cleo Example")
    body = visitor.page.inner_text("main")
    assert "Unlink GitHub" in body, body
    visitor.look("account with a linked login")
    visitor.press("Unlink GitHub")
    assert visitor.heading == "Unlink GitHub?"
    visitor.press("Cancel")
    assert "Unlink GitHub" in visitor.page.inner_text("main")
    visitor.press("Unlink GitHub")
    visitor.press("Unlink GitHub")
    assert "GitHub was unlinked." in visitor.page.inner_text("main")
    assert "Unlink GitHub" not in visitor.page.inner_text("main")


@pytest.mark.requirement("SECURITY-23")
def test_log_out_of_other_sessions(visitor, another, address):
    """Effective on the next request."""
    other = another()
    other.log_in_by_link(address)
    visitor.log_in_by_link(address)
    visitor.goto("/auth/account")
    assert visitor.page.locator("text=Last active").count() == 1
    visitor.look("account with another device")
    visitor.press("Log out of all other devices")
    assert visitor.page.locator("text=Last active").count() == 0
    assert "All other devices were logged out." in visitor.page.inner_text("main")
    other.goto("/")
    assert "You are not logged in" in other.page.inner_text("body")
    visitor.goto("/")
    assert address in visitor.page.inner_text("body")


@pytest.mark.requirement("SECURITY-23")
def test_log_out_one_device(visitor, another, address):
    other, third = another(), another()
    for one in (other, third, visitor):
        one.log_in_by_link(address)
    visitor.goto("/auth/account")
    assert visitor.page.locator("text=Last active").count() == 2
    visitor.press(re.compile(r"Log out\s+.+ UTC", re.DOTALL))
    assert visitor.page.locator("text=Last active").count() == 1
    assert "The device was logged out." in visitor.page.inner_text("main")
    left = []
    for one in (other, third):
        one.goto("/")
        left.append(address in one.page.inner_text("body"))
    assert sorted(left) == [False, True]


def test_confirm_with_the_factor_set_up_elsewhere(visitor, another, address, totp):
    """The browser was logged in with one factor; it gives the other one and goes on."""
    visitor.log_in_by_link(address)
    other = another()
    other.log_in_by_link(address)
    other.goto("/auth/totp")
    other.press("Set up an authenticator app")
    secret = other.page.locator(".asok-auth-secret").text_content()
    other.fill("Code shown in the app", totp(secret, -1))
    other.press("Turn on")
    visitor.goto("/auth/token/new")
    assert visitor.heading == "Confirm it's you"
    visitor.look("confirm it's you")
    visitor.fill("Code from your authenticator app", totp(secret))
    visitor.press("Continue")
    assert visitor.heading == "Create an API token"


def test_log_out(visitor, address):
    visitor.log_in_by_link(address)
    visitor.press("Log out")
    visitor.look("log out")
    visitor.press("Log out")
    visitor.goto("/")
    assert "You are not logged in" in visitor.page.inner_text("body")
    visitor.goto("/auth/login")
    visitor.look("login page after a login by link")
    assert visitor.page.get_by_text("Last used").count() == 1
    visitor.press("Continue with Google")
    visitor.press("Ada Example")
    visitor.goto("/auth/logout")
    visitor.press("Log out")
    visitor.goto("/auth/login")
    visitor.look("login page after a login with Google")
    button = visitor.page.get_by_role("button", name="Continue with Google")
    assert "Last used" in button.inner_text()


def test_error_pages(visitor, address):
    visitor.goto("/editors")
    assert visitor.page.url.endswith("/auth/login?next=/editors")
    visitor.log_in_by_link(address)
    visitor.goto("/editors")
    visitor.look("no permission")
    link = visitor.mail(address)[0]
    visitor.goto(link)
    visitor.look("used link")
    assert "already used" in visitor.page.inner_text("main")
    visitor.goto("/auth/google/callback?state=x&code=y")
    visitor.look("stale answer of a provider")
    assert visitor.heading == "This login is no longer valid"
    visitor.goto("/auth/login")
    visitor.look("login while logged in")
    visitor.goto("/auth/google/login")
    visitor.look("start at a provider")
    visitor.goto("/auth/dev/mailbox")
    visitor.look("mailbox")


def test_role(visitor, address):
    """A page that needs a permission, without and with the role that has it."""
    visitor.log_in_by_link(address)
    visitor.look("start of the demo")
    visitor.press("The editors' page")
    assert visitor.heading == "Access denied"
    visitor.goto("/become-editor")
    visitor.look("without a role")
    visitor.press("Become an editor")
    assert visitor.heading == "Editors"
    visitor.look("editors")
    visitor.goto("/become-editor")
    visitor.look("with a role")
    visitor.press("Give the role back")
    assert "posts.edit" in visitor.page.inner_text("main")


def test_deleted_mail(visitor):
    visitor.goto("/auth/dev/mailbox/0")
    visitor.look("deleted mail")
    assert visitor.heading == "Email not found"


def test_form_of_another_session(another, address):
    visitor = another()
    visitor.goto("/auth/login")
    visitor.context.clear_cookies()
    visitor.fill("Email address", address)
    visitor.press("Send me a link and a code")
    assert "has expired" in visitor.page.inner_text("main")
    visitor.look("expired form")


def test_right_to_left_and_first_paint(another, record_property: Callable[[str, object], None]):
    """Right-to-left pages are mirrored; the login page is small and fast."""
    visitor = another()
    sizes: dict[str, int] = {}
    visitor.page.on("response", lambda r: sizes.update({r.url: len(r.body())}) if r.status == 200 else None)
    visitor.goto("/auth/login")
    time.sleep(0.5)
    paint = visitor.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    sheets = [url for url in sizes if url.endswith(".css")]
    record_property("first contentful paint (ms)", round(paint))
    record_property("bytes", sizes)
    print(f"login page: first contentful paint {paint:.0f} ms, bytes {sizes}")
    assert len(sheets) == 1
    visitor.page.evaluate("document.documentElement.dir = 'rtl'")
    visitor.look("login from right to left")


def test_french(another, address):
    visitor = another(language="fr-CA")
    visitor.goto("/auth/login")
    assert visitor.heading == "Se connecter \u00e0 the demo"
    assert visitor.page.locator("html").get_attribute("lang") == "fr"
    visitor.fill("Adresse e-mail", address)
    visitor.press("M\u2019envoyer un lien et un code")
    visitor.look("code in French")
    assert "Ouvrez ce lien" in visitor.read_mail(address, "/auth/magic/callback")
    visitor.goto(visitor.mail(address)[0])
    visitor.press("Se connecter")
    visitor.goto("/auth/account")
    visitor.look("account in French")


BROKEN_WORDS = """() => [...document.querySelectorAll("h1, h2, label, button, a")].filter((one) => {
  const isLetter = (sign) => /\\p{L}/u.test(sign);
  const walker = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    let line = null, before = "";
    for (let at = 0; at < node.length; at++) {
      const range = document.createRange(), sign = node.data[at];
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      // A space at the end of a line has no width, nor has a soft hyphen that is not used.
      const box = [...range.getClientRects()].filter((one) => one.width).pop();
      if (box) {
        if (line !== null && box.top > line + 5 && isLetter(sign) && isLetter(before)) return true;
        line = box.top;
      }
      before = sign;
    }
  }
  return false;
}).map((one) => one.textContent.trim())"""


def test_german(another, address, totp):
    """Long words: pages fit into 320 px, and no heading breaks within a word."""
    visitors = [another(language="de-AT") for _ in range(2)]
    broken: dict[str, list[str]] = {}

    def look(one, name: str) -> None:
        assert one.page.locator("html").get_attribute("lang") == "de"
        one.look(f"{name} in German")
        one.page.set_viewport_size({"width": 320, "height": 740})
        if found := one.page.evaluate(BROKEN_WORDS):
            broken[name] = found

    def log_in(one) -> None:
        one.goto("/auth/login")
        look(one, "login")
        one.fill("E-Mail-Adresse", address)
        one.press("Link und Code senden")
        look(one, "code")
        assert "Öffnen Sie diesen Link" in one.read_mail(address, "/auth/magic/callback")
        one.goto(one.mail(address)[0])
        look(one, "confirm")
        one.press("Anmelden")

    ada, again = visitors
    ada.goto("/auth/account")
    look(ada, "log in first")
    ada.goto("/auth/google/callback?state=x&code=y")
    look(ada, "stale answer of a provider")
    log_in(ada)
    ada.goto("/auth/totp")
    look(ada, "second factor off")
    ada.press("Authenticator-App einrichten")
    look(ada, "enrol")
    secret = ada.page.locator(".asok-auth-secret").text_content()
    ada.fill("Code aus der App", totp(secret, -1))
    ada.press("Aktivieren")
    look(ada, "recovery codes")
    ada.press("Codes gespeichert, weiter")
    look(ada, "account")
    ada.goto("/auth/totp")
    look(ada, "second factor on")
    log_in(again)
    look(again, "second factor")
    again.press("Andere Methode verwenden: Wiederherstellungscode")
    look(again, "recovery code")
    ada.goto("/auth/logout")
    look(ada, "logout")
    assert broken == {}
