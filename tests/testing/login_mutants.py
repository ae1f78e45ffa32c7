"""A sound login method, and copies with one fault each.

Run by test_login_method_contract.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import AuthError, CredentialRejected
from asok_auth_core.flows.login import complete_login
from asok_auth_core.plugin import LoginMethod, hookimpl
from asok_auth_core.testing import Browser, LoginMethodContract, TestParts
from asok_auth_core.types import OutgoingMail, Proof, SessionRecord, User
from asok_auth_core.web import Route, WebRequest, WebResponse


class Pin(LoginMethod):
    """Mails a number of twenty digits that is good once."""

    name = "pin"

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def routes(self) -> Iterable[Route]:
        return (
            Route("/auth/pin/send", post=self.send),
            Route("/auth/pin/enter", get=self.page, post=self.enter),
        )

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
        return Markup('<form method="post" action="/auth/pin/send">{}<input name="email"></form>').format(
            request.csrf_field
        )

    def page(self, request: WebRequest) -> WebResponse:
        return WebResponse(str(Markup('<form method="post">{}</form>').format(request.csrf_field)))

    def send(self, request: WebRequest) -> WebResponse:
        email = request.form.get("email", "")
        pin = str(int.from_bytes(self.auth.random(9), "big")).zfill(22)
        if self.auth.users.by_email(email) is not None:
            self.auth.state.put(self.key(pin), email.encode(), 600)
            self.auth.outbox.post(OutgoingMail(email, "Your number", f"It is {pin}."))
        return WebResponse.see_other("/auth/pin/enter")

    def enter(self, request: WebRequest) -> WebResponse:
        pin = request.form.get("code", "")
        if not re.fullmatch("[0-9]{22}", pin):
            raise CredentialRejected("That is not the number.")
        email = self.redeem(self.key(pin))
        if email is None:
            raise CredentialRejected("That is not the number.")
        user = self.auth.users.by_email(email.decode())
        if user is None:
            raise CredentialRejected("That is not the number.")
        return WebResponse.see_other(self.admit(request, user, pin))

    def key(self, pin: str) -> str:
        return f"pin:{pin}"

    def redeem(self, key: str) -> bytes | None:
        return self.auth.state.take(key)

    def admit(self, request: WebRequest, user: User, pin: str) -> str:
        return complete_login(self.auth, request, user, Proof(self.name))


class Suite(LoginMethodContract):
    method: type[Pin] = Pin

    def plugin(self) -> object:
        method = self.method

        class Plugin:
            @hookimpl
            def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
                return [method(auth)]

        return Plugin()

    def log_in(self, auth: Auth, parts: TestParts, browser: Browser) -> WebResponse:
        browser.post("/auth/pin/send", {"email": "ada@example.com"})
        auth.outbox.flush(60)
        [pin] = re.findall("[0-9]{22}", parts.mail.sent[-1].text)
        return self.enter(browser, pin)

    def enter(self, browser: Browser, pin: str) -> WebResponse:
        return browser.post("/auth/pin/enter", {"code": pin})


class TestSound(Suite):
    pass


class TestLink(Suite):
    """Another sound one: a mailed link that GET follows, not on the login page."""

    class method(Pin):
        def routes(self) -> Iterable[Route]:
            return (Route("/auth/pin/send", post=self.send), Route("/auth/pin/enter", get=self.enter))

        def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup | None:
            return None

        def enter(self, request: WebRequest) -> WebResponse:
            if "code" not in request.query:
                return WebResponse('<form action="/search"><input name="q"></form>')
            request.form = request.query
            return super().enter(request)

    def enter(self, browser: Browser, pin: str) -> WebResponse:
        return browser.get(f"/auth/pin/enter?code={pin}")


class TestLasting(Suite):
    """A sound one whose proof lasts, such as a password."""

    single_use = False

    class method(Pin):
        def redeem(self, key: str) -> bytes | None:
            return self.auth.state.get(key)


class TestReplay(Suite):
    class method(Pin):
        def redeem(self, key: str) -> bytes | None:
            return self.auth.state.get(key)


class TestNewestKeyOnly(Suite):
    class method(Pin):
        def key(self, pin: str) -> str:
            return f"pin:{self.auth.keys.digests('pin', pin)[0]}"


class TestReplayOfJson(Suite):
    """The proof is in a body of JSON, not in a form."""

    class method(Pin):
        def routes(self) -> Iterable[Route]:
            return (
                Route("/auth/pin/send", post=self.send),
                Route("/auth/pin/enter", post=self.enter_json, json=True),
            )

        def enter_json(self, request: WebRequest) -> WebResponse:
            sent = request.json
            request.form = {"code": str(sent["code"])} if isinstance(sent, dict) and "code" in sent else {}
            return super().enter(request)

        def redeem(self, key: str) -> bytes | None:
            return self.auth.state.get(key)

    def enter(self, browser: Browser, pin: str) -> WebResponse:
        return browser.send("POST", "/auth/pin/enter", json={"code": pin})


class TestOwnPipeline(Suite):
    class method(Pin):
        def admit(self, request: WebRequest, user: User, pin: str) -> str:
            record = SessionRecord("made-up", str(user.id), self.name, (), 0.0, 0.0, False, "")
            request.session.begin(user, record)
            self.auth.events.emit("login.succeeded", user=user, method=self.name)
            return "/"


class TestFixation(Suite):
    class method(Pin):
        def admit(self, request: WebRequest, user: User, pin: str) -> str:
            request.session.user = user  # type: ignore[attr-defined]
            self.auth.events.emit("login.succeeded", user=user, method=self.name)
            return "/"


class TestBackDoor(Suite):
    class method(Pin):
        def page(self, request: WebRequest) -> WebResponse:
            ada = self.auth.users.by_id("1")
            if request.query.get("token") and ada is not None:
                complete_login(self.auth, request, ada, Proof(self.name))
            return super().page(request)


class TestOpenRedirect(Suite):
    class method(Pin):
        def page(self, request: WebRequest) -> WebResponse:
            return WebResponse.see_other(request.query.get("next", "/"))


class TestUnescaped(Suite):
    class method(Pin):
        def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
            return Markup(f"<a href='/auth/pin?next={request.query.get('next')}'>Number</a>")


class TestUnescapedButtons(Suite):
    class method(Pin):
        def buttons(self, request: WebRequest, next_url: str | None = None) -> Markup:
            return Markup(f"<a href='/auth/pin?next={next_url}'>Number</a>")


class TestRedirectsAnywhere(Suite):
    class method(Pin):
        def allows_redirect(self, url: str) -> bool:
            return url.startswith("https://")


class TestRedirectsByPrefix(Suite):
    class method(Pin):
        def form_action_origins(self) -> list[str]:
            return ["https://login.example"]

        def allows_redirect(self, url: str) -> bool:
            return url.startswith("https://login.example")


class TestEveryOrigin(Suite):
    class method(Pin):
        def form_action_origins(self) -> list[str]:
            return ["https:"]


class TestWithoutCsrf(Suite):
    class method(Pin):
        def routes(self) -> Iterable[Route]:
            return (
                Route("/auth/pin/send", post=self.send, csrf=False),
                Route("/auth/pin/enter", post=self.enter),
            )


class TestWithoutField(Suite):
    class method(Pin):
        def page(self, request: WebRequest) -> WebResponse:
            return WebResponse('<form method="post"><input name="code"></form>')


class TestBreaks(Suite):
    class method(Pin):
        def enter(self, request: WebRequest) -> WebResponse:
            int(request.form.get("code", ""))
            return super().enter(request)


class TestTalkative(Suite):
    class method(Pin):
        def admit(self, request: WebRequest, user: User, pin: str) -> str:
            self.auth.events.emit("pin.used", user=user, pin=pin)
            return super().admit(request, user, pin)
