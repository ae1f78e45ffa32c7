"""The second step of a login: each proof once, attempts limited."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from asok_totp.totp import accepted_step

from asok_auth_core.flows.second_factor import ACCOUNT_ATTEMPTS, CLIENT_ATTEMPTS
from asok_auth_core.plugin import (
    Proof,
    RateLimited,
    SealError,
    SecondFactor,
    SecondFactorRequired,
    complete_login,
    hookimpl,
)
from asok_auth_core.testing import FakeRequest, MemoryCredentialStore, raises_code


@pytest.mark.requirement("SECURITY-18", "SECURITY-19")
def test_a_pending_login_has_no_authority_and_completing_it_renews_the_session(site) -> None:
    phone, _ = site.enrol()
    browser = site.log_in()
    before = browser.session.id
    assert browser.path == "/auth/second-factor"
    assert browser.user is None
    assert site.answer(browser.follow("/auth/account")).status == 401
    status, browser = site.second_factor(browser, phone.code())
    assert status == 303
    assert browser.user is site.ann
    assert browser.session.id != before


def test_it_leads_to_the_page_the_login_was_for(site) -> None:
    phone, _ = site.enrol()
    request = site.log_in().follow("/auth/second-factor", form={"factor": "totp", "code": phone.code()})
    assert ("Location", "/start") in site.answer(request).headers


@pytest.mark.requirement("SECURITY-20")
def test_a_code_passes_once(site) -> None:
    phone, _ = site.enrol()
    code = phone.code()
    first, second = site.log_in(), site.log_in()
    assert site.second_factor(first, code)[0] == 303
    status, second = site.second_factor(second, code)
    assert status == 400
    assert second.user is None


@pytest.mark.requirement("SECURITY-20")
def test_an_older_step_of_the_window_does_not_pass_after_a_later_one(site) -> None:
    """Accepted steps strictly increase."""
    phone, _ = site.enrol()
    older, newer = phone.code(off=-30), phone.code()
    assert site.second_factor(site.log_in(), newer)[0] == 303
    assert site.second_factor(site.log_in(), older)[0] == 400
    site.clock.advance(30)
    assert site.second_factor(site.log_in(), newer)[0] == 400
    assert site.second_factor(site.log_in(), phone.code())[0] == 303


@pytest.mark.parametrize(
    ("drift", "off", "status"), [(1, 30, 303), (1, -30, 303), (1, 60, 400), (0, 30, 400), (3, -90, 303)]
)
def test_the_drift_is_configurable(make_site, drift, off, status) -> None:
    site = make_site(TOTP={"DRIFT": drift})
    phone, _ = site.enrol()
    site.clock.advance(300)
    assert site.second_factor(site.log_in(), phone.code(off=off))[0] == status


@pytest.mark.parametrize("digits", [6, 8])
@pytest.mark.parametrize("algorithm", ["SHA1", "SHA256", "SHA512"])
def test_every_algorithm_and_length(make_site, algorithm, digits) -> None:
    site = make_site(TOTP={"ALGORITHM": algorithm, "DIGITS": digits})
    phone, _ = site.enrol()
    assert len(phone.code()) == digits
    assert site.second_factor(site.log_in(), phone.code())[0] == 303


def test_a_changed_setting_keeps_existing_enrolments(make_site, clock) -> None:
    store = MemoryCredentialStore(clock)
    phone, _ = make_site(credentials=store, TOTP={"DIGITS": 6}).enrol()
    later = make_site(credentials=store, TOTP={"DIGITS": 8, "ALGORITHM": "SHA512"})
    assert later.second_factor(later.log_in(), phone.code())[0] == 303


def test_a_code_an_hour_off_hints_at_the_clock(site) -> None:
    phone, _ = site.enrol()
    request = site.log_in().follow(
        "/auth/second-factor", form={"code": phone.code(off=3600), "factor": "totp"}
    )
    answer = site.answer(request)
    assert answer.status == 400
    assert "sets its clock automatically" in answer.body
    assert 'role="alert"' in answer.body


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "abcdef",
        "12 34",
        "١٢٣",
        "\x00" * 6,
        "-1",
        "1e5",
        "null",
        "9" * 10_000,
        "\uff11" * 10_000,
        "' OR 1=1 --",
        "🔑" * 6,
    ],
)
@pytest.mark.parametrize("factor", ["totp", "recovery"])
def test_malformed_input_is_rejected(site, factor, typed) -> None:
    site.enrol()
    status, browser = site.second_factor(site.log_in(), typed, factor)
    assert status == 400
    assert browser.user is None


@pytest.mark.parametrize("factor", ["", "TOTP", "password", "../totp", "x" * 10_000])
def test_a_factor_that_is_not_enrolled_is_rejected(site, factor) -> None:
    phone, _ = site.enrol()
    status, browser = site.second_factor(site.log_in(), phone.code(), factor)
    assert status == 400
    assert browser.user is None


@pytest.mark.parametrize("typed", ["{0} {1}", " {0}-{1} "])
def test_a_code_is_accepted_in_any_common_spelling(site, typed) -> None:
    phone, _ = site.enrol()
    code = phone.code()
    assert site.second_factor(site.log_in(), typed.format(code[:3], code[3:]))[0] == 303
    site.clock.advance(30)
    wide = phone.code().translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    assert site.second_factor(site.log_in(), wide)[0] == 303


@pytest.mark.requirement("SECURITY-1")
def test_a_recovery_code_works_once_in_any_common_spelling(site) -> None:
    _, codes = site.enrol()
    typed = codes[0].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert site.second_factor(site.log_in(), typed, "recovery")[0] == 303
    assert site.second_factor(site.log_in(), codes[0], "recovery")[0] == 400
    assert site.second_factor(site.log_in(), codes[1], "recovery")[0] == 303


def test_another_users_recovery_code_is_rejected(site) -> None:
    _, codes = site.enrol()
    bob = site.auth.users.by_id("2")
    site.auth.second_factors["totp"].authenticators.store(
        "2", "A" * 32, site.auth.second_factors["totp"].api._settings.parameters
    )
    site.auth.second_factors["recovery"].codes.issue("2")
    status, browser = site.second_factor(site.log_in(user=bob), codes[0], "recovery")
    assert status == 400
    assert browser.user is None


def test_the_challenge_offers_the_recovery_code_only_while_there_is_one(site) -> None:
    _, codes = site.enrol()
    assert "factor=recovery" in site.answer(site.log_in()).body
    other = site.answer(site.log_in().follow("/auth/second-factor?factor=recovery"))
    assert 'value="recovery"' in other.body
    for code in codes:
        assert site.second_factor(site.log_in(), code, "recovery")[0] == 303
        site.clock.advance(900)
    assert "factor=recovery" not in site.answer(site.log_in()).body


# -- attempts --------------------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-21")
def test_no_more_wrong_codes_are_evaluated_than_the_limit(site, monkeypatch) -> None:
    """The owner can still log in another way."""
    _, codes = site.enrol()
    evaluated = []
    lock = threading.Lock()

    def counted(*arguments, **named):
        with lock:
            evaluated.append(1)
        return accepted_step(*arguments, **named)

    monkeypatch.setattr("asok_totp.authenticator.accepted_step", counted)
    attacker = site.log_in(FakeRequest(client_ip="198.51.100.7"))

    def guess(number: int) -> int:
        return site.second_factor(attacker, f"{number:06}")[0]

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(guess, range(200)))
    assert set(statuses) == {400, 429}
    assert statuses.count(429) == 200 - ACCOUNT_ATTEMPTS
    assert len(evaluated) == ACCOUNT_ATTEMPTS
    status, browser = site.second_factor(site.log_in(), codes[0], "recovery")
    assert status == 303
    assert browser.user is site.ann


@pytest.mark.requirement("SECURITY-21")
def test_a_valid_code_beyond_the_limit_is_not_evaluated(site) -> None:
    phone, _ = site.enrol()
    for number in range(ACCOUNT_ATTEMPTS):
        assert site.second_factor(site.log_in(), f"{number:06}")[0] == 400
    status, browser = site.second_factor(site.log_in(), phone.code())
    assert status == 429
    assert browser.user is None
    site.clock.advance(900)
    assert site.second_factor(site.log_in(), phone.code())[0] == 303


@pytest.mark.requirement("SECURITY-21")
def test_a_day_allows_no_more_than_a_hundred_guesses(site) -> None:
    """NIST SP 800-63B-4, section 3.2.2."""
    site.enrol()
    site.clock.advance(86_400 - site.clock() % 86_400)
    rejected = 0
    for _ in range(15):
        for number in range(10):
            rejected += site.second_factor(site.log_in(), f"{number:06}")[0] == 400
        site.clock.advance(900)
    assert rejected == 100


@pytest.mark.requirement("SECURITY-21")
def test_a_success_does_not_clear_the_client_ips_failures(site) -> None:
    """As in django-allauth's security notice of 2025."""
    phone, _ = site.enrol()
    site.clock.advance(900 - site.clock() % 900)
    client = "198.51.100.7"
    statuses = []
    for number in range(CLIENT_ATTEMPTS + 1):
        if number == 5:
            statuses.append(site.second_factor(site.log_in(FakeRequest(client_ip=client)), phone.code())[0])
            continue
        # Accounts of the attacker's own keep the count per account out of the way.
        user = site.auth.users.create(f"user{number}@example.org")
        site.auth.second_factors["totp"].authenticators.store(
            str(user.id), "A" * 32, site.auth.second_factors["totp"].api._settings.parameters
        )
        statuses.append(
            site.second_factor(site.log_in(FakeRequest(client_ip=client), user=user), "000000")[0]
        )
    assert statuses[5] == 303
    assert statuses[-1] == 429
    assert statuses.count(429) == 1


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-29")
def test_a_key_rotated_between_enrolment_and_login_still_opens_the_secret(make_site, clock) -> None:
    """The secret is sealed again with the new key and needs the old one no more."""
    store = MemoryCredentialStore(clock)
    phone, codes = make_site(credentials=store, secrets=("o" * 32,)).enrol()
    rotated = make_site(credentials=store, secrets=("n" * 32, "o" * 32))
    assert rotated.second_factor(rotated.log_in(), phone.code())[0] == 303
    assert rotated.second_factor(rotated.log_in(), codes[0], "recovery")[0] == 303
    clock.advance(30)
    retired = make_site(credentials=store, secrets=("n" * 32,))
    assert retired.second_factor(retired.log_in(), phone.code())[0] == 303


