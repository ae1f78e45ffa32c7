"""Newcomers take every sign-up step before their account exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import ENROL, Browser, World, target
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import LoginExpired
from asok_auth_core.flows.attempts import pending_cookie
from asok_auth_core.flows.login import answer_step
from asok_auth_core.flows.sign_up import SIGN_UP_LIFETIME
from asok_auth_core.plugin import CredentialRejected, LoginAttempt, SignUpStep, StoreUnavailable, hookimpl
from asok_auth_core.testing import FakeRequest, FakeUser, MemoryUsers, error_code, raises_code
from asok_auth_core.testing.races import exactly_once, in_threads
from asok_auth_core.types import JSON, Newcomer, User
from asok_auth_core.web import WebRequest

EMAIL = "new@example.com"
PAGE = "/auth/sign-up"


class Question(SignUpStep):
    """Asks for a color, and keeps it in memory."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self.kept: dict[str, JSON] = {}
        self.needed: object = True
        self.fault: Exception | None = None
        self.attempts: list[LoginAttempt] = []

    def is_needed(self, attempt: LoginAttempt) -> bool:
        self.attempts.append(attempt)
        if isinstance(self.needed, Exception):
            raise self.needed
        return self.needed  # type: ignore[return-value]

    def heading(self, request: WebRequest) -> str:
        return f"Your {self.name}"

    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return Markup('<input name="{}"><p>{}</p>').format(self.name, problem or newcomer.email)

    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        if self.fault is not None:
            raise self.fault
        given = request.form.get(self.name)
        if not given:
            raise CredentialRejected("Choose one.")
        return {"chosen": given}

    def keep(self, user: User, answer: JSON) -> None:
        self.kept[str(user.id)] = answer


class Steps:
    """A plugin with steps."""

    __name__ = "steps"

    def __init__(self, *steps: SignUpStep) -> None:
        self.steps = steps

    @hookimpl
    def asok_auth_sign_up_steps(self, auth: Auth) -> list[SignUpStep]:
        return list(self.steps)


class Shop(World):
    """An app with the steps ``color`` and ``size``."""

    def __init__(self, root: Path, **options: object) -> None:
        self.color, self.size = Question("color"), Question("size")
        super().__init__(root, plugins=(Steps(self.color, self.size),), **options)  # type: ignore[arg-type]

    @property
    def accounts(self) -> int:
        return len(self.users)  # type: ignore[arg-type]

    @property
    def rows(self) -> int:
        """How many there are, without those that describe the database and count epochs."""
        return sum(row.kind not in ("installation", "epoch") for row in self.credentials._rows.values())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def take(browser: Browser, step: str, value: str = "red") -> str:
    return target(browser.post(PAGE, {"step": step, step: value}))


@pytest.mark.requirement("SECURITY-36")
@pytest.mark.parametrize("way", ["link", "provider"])
def test_no_account_before_each_step_is_taken_in_turn(shop: Shop, way: str) -> None:
    browser = Browser(shop)
    start = browser.log_in_by_mail(EMAIL) if way == "link" else browser.log_in_at_provider(email=EMAIL)
    assert target(start) == PAGE
    assert "Your color" in browser.get(PAGE).text
    assert EMAIL in browser.get(PAGE).text
    assert take(browser, "color") == PAGE
    assert "Your size" in browser.get(PAGE).text
    assert (shop.accounts, shop.rows, browser.user_id) == (0, 0, None)
    assert (shop.color.kept, shop.size.kept) == ({}, {})
    assert "account.created" not in shop.names
    assert take(browser, "size", "big") == "/"
    assert browser.user_id == "1"
    assert (shop.color.kept, shop.size.kept) == ({"1": {"chosen": "red"}}, {"1": {"chosen": "big"}})
    asked = shop.events("login.sign_up_step_required")
    assert [event.detail for event in asked] == [{"step": "color"}, {"step": "size"}]
    assert {event.method for event in asked} == {"magic" if way == "link" else "example"}
    kinds = ["email", "session"] if way == "link" else ["email", "identity", "session"]
    assert shop.kinds("1") == kinds


def test_a_form_that_will_not_do_is_shown_again(shop: Shop) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    answer = browser.post(PAGE, {"step": "color"})
    assert (answer.status, "Choose one." in answer.text) == (400, True)
    assert take(browser, "color") == PAGE


