"""A known second factor is needed until removed, even without its plugin."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import SecondFactor
from asok_auth_core.errors import (
    ConfigurationError,
    CredentialRejected,
    LoginExpired,
    LoginRejected,
    LoginRequired,
    PermissionDenied,
    PluginFailed,
    RecentLoginRequired,
    SecondFactorRequired,
    StoreUnavailable,
)
from asok_auth_core.flows.factor_policy import KIND, change_factor_names, enrolled_factors, factor_names
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.second_factor import (
    complete_enrolment,
    complete_second_factor,
    enrolling_user,
    remove_factor,
    reset_factors,
)
from asok_auth_core.flows.sessions import begin_session
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing import (
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
    TestParts,
)
from asok_auth_core.testing.parts import Browser, build_auth
from asok_auth_core.types import JSON, Credential, Proof, User
from asok_auth_core.web import WebRequest

pytestmark = pytest.mark.requirement("SECURITY-34")


class Pin(SecondFactor):
    """A PIN.

    ``answer`` is what ``is_enrolled`` returns, ``verdict`` what ``verify`` does.
    """

    name = "pin"
    label = "PIN"

    def __init__(self, answer: object = False, verdict: object = True) -> None:
        self.answer = answer
        self.verdict = verdict

    def is_enrolled(self, user: User) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]

    def reset(self, user: User) -> None:
        self.answer = False

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="pin">')

    def verify(self, request: WebRequest, user: User) -> bool:
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict  # type: ignore[return-value]


class Key(Pin):
    name = "key"
    label = "Security key"


class Codes(Pin):
    """Stands in for the others, as recovery codes do."""

    name = "codes"
    label = "Recovery code"
    backup = True


class Shop:
    """One app, started again and again with other plugins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FrozenClock()
        self.parts = TestParts(self.clock)
        self.credentials = MemoryCredentialStore(self.clock)
        self.ada = FakeUser("1", "ada@example.com")
        self.users = MemoryUsers(self.ada, FakeUser("2", "bob@example.com"))

    def start(self, *factors: SecondFactor, **settings: object) -> Auth:
        class Plugin:
            @hookimpl
            def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
                return factors

        return build_auth(
            self.root,
            plugins=[Plugin()],
            settings=settings,
            users=self.users,
            credentials=self.credentials,
            parts=self.parts,
            clock=self.clock,
        )

    def log_in(self, auth: Auth) -> FakeRequest:
        """The browser after the first factor, logged in if it was enough."""
        request = FakeRequest("/")
        try:
            complete_login(auth, request, self.ada, Proof("app"))
        except SecondFactorRequired as required:
            return request.follow(required.location, form={"factor": "pin"})
        return request.follow("/")

    def enrol(self, auth: Auth, name: str = "pin") -> None:
        request = FakeRequest("/")
        begin_session(auth, request, self.ada, method="app", factors=(), remember=False)
        complete_enrolment(auth, request, self.ada, name)

    @property
    def events(self) -> list[str]:
        return [event.name for event in self.parts.events]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.parts.state.close()


def rejected(shop: Shop, auth: Auth) -> bool:
    request = FakeRequest("/")
    with pytest.raises(LoginRejected, match="not available at the moment"):
        complete_login(auth, request, shop.ada, Proof("app"))
    return request.user is None


# -- learning ------------------------------------------------------------------------------------