@pytest.mark.requirement("SECURITY-29", "SECURITY-32")
def test_a_key_retired_too_early_denies_with_a_remedy(make_site, clock, caplog) -> None:
    store = MemoryCredentialStore(clock)
    phone, codes = make_site(credentials=store, secrets=("o" * 32,)).enrol()
    site = make_site(credentials=store, secrets=("n" * 32,))
    with caplog.at_level(logging.ERROR):
        status, browser = site.second_factor(site.log_in(), phone.code())
    assert status == SealError.status
    assert browser.user is None
    assert "SECRET_KEY_FALLBACKS" in caplog.text
    assert site.second_factor(site.log_in(), codes[0], "recovery")[0] == SealError.status


@pytest.mark.requirement("SECURITY-22")
def test_a_secret_copied_to_another_user_does_not_open(site) -> None:
    """User and kind are bound in as associated data."""
    phone, _ = site.enrol()
    row = site.auth.credentials.find("totp", "1")
    import json

    site.auth.credentials.add("2", "totp", "2", json.loads(row.data))
    status, browser = site.second_factor(site.log_in(user=site.auth.users.by_id("2")), phone.code())
    assert status == 503
    assert browser.user is None


# -- nothing in plaintext ------------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-30")
def test_stores_and_logs_hold_no_secret_and_no_code(site, caplog) -> None:
    """Known values are searched for in stores, events and logs."""
    with caplog.at_level(logging.DEBUG):
        phone, codes = site.enrol()
        code = phone.code()
        browser = site.log_in()
        site.second_factor(browser, "123123")
        site.second_factor(browser, code)
        site.second_factor(site.log_in(), codes[0], "recovery")
    state = site.auth.state
    dump = repr([asdict(row) for user in "12" for row in site.auth.credentials.list(user)]) + repr(
        vars(state)
    )
    bare = [one.replace("-", "") for one in codes]
    for canary in (phone.totp.secret, phone.totp.byte_secret().hex(), code, "123123", *codes, *bare):
        assert canary not in dump
        assert canary not in caplog.text
    assert "second_factor.succeeded" in caplog.text