@pytest.mark.requirement("SECURITY-36")
@pytest.mark.parametrize(
    "form",
    [
        {"step": "size", "size": "big"},
        {"step": "size", "size": "big", "color": "red"},
        {"size": "big", "color": "red"},
        {"step": "other", "color": "red"},
        {"step": "", "color": "red"},
    ],
)
def test_no_step_can_be_skipped(shop: Shop, form: dict[str, str]) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    assert target(browser.post(PAGE, form)) == PAGE
    assert "Your color" in browser.get(PAGE).text
    take(browser, "color")
    assert take(browser, "color") == PAGE, "its form, sent again"
    assert "Your size" in browser.get(PAGE).text
    assert shop.accounts == 0


@pytest.mark.requirement("SECURITY-36", "SECURITY-19")
def test_a_pending_sign_up_has_no_authority(shop: Shop) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    for path in ("/auth/second-factor", "/auth/second-factor/enrol", "/auth/account", ENROL):
        assert browser.post(path, {"factor": "word", "word": "swordfish"}).status >= 400, path
        assert browser.get(path).status >= 400, path
    assert (shop.accounts, shop.rows, browser.user_id) == (0, 0, None)
    assert take(browser, "color") == PAGE


@pytest.mark.requirement("SECURITY-2", "SECURITY-36")
def test_it_belongs_to_one_browser(shop: Shop) -> None:
    browser, other = Browser(shop), Browser(shop)
    browser.log_in_by_mail(EMAIL)
    assert error_code(other.get(PAGE)) == error_code(other.post(PAGE, {"step": "color", "color": "red"}))
    assert error_code(other.get(PAGE)) == "login_expired"
    other.log_in_by_mail("other@example.com")
    assert "other@example.com" in other.get(PAGE).text
    take(other, "color")
    take(other, "size")
    assert [shop.users.by_email(one) is not None for one in (EMAIL, "other@example.com")] == [False, True]


@pytest.mark.requirement("SECURITY-1", "SECURITY-36")
def test_a_form_counts_once(shop: Shop) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    take(browser, "color")
    cookies = dict(browser.at.follow("/").cookies)
    take(browser, "size")
    shop.users.remove(FakeUser("1"))
    thief = FakeRequest(PAGE, auth=shop.auth, cookies=cookies, form={"step": "size", "size": "big"})
    assert error_code(shop.app.send(thief)) == "login_expired"
    assert (shop.accounts, shop.users.by_email(EMAIL)) == (0, None)


@pytest.mark.requirement("SECURITY-1", "SECURITY-36")
def test_of_answers_at_once_one_counts(shop: Shop) -> None:
    shop.size.needed = False
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)

    def answer() -> list[str]:
        with suppress(LoginExpired):
            return [answer_step(shop.auth, browser.at.follow(PAGE, form={}), "color", {"chosen": "red"})]
        return []

    exactly_once(in_threads(answer, 8), ["/"])
    assert (shop.accounts, shop.names.count("account.created")) == (1, 1)
    assert shop.names.count("login.succeeded") == 1


@pytest.mark.requirement("SECURITY-36")
def test_it_expires_and_logging_out_voids_it(shop: Shop) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    shop.clock.advance(SIGN_UP_LIFETIME - 1)
    assert browser.get(PAGE).status == 200
    shop.clock.advance(1)
    assert error_code(browser.get(PAGE)) == "login_expired"
    browser.log_in_by_mail(EMAIL)
    cookies = dict(browser.at.follow("/").cookies)
    browser.post("/auth/logout")
    kept = FakeRequest(PAGE, auth=shop.auth, cookies=cookies)
    assert error_code(shop.app.send(kept)) == "login_expired"


@pytest.mark.requirement("SECURITY-36")
def test_a_complete_login_voids_the_sign_up_that_this_browser_left(shop: Shop) -> None:
    shop.users.create("ada@example.com")
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    cookies = dict(browser.at.follow("/").cookies)
    browser.log_in_by_mail("ada@example.com")
    assert browser.user_id == "1"
    kept = FakeRequest(PAGE, auth=shop.auth, cookies=cookies)
    assert error_code(shop.app.send(kept)) == "login_expired"


