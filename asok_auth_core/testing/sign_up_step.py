"""The contract suite of a sign-up step, as tests to inherit.

::

    class TestMyStep(SignUpStepContract):
        def plugin(self):
            return my_plugin

        def form(self, page):
            return {"age": "yes"}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import pytest
from markupsafe import Markup

from ..auth import Auth
from ..contracts import SignUpStep
from ..errors import LoginUnfinished
from ..flows.current_request import handling
from ..flows.login import complete_login
from ..hookspecs import hookimpl
from ..paths import SIGN_UP_PATH
from ..types import JSON, Newcomer, Proof, User
from ..web import WebRequest, WebResponse
from .fakes import MemoryUsers
from .login_method import HOSTILE
from .parts import Browser

EMAIL = "newcomer@example.com"
LATER = "contract_later"


class LaterStep(SignUpStep):
    """A step after those under test, which needs no answer."""

    name = LATER

    def heading(self, request: WebRequest) -> str:
        return "Later"

    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return Markup("")

    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        return None

    def keep(self, user: User, answer: JSON) -> None:
        return


class OneMoreStep:
    """A plugin that registers :class:`LaterStep`."""

    @hookimpl
    def asok_auth_sign_up_steps(self, auth: Auth) -> Iterable[SignUpStep]:
        return [LaterStep()]


class SignUpStepContract:
    """Inherit, name it ``Test…``, write :meth:`plugin` and :meth:`form`."""

    settings: ClassVar[Mapping[str, object]] = {}
    """``AUTH``, if the step needs settings."""

    def plugin(self) -> object:
        """The plugin: a module or object with ``asok_auth_sign_up_steps``."""
        raise NotImplementedError("Write plugin(): return your plugin.")

    def form(self, page: str) -> Mapping[str, str]:
        """The fields that a newcomer sends who takes the step; ``page`` is its HTML."""
        raise NotImplementedError("Write form(): return the fields that pass.")

    def rejected(self, page: str) -> Sequence[Mapping[str, str]]:
        """Fields that do not pass, besides none at all."""
        return []

    @pytest.fixture
    def build(self, make_auth: Callable[..., Auth]) -> Callable[..., Auth]:
        """Build an app with the plugin under test and others."""

        def build(*others: object) -> Auth:
            return make_auth(plugins=(self.plugin(), *others), settings=dict(self.settings))

        return build

    @pytest.mark.requirement("SECURITY-36")
    def test_no_account_exists_before_it_is_taken(
        self, build: Callable[..., Auth], fake_users: MemoryUsers
    ) -> None:
        browser = _newcomer(build())
        for method in ("GET", "HEAD", "GET"):
            assert browser.get(SIGN_UP_PATH, method=method).status == 200
        assert fake_users.by_email(EMAIL) is None, "an account exists before the step was taken"
        self._take_all(browser)
        user = fake_users.by_email(EMAIL)
        assert user is not None, "form() did not pass"
        assert browser.request.follow("/").user is user

    @pytest.mark.requirement("SECURITY-36")
    def test_other_forms_open_no_account(self, build: Callable[..., Auth], fake_users: MemoryUsers) -> None:
        browser = _newcomer(build())
        page = browser.get(SIGN_UP_PATH).text
        for fields in ({}, *self.rejected(page)):
            answer = browser.post(SIGN_UP_PATH, {**fields, "step": _step(page)})
            assert answer.status == 400, f"{dict(fields)} passed: check() must raise CredentialRejected"
            assert fake_users.by_email(EMAIL) is None
        self._take_all(browser)
        assert fake_users.by_email(EMAIL) is not None, "form() did not pass after a rejected form"

    def test_its_page_says_what_is_wrong_and_escapes_it(self, build: Callable[..., Auth]) -> None:
        auth = build()
        newcomer = Newcomer(EMAIL, HOSTILE)
        browser = _newcomer(auth, newcomer)
        assert HOSTILE not in browser.get(SIGN_UP_PATH).text
        for step in auth.sign_up_steps.values():
            with handling(auth, browser.request):
                fields = step.fields(browser.request, newcomer, f"A problem. {HOSTILE}")
                assert step.heading(browser.request).strip(), f"{step.name} has no heading"
            assert "A problem." in fields, f"fields() of {step.name} does not show the problem"
            assert HOSTILE not in fields, f"fields() of {step.name} does not escape the problem"
            assert "<form" not in fields, f"fields() of {step.name} has a form inside the form"

    def test_its_answer_can_wait_for_another_step(
        self, build: Callable[..., Auth], fake_users: MemoryUsers
    ) -> None:
        """It must be JSON, and ``keep`` must accept what JSON makes of it."""
        browser = _newcomer(build(OneMoreStep()))
        self._take_all(browser)
        assert fake_users.by_email(EMAIL) is not None, "keep() did not accept the answer of check()"

    def _take_all(self, browser: Browser) -> WebResponse:
        """Take the steps until the login goes elsewhere; return the last answer."""
        while True:
            page = browser.get(SIGN_UP_PATH).text
            step = _step(page)
            answer = browser.post(SIGN_UP_PATH, {**({} if step == LATER else self.form(page)), "step": step})
            if answer.status != 303 or dict(answer.headers).get("Location") != SIGN_UP_PATH:
                return answer


def _newcomer(auth: Auth, newcomer: Newcomer | None = None) -> Browser:
    """A browser whose user has no account, and is asked to take the first step."""
    browser = Browser(auth)
    with handling(auth, browser.request), pytest.raises(LoginUnfinished):
        complete_login(auth, browser.request, newcomer or Newcomer(EMAIL), Proof("app", EMAIL))
    return browser


def _step(page: str) -> str:
    """The name of the step that ``page`` is about."""
    found = re.search(r'name="step" value="([^"]*)"', page)
    assert found is not None, "the page of the step is an error page"
    return found[1]
