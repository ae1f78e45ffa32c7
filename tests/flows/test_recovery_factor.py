"""Recovery codes stand in for any factor: here a third-party one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import (
    AuthError,
    ConfigurationError,
    CredentialRejected,
    LoginRequired,
    PermissionDenied,
    RecentLoginRequired,
    SecondFactorRequired,
)
from asok_auth_core.flows.accounts import void_account
from asok_auth_core.flows.factor_policy import enrolled_factors
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.recovery_codes import (
    issue_recovery_codes,
    recovery_codes,
    recovery_codes_left,
    renew_recovery_codes,
)
from asok_auth_core.flows.second_factor import complete_enrolment, enrolling_user, remove_factor
from asok_auth_core.methods.recovery import show_recovery_codes
from asok_auth_core.plugin import Proof, SecondFactor, hookimpl
from asok_auth_core.testing import SecondFactorContract, TestParts
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, FrozenClock, MemoryUsers
from asok_auth_core.testing.parts import Browser, build_auth
from asok_auth_core.types import Authentication, User
from asok_auth_core.web import Route, WebRequest, WebResponse

CODES_PATH = "/auth/recovery/codes"


class Key(SecondFactor):
    """A third party's factor, with recovery codes of the core."""

    name: ClassVar[str] = "key"
    label: ClassVar[str] = "Security key"
    enrol_path: ClassVar[str | None] = "/auth/key"
    waits: ClassVar[object] = False

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def is_enrolled(self, user: User) -> bool:
        return self.auth.credentials.find(self.name, str(user.id)) is not None

    def reset(self, user: User) -> None:
        row = self.auth.credentials.find(self.name, str(user.id))
        if row is not None:
            self.auth.credentials.remove(row)

    def waits_for_import(self, user: User) -> bool:
        return self.waits  # type: ignore[return-value]

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="code">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("code") == "touched"

    def routes(self) -> Iterable[Route]:
        return (Route("/auth/key", get=self._page, post=self._confirm),)

    def store(self, user: User) -> None:
        self.auth.credentials.add(str(user.id), self.name, str(user.id), {})

    def _page(self, request: WebRequest) -> WebResponse:
        return WebResponse(str(enrolling_user(self.auth, request).id))

    def _confirm(self, request: WebRequest) -> WebResponse:
        user = enrolling_user(self.auth, request)
        self.store(user)
        codes = issue_recovery_codes(self.auth, user)
        location = complete_enrolment(self.auth, request, user, self.name)
        return show_recovery_codes(self.auth, request, codes, location)


class Pin(Key):
    name: ClassVar[str] = "pin"
    label: ClassVar[str] = "PIN"
    enrol_path: ClassVar[str | None] = None

    def routes(self) -> Iterable[Route]:
        return ()


def plugin_of(*kinds: Callable[[Auth], SecondFactor]) -> object:
    class Plugin:
        @hookimpl
        def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
            return [kind(auth) for kind in kinds]

    return Plugin()


class Shop:
    """One app with third-party second factors only."""

    def __init__(self, root: Path, *kinds: Callable[[Auth], SecondFactor], **settings: object) -> None:
        self.clock = FrozenClock()
        self.ada = FakeUser("1", "ada@example.com")
        self.parts = TestParts(self.clock)
        self.auth = build_auth(
            root,
            plugins=[plugin_of(*kinds)],
            settings=settings,
            users=MemoryUsers(self.ada, FakeUser("2", "bob@example.com")),
            clock=self.clock,
            parts=self.parts,
        )

    def log_in(self, code: str | None = None, factor: str = "recovery") -> Browser:
        browser = Browser(self.auth)
        try:
            complete_login(self.auth, browser.request, self.ada, Proof("app"))
        except SecondFactorRequired:
            if code is not None:
                browser.post("/auth/second-factor", {"factor": factor, "code": code})
        return browser

    def enrol(self) -> list[str]:
        browser = self.log_in()
        page = browser.post("/auth/key")
        assert page.status == 200, page.body
        assert ("Cache-Control", "no-store") in page.headers
        return codes_in(page.body)


def codes_in(page: str) -> list[str]:
    return page.partition("<pre")[2].partition(">")[2].partition("</pre>")[0].split()