def test_an_enrolled_factor_is_needed_after_its_plugin_is_gone(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.enrol(shop.start(Pin(True)))
    assert rejected(shop, shop.start())
    assert "second_factor.unavailable" in shop.events
    assert "asok-auth second-factor reset 1" in caplog.text
    assert shop.log_in(shop.start(Pin(True))).path == "/auth/second-factor"


def test_a_factor_given_at_a_login_is_needed_after_its_plugin_is_gone(shop: Shop) -> None:
    """Enrolled before the core kept names."""
    auth = shop.start(Pin(True))
    complete_second_factor(auth, shop.log_in(auth), "pin")
    assert rejected(shop, shop.start())


def test_a_pending_login_teaches_nothing(shop: Shop) -> None:
    auth = shop.start(Pin(True, verdict=False))
    browser = shop.log_in(auth)
    with pytest.raises(CredentialRejected):
        complete_second_factor(auth, browser, "pin")
    assert shop.credentials.list("1") == []
    assert shop.log_in(shop.start()).user is shop.ada


def test_a_plugin_that_took_the_name_does_not_end_it(shop: Shop) -> None:
    """It says that nobody is enrolled."""
    shop.enrol(shop.start(Pin(True)))
    auth = shop.start(Pin(False, verdict=False))
    browser = shop.log_in(auth)
    assert browser.path == "/auth/second-factor"
    with pytest.raises(CredentialRejected):
        complete_second_factor(auth, browser, "pin")


def test_other_users_are_not_concerned(shop: Shop) -> None:
    shop.enrol(shop.start(Pin(True)))
    request = FakeRequest("/")
    bob = shop.users.by_id("2")
    assert bob is not None
    complete_login(shop.start(), request, bob, Proof("app"))
    assert request.user is bob


def test_a_trusted_browser_does_not_replace_a_lost_factor(shop: Shop) -> None:
    auth = shop.start(Pin(True), TRUSTED_DEVICE=3600)
    browser = shop.log_in(auth).follow("/auth/second-factor", form={"factor": "pin", "trust": "1"})
    complete_second_factor(auth, browser, "pin")
    browser.session.end()
    with pytest.raises(LoginRejected):
        complete_login(shop.start(TRUSTED_DEVICE=3600), browser.follow("/"), shop.ada, Proof("app"))


def test_a_pending_login_cannot_enrol_past_a_lost_factor(shop: Shop) -> None:
    auth = shop.start(Pin(True))
    shop.enrol(auth)
    browser = shop.log_in(auth)
    with pytest.raises(LoginRejected):
        enrolling_user(shop.start(Key(), REQUIRE_2FA=True), browser)


def test_one_row_keeps_all_names(shop: Shop) -> None:
    auth = shop.start(Pin(True), Key(True))
    shop.enrol(auth, "pin")
    shop.enrol(auth, "key")
    [row] = shop.credentials.list("1", KIND)
    assert json.loads(row.data) == {"names": ["key", "pin"]}


def test_concurrent_enrolments_keep_both(shop: Shop) -> None:
    auth = shop.start(*(type(f"F{n}", (Pin,), {"name": f"f{n}"})(True) for n in range(8)))
    threads = [threading.Thread(target=shop.enrol, args=(auth, f"f{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert factor_names(auth, shop.ada).kept == {f"f{n}" for n in range(8)}


def test_a_name_that_another_process_kept_first_is_not_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = shop.start(Pin(True), Key(True))
    add = shop.credentials.add

    def late(user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        if kind == KIND:
            monkeypatch.undo()
            add(user_id, kind, identifier, {"names": ["pin"]})
        return add(user_id, kind, identifier, data)

    monkeypatch.setattr(shop.credentials, "add", late)
    assert change_factor_names(auth, shop.ada, lambda kept: kept | {"key"}) == {"pin", "key"}
    assert factor_names(shop.start(), shop.ada).kept == {"pin", "key"}


def test_a_name_that_cannot_be_kept_is_an_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not look kept: once its plugin is gone, nothing would ask for it."""
    auth = shop.start(Pin(True), Key(True))
    shop.enrol(auth)
    monkeypatch.setattr(shop.credentials, "replace", lambda row, data: None)
    with pytest.raises(StoreUnavailable, match="Try again"):
        change_factor_names(auth, shop.ada, lambda kept: kept | {"key"})
    assert factor_names(shop.start(), shop.ada).kept == {"pin"}


# -- one of several ------------------------------------------------------------------------------


def test_any_available_factor_is_enough(shop: Shop) -> None:
    auth = shop.start(Pin(True), Key(True))
    shop.enrol(auth, "pin")
    shop.enrol(auth, "key")
    auth = shop.start(Key(True))
    assert list(enrolled_factors(auth, shop.ada)) == ["key"]
    browser = shop.log_in(auth)
    complete_second_factor(auth, browser, "key")
    assert browser.user is shop.ada


def test_a_backup_is_enough_for_a_lost_factor(shop: Shop) -> None:
    shop.enrol(shop.start(Pin(True), Codes(True)))
    auth = shop.start(Codes(True))
    browser = shop.log_in(auth)
    complete_second_factor(auth, browser, "codes")
    assert browser.user is shop.ada
    assert rejected(shop, shop.start(Codes(False)))


def test_a_backup_alone_is_no_second_factor(shop: Shop) -> None:
    auth = shop.start(Pin(False), Codes(True))
    assert enrolled_factors(auth, shop.ada) == {}
    assert shop.log_in(auth).user is shop.ada


@pytest.mark.parametrize("name", ["codes", "unknown"])
def test_only_a_real_factor_completes_an_enrollment(shop: Shop, name: str) -> None:
    auth = shop.start(Pin(False), Codes(True), REQUIRE_2FA=True)
    browser = shop.log_in(auth)
    with pytest.raises(ConfigurationError):
        complete_enrolment(auth, browser, shop.ada, name)
    assert browser.user is None


# -- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, 0, "", 1, "no", [], object()], ids=lambda v: type(v).__name__)
def test_is_enrolled_must_be_false_to_mean_no(shop: Shop, answer: object) -> None:
    auth = shop.start(Pin(answer))
    assert shop.log_in(auth).path == "/auth/second-factor"
    assert "plugin.failed" in shop.events


@pytest.mark.parametrize("answer", [None, 0, "", 1, "no", [], object()], ids=lambda v: type(v).__name__)
def test_only_true_is_learned(shop: Shop, answer: object) -> None:
    auth = shop.start(Pin(answer), Key(True))
    browser = shop.log_in(auth)
    complete_second_factor(auth, browser, "key")
    assert factor_names(shop.start(), shop.ada).kept == {"key"}


def wait() -> object:
    async def coroutine() -> bool:
        return True

    waiting = coroutine()
    waiting.close()
    return waiting


@pytest.mark.parametrize("verdict", [1, "no", "yes", None, object(), [1], wait], ids=lambda v: str(v)[:10])
def test_verify_must_be_true(shop: Shop, verdict: object, caplog: pytest.LogCaptureFixture) -> None:
    auth = shop.start(Pin(True, verdict=wait() if verdict is wait else verdict))
    browser = shop.log_in(auth)
    for _ in range(2):
        with pytest.raises(CredentialRejected):
            complete_second_factor(auth, browser, "pin")
    assert browser.user is None
    assert shop.events.count("plugin.failed") == 2
    assert shop.events.count("second_factor.failed") == 2
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        f"{Pin.__module__}.Pin.verify failed; this is logged once. Fix or upgrade its plugin."
    ]


def test_a_proof_of_the_caller_must_be_true_as_well(shop: Shop) -> None:
    auth = shop.start(Pin(True))
    with pytest.raises(CredentialRejected):
        complete_second_factor(auth, shop.log_in(auth), "pin", lambda request, user: "yes")  # type: ignore[arg-type,return-value]


def test_false_is_a_wrong_code_and_no_fault(shop: Shop) -> None:
    auth = shop.start(Pin(True, verdict=False))
    with pytest.raises(CredentialRejected):
        complete_second_factor(auth, shop.log_in(auth), "pin")
    assert "plugin.failed" not in shop.events


@pytest.mark.parametrize("broken", ["answer", "verdict"])
def test_a_factor_that_raises_denies_with_a_page(shop: Shop, broken: str) -> None:
    factor = Pin(True)
    auth = shop.start(factor)
    browser = shop.log_in(auth)
    setattr(factor, broken, RuntimeError("out of order"))
    with pytest.raises(PluginFailed):
        complete_second_factor(auth, browser, "pin")
    assert browser.user is None
    assert "plugin.failed" in shop.events


# -- the challenge page --------------------------------------------------------------------------


def page(shop: Shop, auth: Auth, request: FakeRequest) -> tuple[int, str]:
    browser = Browser(auth)
    browser.request = request
    answer = browser.get("/auth/second-factor")
    return answer.status, answer.body or dict(answer.headers).get("Location", "")


def test_a_pending_login_whose_factor_is_gone_gets_a_page(shop: Shop) -> None:
    auth = shop.start(Pin(True))
    shop.enrol(auth)
    status, body = page(shop, shop.start(), shop.log_in(auth))
    assert status == 403
    assert "not available at the moment" in body


def test_a_pending_login_that_must_enrol_is_sent_there(shop: Shop) -> None:
    auth = shop.start(Pin(), REQUIRE_2FA=True)
    browser = Browser(auth)
    browser.request = shop.log_in(auth)
    answer = browser.get("/auth/second-factor")
    assert (answer.status, dict(answer.headers)["Location"]) == (303, "/auth/second-factor/enrol")


def test_a_pending_login_whose_factor_was_reset_starts_again(shop: Shop) -> None:
    auth = shop.start(Pin(True))
    browser = shop.log_in(auth)
    reset_factors(auth, shop.ada)
    assert page(shop, auth, browser)[0] == LoginExpired.status
    assert shop.log_in(auth).user is shop.ada


class Sms(Pin):
    """Fails when its challenge starts or is shown."""

    name = "sms"
    label = "Text message"
    fails = "begin"

    def begin(self, request: WebRequest, user: User) -> None:
        if self.fails == "begin":
            raise RuntimeError("out of order")

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        if self.fails == "store":
            raise StoreUnavailable("No answer.")
        raise RuntimeError("out of order")


@pytest.mark.parametrize("fails", ["begin", "challenge", "store"])
def test_a_challenge_that_fails_leaves_the_users_other_factors(shop: Shop, fails: str) -> None:
    sms = Sms(True)
    sms.fails = fails
    auth = shop.start(sms, Pin(True))
    browser = shop.log_in(auth)
    status, body = page(shop, auth, browser)
    assert status >= 500
    assert "This method does not work at the moment." in body
    assert 'href="/auth/second-factor?factor=pin"' in body
    assert "out of order" not in body
    complete_second_factor(auth, browser, "pin")
    assert browser.user is shop.ada


@pytest.mark.parametrize("fails", ["begin", "challenge"])
def test_a_challenge_that_fails_gets_a_page_without_others_too(shop: Shop, fails: str) -> None:
    sms = Sms(True)
    sms.fails = fails
    auth = shop.start(sms)
    status, body = page(shop, auth, shop.log_in(auth))
    assert status == PluginFailed.status
    assert "out of order" not in body


@pytest.mark.parametrize("returned", ["<input name='code'>", None, 7, b"<input>"])
def test_a_challenge_that_is_no_markup_is_never_shown(shop: Shop, returned: object) -> None:
    class Odd(Pin):
        name = "odd"

        def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
            return returned  # type: ignore[return-value]

    alone = shop.start(Odd(True))
    status, body = page(shop, alone, shop.log_in(alone))
    assert (status, "<input" in body) == (PluginFailed.status, False)
    assert "plugin.failed" in shop.events
    with_another = shop.start(Odd(True), Pin(True))
    status, body = page(shop, with_another, shop.log_in(with_another))
    assert status == PluginFailed.status
    assert 'href="/auth/second-factor?factor=pin"' in body


# -- removing ------------------------------------------------------------------------------------


def logged_in(shop: Shop, auth: Auth, name: str = "pin") -> FakeRequest:
    browser = shop.log_in(auth)
    if browser.user is None:
        complete_second_factor(auth, browser, name)
    return browser.follow("/")


def test_a_removed_factor_is_no_longer_needed(shop: Shop) -> None:
    auth = shop.start(Pin(True), Codes(True))
    browser = logged_in(shop, auth)
    assert remove_factor(auth, browser, shop.ada, "pin") is True
    assert shop.events[-1] == "second_factor.disabled"
    assert auth.second_factors["codes"].is_enrolled(shop.ada) is False
    assert shop.log_in(auth).user is shop.ada
    assert remove_factor(auth, browser, shop.ada, "pin") is False
    assert shop.log_in(shop.start()).user is shop.ada


def test_backups_stay_while_another_factor_does(shop: Shop) -> None:
    auth = shop.start(Pin(True), Key(True), Codes(True))
    assert remove_factor(auth, logged_in(shop, auth), shop.ada, "pin")
    assert list(enrolled_factors(auth, shop.ada)) == ["key", "codes"]


def test_a_lost_factor_can_be_removed_with_another_one(shop: Shop) -> None:
    auth = shop.start(Pin(True), Key(True))
    logged_in(shop, auth)
    auth = shop.start(Key(True))
    assert remove_factor(auth, logged_in(shop, auth, "key"), shop.ada, "pin")
    assert factor_names(auth, shop.ada).all == {"key"}


@pytest.mark.parametrize("kept", [True, False])
def test_the_last_factor_of_a_user_who_must_have_one_stays(shop: Shop, kept: bool) -> None:
    auth = shop.start(Pin(True), Codes(True), REQUIRE_2FA=True)
    browser = logged_in(shop, auth)
    if not kept:
        [row] = shop.credentials.list("1", KIND)
        shop.credentials.remove(row)
    with pytest.raises(PermissionDenied, match="must have a second factor"):
        remove_factor(auth, browser, shop.ada, "pin")
    assert list(enrolled_factors(auth, shop.ada)) == ["pin", "codes"]


@pytest.mark.parametrize("required", [True, False])
def test_a_factor_whose_plugin_is_gone_is_not_another_one(shop: Shop, required: bool) -> None:
    """The user would be locked out."""
    auth = shop.start(Pin(True), Key(True))
    logged_in(shop, auth)
    auth = shop.start(Key(True), REQUIRE_2FA=required)
    browser = logged_in(shop, auth, "key")
    with pytest.raises(PermissionDenied, match="you could not log in"):
        remove_factor(auth, browser, shop.ada, "key")
    assert list(enrolled_factors(auth, shop.ada)) == ["key"]


def test_of_two_concurrent_removals_one_is_denied(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = shop.start(Pin(True), Key(True), REQUIRE_2FA=True)
    browser = logged_in(shop, auth)
    both = threading.Barrier(2)
    waited = set()
    replace = shop.credentials.replace

    def late(*arguments: object) -> object:
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            both.wait(5)
        return replace(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.credentials, "replace", late)
    denied = []

    def remove(name: str) -> None:
        try:
            remove_factor(auth, browser.follow("/"), shop.ada, name)
        except PermissionDenied:
            denied.append(name)

    threads = [threading.Thread(target=remove, args=(name,)) for name in ("pin", "key")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(denied) == 1
    assert list(enrolled_factors(auth, shop.ada)) == denied


def test_removing_needs_a_recent_login_of_the_same_user(shop: Shop) -> None:
    auth = shop.start(Pin(True))
    with pytest.raises(LoginRequired):
        remove_factor(auth, FakeRequest("/"), shop.ada, "pin")
    browser = logged_in(shop, auth)
    bob = shop.users.by_id("2")
    assert bob is not None
    with pytest.raises(PermissionDenied, match="your own"):
        remove_factor(auth, browser, bob, "pin")
    shop.clock.advance(601)
    with pytest.raises(RecentLoginRequired):
        remove_factor(auth, browser, shop.ada, "pin")


# -- the operator --------------------------------------------------------------------------------


def test_an_operator_resets_everything(shop: Shop) -> None:
    auth = shop.start(Pin(True), Key(True), Codes(True), REQUIRE_2FA=True)
    logged_in(shop, auth)
    assert reset_factors(auth, shop.ada) == {"pin", "key"}
    assert not any(factor.is_enrolled(shop.ada) for factor in auth.second_factors.values())
    assert shop.events.count("second_factor.reset") == 2
    assert reset_factors(auth, shop.ada) == frozenset()


@pytest.mark.parametrize("remove", ["operator", "user"])
def test_removing_a_factor_voids_logins_in_progress(shop: Shop, remove: str) -> None:
    auth = shop.start(Pin(True), Key(True))
    half = shop.log_in(auth)
    if remove == "operator":
        reset_factors(auth, shop.ada, "pin")
    else:
        assert remove_factor(auth, logged_in(shop, auth), shop.ada, "pin")
    with pytest.raises(LoginExpired):
        complete_second_factor(auth, half, "key")
    assert half.user is None


def test_an_operator_resets_a_lost_factor(shop: Shop) -> None:
    logged_in(shop, shop.start(Pin(True)))
    auth = shop.start()
    assert rejected(shop, auth)
    assert reset_factors(auth, shop.ada, "pin") == {"pin"}
    assert shop.log_in(auth).user is shop.ada


def test_an_operator_resets_one_factor(shop: Shop) -> None:
    auth = shop.start(Pin(True), Key(True), Codes(True))
    assert reset_factors(auth, shop.ada, "key") == {"key"}
    assert list(enrolled_factors(auth, shop.ada)) == ["pin", "codes"]
    assert reset_factors(auth, shop.ada, "codes") == {"codes"}
    assert list(enrolled_factors(auth, shop.ada)) == ["pin"]


@pytest.mark.parametrize(
    "data", ["", "null", "[]", "{}", '{"names": null}', '{"names": "pin"}', '{"names": [1]}']
)
def test_a_record_that_cannot_be_read_denies_with_a_page(shop: Shop, data: str) -> None:
    auth = shop.start(Pin())
    shop.enrol(auth)
    row = shop.credentials.find(KIND, "1")
    assert row is not None
    shop.credentials._rows[row.id] = replace(row, data=data)
    request = FakeRequest("/")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        complete_login(auth, request, shop.ada, Proof("app"))
    assert request.user is None
