"""Magic links in a real Asok app: our pages and the documented calls."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestResponse
from asok_auth_tests.browser import FormBrowser, mail_text, mails
from asok_magic_link.method import MagicLinkMethod

from asok_auth_core.plugin import Event, MailPermanent, MailTemporary, hookimpl
from asok_auth_core.testing import asgi_call, asok_app

DOCUMENTED = {
    "login.py": """
from asok import Request

def post(request: Request):
    email = request.form.get("email")
    if email:
        request.auth.magic.send(request, email)
        return "Check your email!"

def get(request):
    return request.csrf_input()
""",
    "auth/magic/callback.py": """
from asok import Request
from models.user import User

def get(request: Request):
    token = request.query.get("token")
    email = request.auth.magic.verify_token(request, token)

    if email:
        user = User.find(email=email)
        if not user:
            user = User.create(email=email)
        request.login(user)
        return request.redirect("/")

    return "Invalid or expired token."
""",
    "token.py": """
def get(request):
    return request.auth.magic.create_token(request, "ada@example.org", expires_in=60)
""",
    "twin.py": """
async def get(request):
    await request.auth.magic.asend(request, "ada@example.org")
    return "sent"
""",
}


class Watching:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def app(tmp_path: Path, watching: Watching) -> Iterator[Asok]:
    with asok_app(tmp_path, plugins=[watching]) as made:
        yield made


class Browser(FormBrowser):
    def head(self, path: str) -> TestResponse:
        return self._request("HEAD", path)


@pytest.fixture
def browser(app: Asok) -> Browser:
    return Browser(app)


def link(mail: EmailMessage) -> str:
    parts = urlsplit(re.search(r"http://localhost\S+", mail_text(mail))[0])
    return f"{parts.path}?{parts.query}"


def code(mail: EmailMessage) -> str:
    return re.search(r"^    (\w{4}-\w{4})\s*$", mail_text(mail), re.MULTILINE)[1]


def ask(browser: Browser, address: str = "ada@example.org", **more: str) -> TestResponse:
    return browser.send_form("/auth/magic/send", page="/auth/login", email=address, **more)


def sent(app: Asok) -> EmailMessage:
    return mails(app)[-1]


@pytest.mark.requirement("SECURITY-18", "SECURITY-26")
def test_get_and_head_consume_nothing_and_the_button_logs_in(
    app: Asok, browser: Browser, watching: Watching
) -> None:
    """Scanners follow links; only the button consumes."""
    assert ask(browser).headers["Location"] == "/auth/magic/code"
    page = browser.get("/auth/magic/code").text
    assert "ada@example.org" in page
    path = link(sent(app))
    for _ in range(3):
        response = browser.get(path)
        assert response.status_code == 200
        assert browser.user == "nobody"
    assert browser.head(path).status_code == 200
    before = dict(browser.cookies)
    response = browser.send_form("/auth/magic/callback", page=path)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    assert browser.user == "ada@example.org"
    assert browser.cookies["asok_sid"] != before["asok_sid"], "a new session id at login"
    again = browser.get(path)
    assert again.status_code == 400
    assert "already used" in again.text
    assert browser.user == "ada@example.org", "a rejected code changes nothing"
    names = [event.name for event in watching.events]
    assert names == ["mail.sent", "magic.sent", "account.created", "login.succeeded"] or names == [
        "magic.sent",
        "mail.sent",
        "account.created",
        "login.succeeded",
    ]


@pytest.mark.requirement("SECURITY-1")
def test_another_browser_cannot_press_the_button_again(app: Asok, browser: Browser) -> None:
    ask(browser)
    path = link(sent(app))
    other = Browser(app)
    other.get(path)
    first = browser.send_form("/auth/magic/callback", page=path)
    second = other.post(
        "/auth/magic/callback",
        data={"csrf_token": other.cookies["asok_csrf"], "token": path.partition("token=")[2]},
    )
    assert (first.status_code, second.status_code) == (303, 400)
    assert "Request a new one" in second.text
    assert other.user == "nobody"


@pytest.mark.requirement("SECURITY-1")
def test_the_same_browser_gets_its_login_again(app: Asok, browser: Browser, watching: Watching) -> None:
    ask(browser)
    path = link(sent(app))
    browser.get(path)
    before = dict(browser.cookies)
    form = {"csrf_token": browser.cookies["asok_csrf"], "token": path.partition("token=")[2]}
    assert browser.post("/auth/magic/callback", data=form).status_code == 303
    browser.cookies.clear()
    browser.cookies.update(before)  # the answer was dropped
    assert browser.user == "nobody"
    browser.get("/auth/login")
    form["csrf_token"] = browser.cookies["asok_csrf"]
    assert browser.post("/auth/magic/callback", data=form).status_code == 303
    assert browser.user == "ada@example.org"
    assert [event.name for event in watching.events].count("login.succeeded") == 1


def test_the_code_logs_in_in_another_browser(app: Asok, browser: Browser) -> None:
    ask(browser)
    other = Browser(app)
    response = other.send_form(
        "/auth/magic/code", email="Ada@Example.org".lower(), code=code(sent(app)).lower()
    )
    assert response.status_code == 303
    assert other.user == "ada@example.org"
    assert browser.user == "nobody"
    rejected = Browser(app).send_form("/auth/magic/code", email="ada@example.org", code=code(sent(app)))
    assert rejected.status_code == 400
    assert Browser(app).get(link(sent(app))).status_code == 400, "one use voids the other"


@pytest.mark.requirement("SECURITY-16")
def test_next_is_kept_only_within_the_app(app: Asok, browser: Browser) -> None:
    """RFC 9700, section 4.11."""
    for wanted, location in (
        ("/inbox?a=1", "/inbox?a=1"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
    ):
        ask(browser, next=wanted)
        response = browser.send_form("/auth/magic/callback", page=link(sent(app)))
        assert response.headers["Location"] == location


def test_the_mail_names_the_app_the_lifetime_and_the_browser(app: Asok, browser: Browser) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    browser.get("/auth/login")
    browser.post(
        "/auth/magic/send",
        data={"csrf_token": browser.cookies["asok_csrf"], "email": "ada@example.org"},
        headers={"User-Agent": agent},
    )
    mail = sent(app)
    assert mail["To"] == "ada@example.org"
    assert mail["Subject"] == "Log in to this app"
    for body in (mail_text(mail), mail_text(mail, "html")):
        assert code(mail) in body
        assert link(mail).split("token=")[1] in body
        assert "60 minutes" in body
        assert "Firefox · Linux" in body
        assert "If you did not request this" in body


def test_the_mail_is_in_the_language_of_the_browser(app: Asok, browser: Browser) -> None:
    browser.get("/auth/login")
    browser.post(
        "/auth/magic/send",
        data={"csrf_token": browser.cookies["asok_csrf"], "email": "ada@example.org"},
        headers={"Accept-Language": "de-AT,de;q=0.9"},
    )
    mail = sent(app)
    assert mail["Subject"].endswith(" anmelden")
    for body in (mail_text(mail), mail_text(mail, "html")):
        assert "Oder geben Sie diesen Code auf der Seite ein" in body
        assert "Beide laufen in 60 Minuten ab." in body
        assert "Angefordert am " in body
    assert '<html lang="de" dir="ltr">' in mail_text(mail, "html")
    assert "Öffnen Sie diesen Link, um sich anzumelden:" in mail_text(mail)


def test_pages_are_not_cached_and_do_not_leak_the_token(app: Asok, browser: Browser) -> None:
    ask(browser)
    response = browser.get(link(sent(app)))
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert "http://" not in response.text.replace("http://localhost", "")


def test_a_form_without_a_csrf_token_is_rejected(app: Asok, browser: Browser) -> None:
    browser.get("/auth/login")
    response = browser.post("/auth/magic/send", data={"email": "ada@example.org"})
    assert response.status_code == 403
    assert "form_expired" in response.text
    assert mails(app) == []


BAD_ADDRESSES = [
    "",
    "ada",
    "ada@",
    "@example.org",
    "ada@example.org, eve@example.org",
    "ada@example.org;eve@example.org",
    "ada@example.org\r\nBcc: eve@example.org",
    "ada@example.org\0",
    "Ada <ada@example.org>",
    "\u0430da@example.org",
    "ada@exa mple.org",
    "a" * 10_000 + "@example.org",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=range(len(BAD_ADDRESSES)))
def test_an_invalid_email_is_rejected_on_the_form(app: Asok, browser: Browser, address: str) -> None:
    response = ask(browser, address, next="/inbox")
    assert response.status_code == 400
    assert "<h1>Log in to this app</h1>" in response.text
    assert '<input type="hidden" name="next" value="/inbox">' in response.text
    assert 'role="alert"' in response.text
    assert 'aria-invalid="true"' in response.text
    assert mails(app) == []


@pytest.mark.requirement("SECURITY-27")
def test_known_and_unknown_emails_get_the_same_answer(tmp_path: Path) -> None:
    """The same status, page and mail, but for the link and the code."""
    with asok_app(tmp_path) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        pages = []
        for address in ("ada@example.org", "eve@example.org"):
            browser = Browser(app)
            response = ask(browser, address)
            page = browser.get("/auth/magic/code")
            shown = page.text.replace(address, "ADDRESS")
            shown = re.sub(r'"[0-9a-f]{64}"|nonce="[^"]+"', "", shown)
            pages.append((response.status_code, response.headers["Location"], page.status_code, shown))
        assert pages[0] == pages[1]
        texts = []
        for mail in mails(app):
            for kind in ("plain", "html"):
                shown = mail_text(mail, kind).replace(code(mail), "CODE")
                texts.append(re.sub(r"token=[\w.-]+", "token=", shown))
        assert texts[:2] == texts[2:]
        assert MODELS_REGISTRY["User"].find(email="eve@example.org") is None


@pytest.mark.requirement("SECURITY-27")
def test_known_and_unknown_emails_cost_the_same_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An additional synced write could be measured from outside."""
    with asok_app(tmp_path) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        state = app.extensions["AuthExtension"].auth.state
        done: list[tuple[str, int]] = []

        def counted(name: str, operation: Callable[..., object]) -> Callable[..., object]:
            def counting(key: str, *rest: object) -> object:
                done.append((name, len(rest)))
                return operation(key, *rest)

            return counting

        browser = Browser(app)
        browser.get("/auth/login")
        seen = []
        with monkeypatch.context() as patch:
            for name in ("put", "get", "take", "add", "incr", "delete"):
                patch.setattr(state, name, counted(name, getattr(state, name)))
            for address in ("ada@example.org", "eve@example.org", "bob@example.org"):
                done.clear()
                ask(browser, address)
                seen.append(list(done))
        assert seen[0]
        assert seen[0] == seen[1] == seen[2]