@pytest.mark.requirement("SECURITY-36")
def test_policies_are_asked_again(shop: Shop) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    shop.size.needed, shop.part.closed = False, True
    assert error_code(browser.post(PAGE, {"step": "color", "color": "red"})) == "login_rejected"
    assert (shop.accounts, shop.rows) == (0, 0)
    shop.part.closed = False
    assert error_code(browser.get(PAGE)) == "login_expired"


@pytest.mark.parametrize("way", ["address", "identity"])
def test_an_account_that_exists_by_now_is_logged_in_to_anew(shop: Shop, way: str) -> None:
    """The first factor is up to an hour old, and the account may be another user's."""
    browser = Browser(shop)
    browser.log_in_at_provider(email=EMAIL)
    if way == "address":
        shop.users.create(EMAIL)
    else:
        other = Browser(shop)
        other.log_in_at_provider(email=EMAIL)
        take(other, "color")
        take(other, "size")
        shop.users.set_email(FakeUser("1"), "moved@example.com")
    take(browser, "color")
    answer = browser.post(PAGE, {"step": "size", "size": "big"})
    assert error_code(answer) == "login_expired"
    assert (shop.accounts, browser.user_id) == (1, None)


def test_users_who_have_an_account_are_not_asked(shop: Shop) -> None:
    shop.users.create(EMAIL)
    browser = Browser(shop)
    assert target(browser.log_in_by_mail(EMAIL)) == "/"
    assert (browser.user_id, shop.color.attempts) == ("1", [])


def test_where_the_login_leads_is_kept(shop: Shop) -> None:
    shop.size.needed = False
    browser = Browser(shop)
    browser.at, start = shop.app.log_in(browser.at, next_url="/inbox")
    assert target(start) == PAGE
    assert take(browser, "color") == "/inbox"
    [attempt] = {attempt.user for attempt in shop.color.attempts}
    assert attempt == Newcomer("ada@example.com", "Ada")


@pytest.mark.requirement("SECURITY-36", "SECURITY-19")
def test_the_second_factor_comes_after_the_steps(tmp_path: Path) -> None:
    shop = Shop(tmp_path, settings={"REQUIRE_2FA": True})
    browser = Browser(shop)
    assert target(browser.log_in_by_mail(EMAIL)) == PAGE
    take(browser, "color")
    assert take(browser, "size") == "/auth/second-factor/enrol"
    assert (shop.accounts, browser.user_id, shop.kinds("1")) == (1, None, [])
    assert shop.color.kept == {"1": {"chosen": "red"}}
    assert target(browser.post(ENROL)) == "/"
    assert browser.user_id == "1"


@pytest.mark.requirement("SECURITY-1")
def test_pressing_the_button_again_leads_to_the_same_sign_up(shop: Shop) -> None:
    browser = Browser(shop)
    token = shop.token(EMAIL)
    browser.open(token)
    assert target(browser.press(token, dropped=True)) == PAGE
    assert target(browser.press(token)) == PAGE
    assert shop.names.count("login.sign_up_step_required") == 1
    take(browser, "color")
    take(browser, "size")
    assert browser.user_id == "1"
    assert error_code(browser.press(token)) == "credential_rejected"


@pytest.mark.requirement("SECURITY-34")
@pytest.mark.parametrize("verdict", [None, "", 0, 1, "no"])
def test_only_false_skips_a_step(shop: Shop, verdict: object) -> None:
    shop.color.needed = verdict
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    assert "Your color" in browser.get(PAGE).text
    assert shop.accounts == 0


@pytest.mark.requirement("SECURITY-32", "SECURITY-34")
def test_a_step_that_raises_opens_no_account(shop: Shop) -> None:
    shop.color.needed = RuntimeError("no answer")
    browser = Browser(shop)
    assert error_code(browser.log_in_by_mail(EMAIL)) == "plugin_failed"
    shop.color.needed = True
    browser.log_in_by_mail(EMAIL)
    shop.color.fault = RuntimeError("no answer")
    assert error_code(browser.post(PAGE, {"step": "color", "color": "red"})) == "plugin_failed"
    shop.color.fields = lambda *args: "<b>"  # type: ignore[method-assign,assignment,return-value]
    assert error_code(browser.get(PAGE)) == "plugin_failed"
    assert (shop.accounts, shop.rows, browser.user_id) == (0, 0, None)