@pytest.mark.requirement("SECURITY-31")
def test_every_outcome_is_an_event(make_site) -> None:
    seen = []

    class Observer:
        @hookimpl
        def asok_auth_event(self, event) -> None:
            seen.append((event.name, event.method, event.user_id))

    site = make_site(Observer())
    phone, codes = site.enrol()
    site.second_factor(site.log_in(), "000000")
    site.second_factor(site.log_in(), phone.code())
    _, browser = site.second_factor(site.log_in(), codes[0], "recovery")
    site.auth.second_factors["totp"].api.recovery_codes(browser)
    site.auth.second_factors["totp"].api.disable(browser)
    names = [name for name, _, _ in seen if not name.startswith("login")]
    assert names == [
        "second_factor.enrolled",
        "second_factor.failed",
        "second_factor.succeeded",
        "second_factor.succeeded",
        "recovery_codes.issued",
        "second_factor.disabled",
    ]
    assert all(user == "1" for _, _, user in seen)


# -- api -------------------------------------------------------------------------------------------


def test_an_apps_own_page_can_complete_the_login(site) -> None:
    phone, _ = site.enrol()
    api = site.auth.second_factors["totp"].api
    browser = site.log_in()
    assert api.verify(browser, "000000") is False
    assert browser.user is None
    assert api.verify(browser, phone.code()) is True
    assert browser.user is site.ann


