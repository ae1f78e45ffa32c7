"""Trusted browsers: off by default, signed, bound to the user, revoked at once."""

from __future__ import annotations

import pytest

from asok_auth_core.flows.trusted_devices import COOKIE, KIND, DeviceClaims, TokenCodec
from asok_auth_core.plugin import KeyRing, SettingError
from asok_auth_core.testing import FakeRequest

DAYS = 30 * 86_400


def trusting(site, code: str) -> FakeRequest:
    """Ann logs in, gives her code and ticks the box."""
    request = site.log_in().follow("/auth/second-factor", form={"factor": "totp", "code": code, "trust": "1"})
    assert site.answer(request).status == 303
    return request


def again(browser: FakeRequest) -> FakeRequest:
    """The same browser with a new session, as after logging out."""
    cookies = browser.follow("/").cookies
    return FakeRequest(cookies=cookies)


def test_it_is_off_by_default(site) -> None:
    phone, _ = site.enrol()
    assert 'name="trust"' not in site.answer(site.log_in()).body
    browser = trusting(site, phone.code())
    assert COOKIE not in browser.sent_cookies
    assert site.log_in(again(browser)).user is None


def test_a_trusted_browser_is_not_challenged_until_trust_expires(make_site) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    assert "for 30 days" in site.answer(site.log_in()).body
    browser = trusting(site, phone.code())
    assert browser.sent_cookies[COOKIE][1] == DAYS
    assert site.log_in(again(browser)).user is site.ann
    assert site.log_in().user is None
    assert "/auth/trusted-devices/forget" in site.answer(browser.follow("/auth/account")).body
    site.clock.advance(DAYS)
    assert site.log_in(again(browser)).user is None


def test_only_a_browser_with_the_box_ticked_is_trusted(make_site) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    _, browser = site.second_factor(site.log_in(), phone.code())
    assert COOKIE not in browser.sent_cookies


@pytest.mark.requirement("SECURITY-23")
def test_the_button_and_any_factor_change_end_trust(make_site, phone_of) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    browser = trusting(site, phone.code())
    assert site.answer(browser.follow("/auth/trusted-devices/forget", form={})).status == 303
    assert site.log_in(again(browser)).user is None
    site.clock.advance(30)
    browser = trusting(site, phone.code())
    new = phone_of(site.answer(browser.follow("/auth/totp/enrol", form={})).body)
    assert site.log_in(again(browser)).user is site.ann
    assert site.answer(browser.follow("/auth/totp/confirm", form={"code": new.code()})).status == 200
    assert site.log_in(again(browser)).user is None
    site.clock.advance(30)
    browser = trusting(site, new.code())
    assert site.answer(browser.follow("/auth/totp/disable", form={})).status == 303
    assert site.auth.credentials.list("1", KIND) == []


def test_ending_trust_needs_a_login_and_post(make_site) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    assert site.answer(FakeRequest("/auth/trusted-devices/forget", form={})).status == 401
    phone, _ = site.enrol()
    browser = trusting(site, phone.code())
    assert site.answer(browser.follow("/auth/trusted-devices/forget")).status == 303
    assert site.log_in(again(browser)).user is site.ann


@pytest.mark.requirement("SECURITY-19")
def test_another_users_cookie_is_not_trusted(make_site) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    browser = trusting(site, phone.code())
    api = site.auth.second_factors["totp"].api
    api._authenticators.store("2", "A" * 32, api._settings.parameters)
    bob = site.auth.users.by_id("2")
    assert site.log_in(again(browser), user=bob).user is None


@pytest.mark.requirement("SECURITY-6")
def test_a_forged_cookie_is_not_trusted(make_site) -> None:
    """Signed with another key or for another purpose, or with an unknown handle."""
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    real = trusting(site, phone.code()).sent_cookies[COOKIE][0]
    now = int(site.clock())
    claims = DeviceClaims(iat=now, exp=now + 60, sub="1", jti="A" * 43)

    def signed(purpose: str, ring: KeyRing) -> str:
        return TokenCodec(purpose=purpose, claims=DeviceClaims, keys=ring, clock=site.clock).sign(claims)

    header, payload, signature = real.split(".")
    for cookie in (
        signed("trusted-device", site.auth.keys),
        signed("trusted-device", KeyRing([b"x" * 32])),
        signed("api-token", site.auth.keys),
        f"{header}.{payload}.",
        f"{header}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        real + "A",
        "x" * 10_000,
        "",
    ):
        assert site.log_in(FakeRequest(cookies={COOKIE: cookie})).user is None
    assert site.log_in(FakeRequest(cookies={COOKIE: real})).user is site.ann


def test_turning_the_setting_off_ends_trust_at_once(make_site, clock) -> None:
    from asok_auth_core.testing.fakes import MemoryCredentialStore

    store = MemoryCredentialStore(clock)
    site = make_site(credentials=store, TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    browser = trusting(site, phone.code())
    for lifetime in (0, 60):
        site.clock.advance(60)
        later = make_site(credentials=store, TRUSTED_DEVICE=lifetime)
        assert later.log_in(again(browser)).user is None


def test_trusting_a_second_browser_keeps_the_first(make_site) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    first = trusting(site, phone.code())
    site.clock.advance(30)
    second = trusting(site, phone.code())
    for browser in (first, second):
        assert site.log_in(again(browser)).user is site.ann


def test_expired_rows_are_deleted(make_site) -> None:
    site = make_site(TRUSTED_DEVICE=DAYS)
    phone, _ = site.enrol()
    trusting(site, phone.code())
    site.clock.advance(DAYS + 1)
    trusting(site, phone.code())
    assert len(site.auth.credentials.list("1", KIND)) == 1


@pytest.mark.parametrize("value", [-1, "soon"])
def test_an_invalid_setting_is_rejected(make_site, value) -> None:

    with pytest.raises(SettingError, match="TRUSTED_DEVICE"):
        make_site(TRUSTED_DEVICE=value)
