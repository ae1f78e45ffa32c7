"""The contract suite of a :class:`~asok_auth_core.contracts.LoginMethod`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import pytest
from markupsafe import Markup

from ..auth import Auth
from ..contracts import LoginMethod, SecondFactor
from ..flows.login import log_out
from ..hookspecs import hookimpl
from ..paths import LOGIN_PATH, SECOND_FACTOR_PATH
from ..types import LoginAttempt, User
from ..web import WebRequest, WebResponse
from .fakes import FakeRequest, FakeUser, MemoryUsers
from .parts import Browser, TestParts
from .rotation import RotatingBrowser, prepared_config

HOSTILE = '"><script>alert(1)</script>'
GARBAGE = ("", " ", "\x00", "\r\nSet-Cookie: a=b", "😀" * 50, "' OR 1=1 --", HOSTILE, "a" * 10_000)


class RejectEveryUser:
    """A policy that rejects every login."""

    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> str:
        return "Not today."


class EnrolledFactor(SecondFactor):
    """A second factor that every user has and none can prove."""

    name = "contract"
    label = "Contract"

    def is_enrolled(self, user: User) -> bool:
        return True

    def reset(self, user: User) -> None:
        return

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup("")

    def verify(self, request: WebRequest, user: User) -> bool:
        return False


class FactorForEveryUser:
    """A plugin that registers :class:`EnrolledFactor`."""

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
        return [EnrolledFactor()]


class LoginMethodContract:
    """Inherit, name the class ``Test…``, write :meth:`plugin` and :meth:`log_in`."""

    settings: ClassVar[Mapping[str, object]] = {}
    """``AUTH``, if the method needs settings."""
    single_use: ClassVar[bool] = True
    """False for a method whose proof lasts, such as a password."""
    includes_factor: ClassVar[bool] = False
    """True for a method that passes ``factors`` to ``complete_login``: its proof is two factors already."""
    without_csrf: ClassVar[frozenset[str]] = frozenset()
    """Paths whose POST does not rely on the browser's session to authenticate the caller."""

    def plugin(self) -> object:
        """The plugin: a module or object with ``asok_auth_login_methods``."""
        raise NotImplementedError("Write plugin(): return your plugin.")

    def log_in(self, auth: Auth, parts: TestParts, browser: Browser) -> WebResponse:
        """Log Ada (ada@example.com, id 1) in with ``browser``; return the last answer.

        ``parts.mail.sent`` holds mails that were sent.
        """
        raise NotImplementedError(
            "Write log_in(): the steps a user takes, with browser.get and browser.post."
        )

    @pytest.fixture
    def build(self, make_auth: Callable[..., Auth]) -> Callable[..., Auth]:
        """Build an app with the plugin under test and others."""

        def build(*others: object) -> Auth:
            return make_auth(plugins=(self.plugin(), *others), settings=dict(self.settings))

        return build

    def _own(self, auth: Auth) -> list[LoginMethod]:
        core = {"token", "oauth"}
        own = [method for name, method in auth.login_methods.items() if name not in core]
        return own or list(auth.login_methods.values())

    def test_its_name_fits_into_paths_and_python(self, build: Callable[..., Auth]) -> None:
        for method in self._own(build()):
            assert re.fullmatch(r"[a-z][a-z0-9_]{1,30}", method.name), method.name

    @pytest.mark.requirement("SECURITY-18", "SECURITY-31")
    def test_a_valid_login_renews_the_session_and_emits_an_event(
        self, build: Callable[..., Auth], auth_parts: TestParts
    ) -> None:
        auth = build()
        browser = Browser(auth)
        before = browser.request.session.id
        self.log_in(auth, auth_parts, browser)
        assert browser.request.user is auth.users.by_id("1"), "log_in() did not log Ada in"
        assert browser.request.session.id != before, "session fixation: the session id must change"
        names = [event.name for event in auth_parts.events]
        assert names.count("login.succeeded") == 1

    @pytest.mark.requirement("SECURITY-1")
    def test_a_proof_works_once(
        self, build: Callable[..., Auth], auth_parts: TestParts, fake_users: MemoryUsers
    ) -> None:
        if not self.single_use:
            return
        auth = build()
        browser = Browser(auth)
        self.log_in(auth, auth_parts, browser)
        last = browser.request
        query = "&".join(f"{name}={value}" for name, value in last.query.items())

        def again(before: FakeRequest) -> FakeRequest:
            form, body, headers = last.form or None, last.body, last.headers
            target = f"{last.path}?{query}"
            return before.follow(target, method=last.method, form=form, body=body, headers=headers)

        browser.request = again(last)
        log_out(auth, browser.request)
        browser.repeat(again(browser.request))
        assert browser.request.user is None, "the same request logged in twice"

    @pytest.mark.requirement("SECURITY-29")
    def test_a_login_survives_a_rotation_of_the_apps_key(
        self, auth_parts: TestParts, make_auth: Callable[..., Auth]
    ) -> None:
        """Look a code up under all digests: older keys stay in the key ring."""

        def make(**more: object) -> Auth:
            return make_auth(plugins=(self.plugin(),), settings=dict(self.settings), **more)

        auth = make(config=prepared_config())
        browser = RotatingBrowser(auth, lambda config: make(config=config, credentials=auth.credentials))
        self.log_in(auth, auth_parts, browser)
        assert browser.request.user is auth.users.by_id("1"), "the method knows only the newest key"

    @pytest.mark.requirement("SECURITY-23")
    def test_a_disabled_account_is_rejected(
        self, build: Callable[..., Auth], auth_parts: TestParts, fake_users: MemoryUsers
    ) -> None:
        ada = fake_users.by_id("1")
        assert isinstance(ada, FakeUser)
        ada.is_active = False
        auth = build()
        browser = Browser(auth)
        self.log_in(auth, auth_parts, browser)
        assert browser.request.user is None

    def test_a_policy_can_reject_the_login(self, build: Callable[..., Auth], auth_parts: TestParts) -> None:
        auth = build(RejectEveryUser())
        browser = Browser(auth)
        self.log_in(auth, auth_parts, browser)
        assert browser.request.user is None
        assert "login.rejected" in [event.name for event in auth_parts.events]

    @pytest.mark.requirement("SECURITY-19")
    def test_the_second_factor_is_not_bypassed(
        self, build: Callable[..., Auth], auth_parts: TestParts
    ) -> None:
        auth = build(FactorForEveryUser())
        browser = Browser(auth)
        self.log_in(auth, auth_parts, browser)
        if self.includes_factor:
            record = browser.request.session_record
            assert record is not None, "the proof is two factors, but another one was asked for"
            assert record.factors, "complete_login was called without factors"
            return
        assert browser.request.user is None, "a login without its second factor has no authority"
        assert "login.second_factor_required" in [event.name for event in auth_parts.events]
        browser.post(SECOND_FACTOR_PATH, {"factor": EnrolledFactor.name})
        assert browser.request.user is None, "a second factor that was not given counted"
        assert "second_factor.failed" in [event.name for event in auth_parts.events]

    @pytest.mark.requirement("SECURITY-26")
    def test_opening_a_page_logs_no_one_in(self, build: Callable[..., Auth], auth_parts: TestParts) -> None:
        auth = build()
        for path in Browser(auth).paths:
            for method in ("GET", "HEAD"):
                for query in ("", "?token=x&code=x&state=x", f"?token={'a' * 5000}", "?next=//evil.example"):
                    browser = Browser(auth)
                    answer = browser.get(path + query, method=method)
                    assert browser.request.user is None, path
                    assert answer.status < 500, f"{method} {path}{query[:30]} answers {answer.status}"
                    location = dict(answer.headers).get("Location", "/")
                    assert not location.startswith(("//", "/\\", "http://evil", "https://evil")), path

    def test_garbage_logs_no_one_in_and_breaks_nothing(self, build: Callable[..., Auth]) -> None:
        auth = build()
        names = ("email", "code", "token", "password", "username", "next", "state")
        for method in self._own(auth):
            for route in method.routes():
                if route.post is None:
                    continue
                for value in GARBAGE:
                    browser = Browser(auth)
                    answer = browser.post(route.path, dict.fromkeys(names, value))
                    assert browser.request.user is None, route.path
                    assert answer.status < 500, f"POST {route.path} with {value[:20]!r}: {answer.status}"
                    assert "<script>alert(1)" not in answer.body, f"{route.path} repeats input unescaped"

    def test_every_form_has_the_csrf_field(self, build: Callable[..., Auth]) -> None:
        auth = build()
        for method in self._own(auth):
            exempt = {r.path for r in method.routes() if not r.csrf and set(r.methods) - {"GET", "HEAD"}}
            assert exempt <= self.without_csrf, f"CSRF is off for {sorted(exempt - self.without_csrf)}"
            request = FakeRequest(LOGIN_PATH)
            bodies = [str(method.login_block(request) or ""), str(method.buttons(request))]
            bodies += [Browser(auth).get(route.path).text for route in method.routes() if route.get]
            for body in bodies:
                for form in re.findall(r"<form\b.*?</form>", body, re.DOTALL | re.IGNORECASE):
                    if re.search(r"method\s*=\s*[\"']?post", form, re.IGNORECASE):
                        assert 'name="csrf_token"' in form, "a form without {{ csrf_field }}"

    def test_its_block_is_safe_on_the_login_page(self, build: Callable[..., Auth]) -> None:
        for method in self._own(build()):
            request = FakeRequest(LOGIN_PATH, query={"next": f"/{HOSTILE}"})
            for block in (method.login_block(request), method.buttons(request, f"/{HOSTILE}")):
                if block is None:
                    continue
                assert isinstance(block, Markup), "return Markup, so that the page need not trust a str"
                assert "<script>alert(1)" not in block
                assert not re.search(r"\son\w+\s*=|javascript:", str(block), re.IGNORECASE), "inline script"

    def test_it_opens_no_way_to_any_site(self, build: Callable[..., Auth]) -> None:
        for method in self._own(build()):
            origins = method.form_action_origins()
            for origin in origins:
                assert re.fullmatch(r"https?://[\w.\-\[\]:]+", origin), f"{origin!r} is not one origin"
            foreign = [
                f"{origin}{tail}" for origin in origins for tail in ("@evil.example/", ".evil.example/")
            ]
            for url in ("https://evil.example/", "//evil.example/", "javascript:alert(1)", "", *foreign):
                assert not method.allows_redirect(url), f"a redirect to {url!r} is an open redirect"

    @pytest.mark.requirement("SECURITY-30")
    def test_no_proof_is_in_events_or_logs(
        self, build: Callable[..., Auth], auth_parts: TestParts, caplog: pytest.LogCaptureFixture
    ) -> None:
        auth = build()
        browser = Browser(auth)
        with caplog.at_level("DEBUG"):
            self.log_in(auth, auth_parts, browser)
        given = {*browser.request.form.values(), *browser.request.query.values()}
        proofs = {value for value in given if len(value) >= 6 and value != "ada@example.com"}
        noted = repr(auth_parts.events) + caplog.text
        assert not [value for value in proofs if value in noted], "a proof was logged"