@pytest.mark.requirement("SECURITY-27")
@pytest.mark.slow
def test_known_and_unknown_emails_take_the_same_time(tmp_path: Path) -> None:
    """Medians of CPU time differ by at most 0.5 ms; mail is sent in another thread."""
    limits = {"SENDS_PER_CLIENT": 10_000, "SENDS_PER_EMAIL": 10_000}
    with asok_app(tmp_path, auth={"MAGIC_LINK": limits, "STATE_STORE": "memory:"}) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        browser = Browser(app)
        browser.get("/auth/login")
        times: dict[str, list[float]] = {"ada@example.org": [], "eve@example.org": []}
        for _ in range(150):
            for address, measured in times.items():
                start = time.thread_time()
                browser.post(
                    "/auth/magic/send", data={"csrf_token": browser.cookies["asok_csrf"], "email": address}
                )
                measured.append(time.thread_time() - start)
        known, unknown = (sorted(measured)[75] for measured in times.values())
        assert abs(known - unknown) <= 0.0005, (known, unknown)


def test_sends_are_limited_per_email_and_per_client(tmp_path: Path) -> None:
    limits = {"SENDS_PER_EMAIL": 2, "SENDS_PER_CLIENT": 4}
    with asok_app(tmp_path, auth={"MAGIC_LINK": limits}) as app:
        answers = [ask(Browser(app)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [303, 303, 429]
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert "Try again in" in answers[-1].text
        assert ask(Browser(app), "ADA@example.org").status_code == 429, "case is no way round"
        assert ask(Browser(app), "bob@example.org").status_code == 429, "the client's limit"
        assert len(mails(app)) == 2


@pytest.mark.requirement("SECURITY-21")
def test_wrong_codes_are_limited_and_the_link_still_works(tmp_path: Path) -> None:
    """RFC 4226, section 7.3."""
    with asok_app(tmp_path, auth={"MAGIC_LINK": {"CODE_ATTEMPTS": 3}}) as app:
        browser = Browser(app)
        ask(browser)
        right = code(sent(app))
        answers = [
            Browser(app).send_form("/auth/magic/code", email="ada@example.org", code=wrong)
            for wrong in ("AAAA-AAAA", "BBBB-BBBB", "", right)
        ]
        assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
        assert browser.send_form("/auth/magic/callback", page=link(sent(app))).status_code == 303


def test_mail_that_cannot_be_sent_is_reported(
    app: Asok, browser: Browser, monkeypatch: pytest.MonkeyPatch, watching: Watching
) -> None:
    auth = app.extensions["AuthExtension"].auth

    def reject(mail: object) -> None:
        raise MailPermanent("The mail server rejected our name and password.")

    monkeypatch.setattr(auth.outbox._transport, "send", reject)
    response = ask(browser)
    assert response.status_code == 503
    assert "The email could not be sent" in response.text
    assert "mail_permanent" in response.text
    [event] = [event for event in watching.events if event.name == "mail.failed"]
    assert event.detail == {"domain": "example.org", "error": "mail_permanent"}


def test_mail_that_is_retried_is_reported(
    app: Asok, browser: Browser, monkeypatch: pytest.MonkeyPatch, watching: Watching
) -> None:
    def reject(mail: object) -> None:
        raise MailTemporary("The mail server does not answer.")

    monkeypatch.setattr(app.extensions["AuthExtension"].auth.outbox._transport, "send", reject)
    response = ask(browser)
    assert response.headers["Location"] == "/auth/magic/code?slow=1"
    assert "Our mail server is slow right now" in browser.get(response.headers["Location"]).text
    assert "mail.retrying" in [event.name for event in watching.events]
    monkeypatch.undo()


@pytest.mark.requirement("SECURITY-23")
def test_a_disabled_account_is_rejected(app: Asok, browser: Browser) -> None:
    MODELS_REGISTRY["User"].create(email="ada@example.org", is_active=False)
    ask(browser)
    response = browser.send_form("/auth/magic/callback", page=link(sent(app)))
    assert response.status_code == 403
    assert "disabled" in response.text
    assert browser.user == "nobody"


@pytest.mark.requirement("SECURITY-23")
def test_disabling_an_account_ends_its_sessions(app: Asok, browser: Browser) -> None:
    """They end on the next request."""
    ask(browser)
    browser.send_form("/auth/magic/callback", page=link(sent(app)))
    user = MODELS_REGISTRY["User"].find(email="ada@example.org")
    user.is_active = False
    user.save()
    assert browser.user == "nobody"


class TestDocumentedCalls:
    @pytest.fixture
    def app(self, tmp_path: Path, watching: Watching) -> Iterator[Asok]:
        with asok_app(tmp_path, pages=DOCUMENTED, plugins=[watching]) as made:
            yield made

    def test_the_documented_pages_log_in(self, app: Asok, browser: Browser, watching: Watching) -> None:
        response = browser.send_form("/login", email="ada@example.org")
        assert response.text.startswith("Check your email!")
        path = link(sent(app))
        assert path.startswith("/auth/magic/callback?token=")
        response = browser.get(path)
        assert (response.status_code, response.headers["Location"]) == (302, "/")
        assert browser.user == "ada@example.org"
        assert watching.events[-1].method == "magic"
        assert Browser(app).get(path).text.startswith("Invalid or expired token.")

    def test_an_invalid_token_is_none(self, app: Asok, browser: Browser) -> None:
        for query in ("", "?token=", "?token=x", "?token=" + "x" * 100_000):
            assert browser.get("/auth/magic/callback" + query).text.startswith("Invalid or expired token.")

    @pytest.mark.requirement("SECURITY-6")
    def test_a_token_signed_by_asok_is_rejected(self, app: Asok, browser: Browser) -> None:
        """In Asok 0.8 the bearer token "7|exp" logs in as the address "7"."""
        for payload in ("ada@example.org|9999999999", "7|9999999999"):
            forged = app._sign(payload)
            assert browser.get(f"/auth/magic/callback?token={forged}").text.startswith("Invalid")

    def test_create_token_returns_a_working_token(self, app: Asok, browser: Browser) -> None:
        token = browser.get("/token").text.splitlines()[0]
        assert browser.get(f"/auth/magic/callback?token={token}").status_code == 302
        assert browser.user == "ada@example.org"
        assert mails(app) == []

    def test_an_invalid_email_is_a_page_without_a_traceback(self, app: Asok, browser: Browser) -> None:
        response = browser.send_form("/login", email="a@b@c")
        assert response.status_code == 400
        assert "address_invalid" in response.text
        assert "Traceback" not in response.text

    def test_asend_can_be_awaited(self, app: Asok) -> None:
        status, _, body = asgi_call(app, "GET", "/twin")
        assert status == 200
        assert body.startswith("sent")
        assert len(mails(app)) == 1


def test_outside_debug_links_need_app_url(tmp_path: Path) -> None:
    """Links are never made from the Host header."""
    with asok_app(tmp_path, environ={"DEBUG": "false"}) as app:
        browser = Browser(app)
        response = ask(browser)
        assert response.status_code == 500
        assert mails(app) == []


def test_links_use_app_url_and_never_the_host_header(tmp_path: Path) -> None:
    with asok_app(tmp_path, config={"APP_URL": "https://app.example/"}, environ={"DEBUG": "false"}) as app:
        browser = Browser(app)
        browser.get("/auth/login")
        browser.post(
            "/auth/magic/send",
            data={"csrf_token": browser.cookies["asok_csrf"], "email": "ada@example.org"},
            headers={"Host": "evil.example"},
        )
        assert "https://app.example/auth/magic/callback?token=" in mail_text(sent(app))
        assert "evil" not in mail_text(sent(app))


def test_magic_links_are_an_ordinary_plugin(app: Asok) -> None:
    methods = app.extensions["AuthExtension"].auth.login_methods
    assert isinstance(methods["magic"], MagicLinkMethod)