@pytest.mark.requirement("SECURITY-32", "SECURITY-36")
@pytest.mark.parametrize(
    ("fault", "code"),
    [(StoreUnavailable("The database is gone."), "store_unavailable"), (ValueError("no"), "plugin_failed")],
)
def test_an_account_whose_answer_cannot_be_kept_is_removed(shop: Shop, fault: Exception, code: str) -> None:
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    take(browser, "color")
    shop.color.keep = lambda user, answer: keep_row(shop, user, answer)  # type: ignore[method-assign]
    keep, shop.size.keep = shop.size.keep, lambda user, answer: fail(fault)  # type: ignore[method-assign]
    answer = browser.post(PAGE, {"step": "size", "size": "big"})
    assert error_code(answer) == code
    assert (shop.accounts, shop.rows, browser.user_id) == (0, 0, None)
    assert "account.created" not in shop.names
    shop.size.keep = keep  # type: ignore[method-assign]
    browser.log_in_by_mail(EMAIL)
    take(browser, "color")
    assert take(browser, "size") == "/"


def keep_row(shop: Shop, user: User, answer: JSON) -> None:
    shop.credentials.add(str(user.id), "color", str(user.id), answer)


def fail(error: Exception) -> None:
    raise error


def test_an_account_that_cannot_be_removed_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Forever(MemoryUsers):
        def remove(self, user: User) -> None:
            raise StoreUnavailable("The database is gone.")

    shop = Shop(tmp_path, users=Forever())
    shop.color.keep = lambda user, answer: fail(ValueError("no"))  # type: ignore[method-assign]
    shop.size.needed = False
    browser = Browser(shop)
    browser.log_in_by_mail(EMAIL)
    assert error_code(browser.post(PAGE, {"step": "color", "color": "red"})) == "plugin_failed"
    assert browser.user_id is None
    assert "The account 1 was created, but an answer of its sign-up could not be kept" in caplog.text


def test_programs_get_an_error_code(shop: Shop) -> None:
    token = shop.token(EMAIL)
    headers = {"Accept": "application/json"}
    request = FakeRequest("/auth/magic/callback", auth=shop.auth, form={"token": token}, headers=headers)
    answer = shop.app.send(request)
    assert (answer.status, json.loads(answer.text)["error"]) == (401, "login_unfinished")


@pytest.mark.requirement("SECURITY-30")
def test_what_waits_is_sealed_and_its_handle_is_secret(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    browser = Browser(shop)
    with caplog.at_level("DEBUG"):
        browser.log_in_by_mail("canary@example.com")
    request = browser.at.follow("/")
    handle = request.cookies[pending_cookie(request)]
    stored = repr(vars(shop.app._parts.state))
    for text in (caplog.text, repr(shop.part.events), stored):
        assert "canary@example.com" not in text
        assert handle not in text


class TestStart:
    @pytest.mark.requirement("SECURITY-34")
    def test_a_plugin_whose_steps_fail_stops_the_start(self, make_auth: Callable[..., Auth]) -> None:
        class Broken:
            @hookimpl
            def asok_auth_sign_up_steps(self, auth: Auth) -> list[SignUpStep]:
                raise RuntimeError("no settings")

        with raises_code("plugin", match="no settings"):
            make_auth(plugins=(Broken(),), settings={"STRICT": False}, config={"DEBUG": True})

    @pytest.mark.requirement("SECURITY-34")
    @pytest.mark.parametrize("steps", [["terms"], [Question], [Question("a"), Question("a")]])
    def test_steps_that_are_none_stop_the_start(
        self, make_auth: Callable[..., Auth], steps: list[SignUpStep]
    ) -> None:
        with raises_code("plugin", match="asok_auth_sign_up_steps"):
            make_auth(plugins=(Steps(*steps),), settings={"STRICT": False}, config={"DEBUG": True})

    @pytest.mark.requirement("SECURITY-34")
    def test_two_plugins_with_one_step_stop_the_start(self, make_auth: Callable[..., Auth]) -> None:
        other = Steps(Question("a"))
        other.__name__ = "other"  # type: ignore[attr-defined]
        with raises_code("plugin", match="'a'"):
            make_auth(plugins=(Steps(Question("a")), other), settings={"STRICT": False})