def test_an_apps_own_page_can_ask_for_one_more_proof(site) -> None:
    phone, _ = site.enrol()
    site.clock.advance(900 - site.clock() % 900)
    _, browser = site.second_factor(site.log_in(), phone.code())
    api = site.auth.second_factors["totp"].api
    assert api.verify(browser, phone.code()) is False  # it logged in with this one
    site.clock.advance(30)
    assert api.verify(browser, phone.code()) is True
    for _ in range(ACCOUNT_ATTEMPTS - 3):
        assert api.verify(browser, "000000") is False
    with pytest.raises(RateLimited):
        api.verify(browser, "000000")


@pytest.mark.requirement("SECURITY-32")
def test_a_factor_that_raises_denies_the_login(make_site) -> None:

    class Broken(SecondFactor):
        name = "broken"
        label = "Broken"

        def is_enrolled(self, user) -> bool:
            raise OSError("no database")

        def reset(self, user) -> None:
            raise NotImplementedError

        def challenge(self, request, user, problem=None):
            raise NotImplementedError

        def verify(self, request, user) -> bool:
            return True

    class Plugin:
        @hookimpl
        def asok_auth_second_factors(self, auth):
            return [Broken()]

    site = make_site(Plugin())
    request = FakeRequest()
    with raises_code("plugin_failed", match=r"Broken\.is_enrolled failed with OSError"):
        complete_login(site.auth, request, site.ann, Proof("app"))
    assert request.user is None


def test_a_login_completes_once(site) -> None:
    phone, codes = site.enrol()
    browser = site.log_in()
    twin = browser.follow("/auth/second-factor")
    assert site.second_factor(browser, phone.code())[0] == 303
    assert site.second_factor(twin, codes[0], "recovery")[0] == 400
    with pytest.raises(SecondFactorRequired):
        complete_login(site.auth, FakeRequest(), site.ann, Proof("app"))