@pytest.fixture
def make_shop(tmp_path: Path) -> Iterable[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(*kinds: Callable[[Auth], SecondFactor], **settings: object) -> Shop:
        made.append(Shop(tmp_path, *(kinds or (Key,)), **settings))
        return made[-1]

    yield make
    for shop in made:
        shop.auth.outbox.close()
        shop.auth.state.close()


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    return make_shop()


@pytest.mark.requirement("SECURITY-1")
def test_a_third_partys_factor_gets_codes_that_log_in_once(shop: Shop) -> None:
    codes = shop.enrol()
    assert len(set(codes)) == 10
    assert shop.log_in().request.user is None
    assert shop.log_in(codes[0]).request.user is shop.ada
    assert shop.log_in(codes[0]).request.user is None
    assert recovery_codes_left(shop.auth, shop.ada) == 9
    assert shop.log_in("touched", "key").request.user is shop.ada


def test_setting_a_factor_up_while_a_login_waits_shows_codes_too(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(REQUIRE_2FA=True)
    browser = shop.log_in()
    assert browser.request.user is None
    codes = codes_in(browser.post("/auth/key").body)
    assert browser.request.user is shop.ada
    assert shop.log_in(codes[3]).request.user is shop.ada


def test_the_challenge_starts_with_the_factor_and_offers_the_codes(shop: Shop) -> None:
    shop.enrol()
    assert list(enrolled_factors(shop.auth, shop.ada)) == ["key", "recovery"]
    page = shop.log_in().get("/auth/second-factor").body
    assert 'value="key"' in page
    assert "factor=recovery" in page


def test_codes_are_void_with_the_last_factor_only(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(Key, Pin)
    shop.enrol()
    pin = shop.auth.second_factors["pin"]
    assert isinstance(pin, Pin)
    pin.store(shop.ada)
    browser = shop.log_in("touched", "key")
    assert remove_factor(shop.auth, browser.request, shop.ada, "key")
    assert recovery_codes_left(shop.auth, shop.ada) == 10
    assert remove_factor(shop.auth, browser.request, shop.ada, "pin")
    assert recovery_codes_left(shop.auth, shop.ada) == 0
    assert shop.log_in().request.user is shop.ada


def test_codes_are_void_with_the_account(shop: Shop) -> None:
    shop.enrol()
    void_account(shop.auth, FakeRequest(), shop.ada)
    assert recovery_codes_left(shop.auth, shop.ada) == 0


def test_the_account_page_shows_the_codes_and_makes_new_ones(shop: Shop) -> None:
    old = shop.enrol()
    browser = shop.log_in(old[0])
    assert "Recovery codes left: 9." in browser.get("/auth/account").body
    assert "<h1>Create new recovery codes?</h1>" in browser.post(CODES_PATH).text
    assert recovery_codes_left(shop.auth, shop.ada) == 9
    new = codes_in(browser.post(CODES_PATH, {"confirmed": "yes"}).body)
    assert len(set(new) | set(old)) == 20
    assert "recovery_codes.issued" in [event.name for event in shop.parts.events]
    assert shop.log_in(old[1]).request.user is None
    assert shop.log_in(new[0]).request.user is shop.ada
    for code in new[1:8]:
        shop.log_in(code)
    assert "Recovery codes left: 2. Create new ones." in browser.get("/auth/account").body


@pytest.mark.requirement("SECURITY-26")
def test_reading_the_pages_path_changes_nothing(shop: Shop) -> None:
    shop.enrol()
    browser = shop.log_in("touched", "key")
    for method in ("GET", "HEAD"):
        assert browser.get(CODES_PATH, method=method).status == 303
    assert recovery_codes_left(shop.auth, shop.ada) == 10


def test_a_user_without_another_factor_has_no_codes(shop: Shop) -> None:
    browser = shop.log_in()
    assert "ecovery code" not in browser.get("/auth/account").body
    assert browser.post(CODES_PATH).status == CredentialRejected.status
    recovery_codes(shop.auth).issue("1")  # left over: no second factor by itself
    assert "ecovery code" not in browser.get("/auth/account").body
    assert browser.post(CODES_PATH).status == CredentialRejected.status
    assert shop.log_in().request.user is shop.ada


def logged_out(shop: Shop, request: FakeRequest) -> FakeRequest:
    return FakeRequest(auth=shop.auth)


def stale(shop: Shop, request: FakeRequest) -> FakeRequest:
    shop.clock.advance(601)
    return request


def with_a_token(shop: Shop, request: FakeRequest) -> FakeRequest:
    request.authentication = Authentication(shop.ada, ambient=False)
    return request


@pytest.mark.requirement("SECURITY-24", "SECURITY-43")
@pytest.mark.parametrize(
    ("change", "error"),
    [(logged_out, LoginRequired), (stale, RecentLoginRequired), (with_a_token, PermissionDenied)],
)
def test_new_codes_need_a_recent_login(
    shop: Shop, change: Callable[[Shop, FakeRequest], FakeRequest], error: type[AuthError]
) -> None:
    codes = shop.enrol()
    request = change(shop, shop.log_in("touched", "key").request)
    with pytest.raises(error):
        renew_recovery_codes(shop.auth, request)
    assert shop.log_in(codes[0]).request.user is shop.ada


def test_a_factor_that_waits_for_its_import_is_imported_before_codes_count(
    make_shop: Callable[..., Shop],
) -> None:
    class Imported(Key):
        waits = True

        def is_enrolled(self, user: User) -> bool:
            return self.waits is True or super().is_enrolled(user)

        def run_import(self, user: User) -> None:
            if self.waits:
                self.waits = False  # type: ignore[misc]
                self.store(user)
                recovery_codes(self.auth).adopt(str(user.id), ["salt$hash"])

    shop = make_shop(Imported)
    assert list(enrolled_factors(shop.auth, shop.ada)) == ["key", "recovery"]
    assert recovery_codes_left(shop.auth, shop.ada) == 0
    assert shop.log_in("0000-0000-0000-0000").request.user is None
    assert recovery_codes_left(shop.auth, shop.ada) == 1


def test_new_codes_are_not_replaced_by_a_later_import(make_shop: Callable[..., Shop]) -> None:
    class Imported(Pin):
        done: list[str] = []

        def run_import(self, user: User) -> None:
            if not self.done:
                self.done.append(str(user.id))
                recovery_codes(self.auth).adopt(str(user.id), ["salt$hash"])

    shop = make_shop(Key, Imported)
    codes = shop.enrol()
    assert shop.log_in(codes[0]).request.user is shop.ada


@pytest.mark.parametrize("answer", [None, 1, "yes", ()])
def test_only_true_waits_for_an_import(make_shop: Callable[..., Shop], answer: object) -> None:
    """Else a broken factor would let the codes of a voided account survive."""

    class Broken(Key):
        waits = answer

    shop = make_shop(Broken)
    shop.enrol()
    void_account(shop.auth, FakeRequest(), shop.ada)
    assert recovery_codes_left(shop.auth, shop.ada) == 0


def test_an_import_that_fails_denies_the_code(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop()
    codes = shop.enrol()

    def fail(user: User) -> None:
        raise OSError("unreadable")

    shop.auth.second_factors["key"].run_import = fail  # type: ignore[method-assign]
    assert shop.log_in(codes[0]).request.user is None
    assert recovery_codes_left(shop.auth, shop.ada) == 10


def test_a_plugin_cannot_take_the_name(make_shop: Callable[..., Shop]) -> None:
    class Recovery(Pin):
        name: ClassVar[str] = "recovery"

    with pytest.raises(ConfigurationError, match="'recovery', which plugin 'asok_auth_core' "):
        make_shop(Recovery)


class TestRecoveryCode(SecondFactorContract):
    """The factor itself, together with one of a third party."""

    name: ClassVar[str] = "recovery"

    def plugin(self) -> object:
        return plugin_of(Key)

    def enrol(self, auth: Auth, parts: TestParts, user: User) -> None:
        key = auth.second_factors["key"]
        assert isinstance(key, Key)
        key.store(user)
        self.codes = {**getattr(self, "codes", {}), str(user.id): [*issue_recovery_codes(auth, user)]}

    def proof(self, auth: Auth, parts: TestParts, user: User, shown: str) -> Mapping[str, str]:
        return {"code": self.codes[str(user.id)].pop()}
