"""Turning it on and off: shown once, in use only after a code, recent logins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asok_totp.api import Status

from asok_auth_core.plugin import (
    Authentication,
    CredentialRejected,
    LoginRequired,
    PermissionDenied,
    RecentLoginRequired,
    SecondFactorRequired,
)
from asok_auth_core.testing import FakeRequest


def api(site):
    return site.auth.second_factors["totp"].api


def test_it_is_active_only_after_a_code_was_entered(site, phone_of) -> None:
    browser = site.log_in()
    page = site.answer(browser.follow("/auth/totp/enrol", form={})).body
    phone = phone_of(page)
    assert not api(site).status(browser).enabled
    assert site.log_in().user is site.ann  # another browser: no second factor is asked for yet

    wrong = site.answer(browser.follow("/auth/totp/confirm", form={"code": phone.code(off=3600)}))
    assert wrong.status == 400
    assert "clock" in wrong.body
    assert not api(site).status(browser).enabled

    right = site.answer(browser.follow("/auth/totp/confirm", form={"code": phone.code()}))
    assert right.status == 200
    assert api(site).status(browser) == Status(
        enabled=True, recovery_codes=10, required=False, enrolled_at=site.clock()
    )
    assert site.log_in().user is None


@pytest.mark.requirement("SECURITY-30")
def test_the_secret_is_shown_until_its_first_code_the_codes_once(site, phone_of, recovery_codes_in) -> None:
    browser = site.log_in()
    first = site.answer(browser.follow("/auth/totp/enrol", form={}))
    secret = phone_of(first.body).totp.secret
    assert ("Cache-Control", "no-store") in first.headers
    assert "<svg" in first.body
    assert first.body.count("otpauth://") == 1
    wrong = site.answer(browser.follow("/auth/totp/confirm", form={"code": "000000"}))
    assert phone_of(wrong.body).totp.secret == secret, "a typing error does not cost the QR code"
    assert ("Cache-Control", "no-store") in wrong.headers
    later = [
        site.answer(browser.follow("/auth/totp/enrol")),
        site.answer(browser.follow("/auth/totp")),
        site.answer(browser.follow("/auth/account")),
        site.answer(browser.follow("/auth/totp/confirm", form={"code": phone_of(first.body).code()})),
    ]
    shown = later[-1].body
    codes = recovery_codes_in(shown)
    assert len(codes) == 10
    assert all(f"{code}%0A" in shown for code in codes)  # the download has them all
    assert ("Cache-Control", "no-store") in later[-1].headers
    for page in later:
        grouped = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
        assert secret not in page.body
        assert grouped not in page.body
    for url in ("/auth/totp", "/auth/totp/confirm", "/auth/account", "/auth/recovery/codes"):
        page = site.answer(browser.follow(url))
        assert not any(code in page.body for code in codes)


def test_restarting_voids_the_first_secret(site, phone_of) -> None:
    browser = site.log_in()
    first = phone_of(site.answer(browser.follow("/auth/totp/enrol", form={})).body)
    second = phone_of(site.answer(browser.follow("/auth/totp/enrol", form={})).body)
    assert first.totp.secret != second.totp.secret
    assert site.answer(browser.follow("/auth/totp/confirm", form={"code": first.code()})).status == 400
    assert site.answer(browser.follow("/auth/totp/confirm", form={"code": second.code()})).status == 200


def test_an_unconfirmed_enrolment_expires(make_site, phone_of) -> None:
    site = make_site(RECENT_LOGIN=7200)
    browser = site.log_in()
    phone = phone_of(site.answer(browser.follow("/auth/totp/enrol", form={})).body)
    site.clock.advance(901)
    with pytest.raises(CredentialRejected, match="start over"):
        api(site).confirm(browser, phone.code())


def test_the_old_app_works_until_the_new_one_is_confirmed(site, phone_of) -> None:
    old, _ = site.enrol()
    status, browser = site.second_factor(site.log_in(), old.code())
    assert (status, browser.user) == (303, site.ann)
    new = phone_of(site.answer(browser.follow("/auth/totp/enrol", form={})).body)
    site.clock.advance(30)
    assert site.second_factor(site.log_in(), old.code())[0] == 303
    assert site.answer(browser.follow("/auth/totp/confirm", form={"code": new.code()})).status == 200
    site.clock.advance(30)
    assert site.second_factor(site.log_in(), old.code())[0] == 400
    assert site.second_factor(site.log_in(), new.code())[0] == 303


@pytest.mark.requirement("SECURITY-20")
def test_the_enrolment_code_does_not_log_in(site, phone_of) -> None:
    """The time step that confirmed the app is used up."""
    browser = site.log_in(FakeRequest(auth=site.auth))
    phone = phone_of(site.answer(browser.follow("/auth/totp/enrol", form={})).body)
    code = phone.code()
    assert site.answer(browser.follow("/auth/totp/confirm", form={"code": code})).status == 200
    status, other = site.second_factor(site.log_in(), code)
    assert status == 400
    assert other.user is None
    assert site.answer(browser.follow("/auth/totp/confirm", form={"code": code})).status == 400


@pytest.mark.requirement("SECURITY-24")
@pytest.mark.parametrize("path", ["/auth/totp/disable", "/auth/totp/enrol", "/auth/recovery/codes"])
def test_a_session_from_before_the_factor_changes_it_only_after_another_login(site, path: str) -> None:
    """An attacker logged in with one factor before the owner enabled a second one."""
    attacker = site.log_in(FakeRequest(auth=site.auth))
    phone, codes = site.enrol()
    assert attacker.user == site.ann
    assert site.answer(attacker.follow(path, form={})).status == 403
    assert site.second_factor(site.log_in(), codes[0], "recovery")[0] == 303, "nothing changed"
    _, owner = site.second_factor(site.log_in(FakeRequest(auth=site.auth)), phone.code())
    assert site.answer(owner.follow(path, form={})).status in (200, 303)


CHANGES: list[tuple[str, Callable]] = [
    ("enroll", lambda api, request: api.enroll(request)),
    ("confirm", lambda api, request: api.confirm(request, "123456")),
    ("disable", lambda api, request: api.disable(request)),
    ("recovery_codes", lambda api, request: api.recovery_codes(request)),
]


@pytest.mark.requirement("SECURITY-24")
@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_changes_need_a_recent_login(site, change) -> None:
    """Anonymous requests, old sessions and API tokens may not change factors."""
    with pytest.raises(LoginRequired):
        change(api(site), FakeRequest())
    with pytest.raises(RecentLoginRequired):  # a request with a user whose session never logged in
        change(api(site), FakeRequest(user=site.ann))
    browser = site.log_in()
    site.clock.advance(601)
    with pytest.raises(RecentLoginRequired):
        change(api(site), browser)


@pytest.mark.requirement("SECURITY-24", "SECURITY-43")
@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_neither_an_impersonator_nor_a_token_changes_factors(site, change) -> None:
    """Not even with a recent login."""
    browser = site.log_in()
    browser.authentication = Authentication(site.ann, ambient=False)
    with pytest.raises(PermissionDenied):
        change(api(site), browser)
    browser = site.log_in()
    browser.session.user = site.auth.users.by_id("2")
    with pytest.raises(PermissionDenied):
        change(api(site), browser)


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/totp"),
        ("POST", "/auth/totp/enrol"),
        ("POST", "/auth/totp/confirm"),
        ("POST", "/auth/recovery/codes"),
        ("POST", "/auth/totp/disable"),
    ],
)
def test_no_token_opens_its_pages(site, method, path) -> None:
    site.enrol()
    form = {"code": "123456"} if method == "POST" else None
    request = FakeRequest(path, method=method, form=form, user=site.ann)
    request.authentication = Authentication(site.ann, scopes=("*",), ambient=False)
    assert site.answer(request).status == 403
    assert api(site).status(FakeRequest(user=site.ann)).enabled


@pytest.mark.requirement("SECURITY-24")
@pytest.mark.parametrize(
    "path", ["/auth/totp/enrol", "/auth/totp/confirm", "/auth/recovery/codes", "/auth/totp/disable"]
)
def test_pages_send_a_stale_session_to_log_in_again(site, path) -> None:
    site.enrol()
    browser = site.log_in(FakeRequest(), user=site.auth.users.by_id("2"))
    site.clock.advance(3600)
    answer = site.answer(browser.follow(path, form={"code": "123456"}))
    assert answer.status == 403
    assert "/auth/login" in answer.body
    page = site.answer(browser.follow("/auth/totp"))
    assert page.status == 403
    assert "/auth/login?next=/auth/totp" in page.body


@pytest.mark.requirement("SECURITY-26")
def test_get_changes_nothing(site, phone_of) -> None:
    phone, _ = site.enrol()
    _, browser = site.second_factor(site.log_in(), phone.code())
    before = [row.data for row in site.auth.credentials.list("1")]
    for path in (
        "/auth/totp",
        "/auth/totp/enrol",
        "/auth/totp/confirm",
        "/auth/recovery/codes",
        "/auth/totp/disable",
    ):
        for method in ("GET", "HEAD"):
            assert site.answer(browser.follow(path, method=method)).status in (200, 303)
    assert [row.data for row in site.auth.credentials.list("1")] == before


def test_turning_it_off_removes_everything(site) -> None:
    phone, _ = site.enrol()
    _, browser = site.second_factor(site.log_in(), phone.code())
    assert site.answer(browser.follow("/auth/totp/disable", form={})).status == 303
    assert site.auth.credentials.list("1", "totp") == []
    assert site.auth.credentials.list("1", "recovery_codes") == []
    assert site.log_in().user is site.ann
    assert api(site).disable(browser) is False


def test_new_recovery_codes_void_the_old_ones(site) -> None:
    phone, old = site.enrol()
    _, browser = site.second_factor(site.log_in(), phone.code())
    new = api(site).recovery_codes(browser)
    assert len(set(new) | set(old)) == 20
    assert site.second_factor(site.log_in(), old[0], "recovery")[0] == 400
    assert site.second_factor(site.log_in(), new[0], "recovery")[0] == 303
    assert api(site).status(browser).recovery_codes == 9


def test_recovery_codes_need_an_app(site) -> None:
    browser = site.log_in()
    with pytest.raises(CredentialRejected, match="second factor first"):
        api(site).recovery_codes(browser)


@pytest.mark.requirement("SECURITY-19")
def test_a_required_second_factor_cannot_be_turned_off(make_site, phone_for) -> None:
    site = make_site(REQUIRE_2FA=True)
    browser = site.log_in()
    assert browser.user is None
    enrolment = api(site).enroll(browser)
    assert site.auth.second_factors["totp"].is_enrolled(site.ann) is False
    phone = phone_for(enrolment.uri)
    api(site).confirm(browser, phone.code())
    assert browser.user is site.ann
    with pytest.raises(PermissionDenied):
        api(site).disable(browser)
    page = site.answer(browser.follow("/auth/totp"))
    assert "/auth/totp/disable" not in page.body


@pytest.mark.requirement("SECURITY-19")
def test_a_pending_login_cannot_replace_an_app(make_site, phone_for) -> None:
    """A forced enrolment adds a first factor and never replaces one added meanwhile."""
    site = make_site(REQUIRE_2FA=True)
    thief, owner = site.log_in(), site.log_in()
    stolen = phone_for(api(site).enroll(thief).uri)
    phone = phone_for(api(site).enroll(owner).uri)
    api(site).confirm(owner, phone.code())
    with pytest.raises(SecondFactorRequired):
        api(site).confirm(thief, stolen.code())
    with pytest.raises(SecondFactorRequired):
        api(site).enroll(thief)
    assert thief.user is None
    site.clock.advance(30)
    assert site.second_factor(thief, stolen.code())[0] == 400
    assert site.second_factor(thief, phone.code())[0] == 303


@pytest.mark.requirement("SECURITY-19")
def test_the_second_of_two_simultaneous_confirmations_replaces_nothing(site) -> None:
    """Both passed the first check before either was saved."""
    from asok_totp.authenticator import Authenticators

    authenticators: Authenticators = api(site)._authenticators
    authenticators.store("1", "A" * 32, api(site)._settings.parameters)
    with pytest.raises(CredentialRejected, match="already"):
        authenticators.store("1", "B" * 32, api(site)._settings.parameters, replace=False)
