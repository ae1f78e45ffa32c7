"""A second user in the browser of a first one, and what a voided account keeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asok_totp.factor import TotpFactor
from asok_totp.totp import Parameters, new_secret

from asok_auth_core.flows.accounts import void_account
from asok_auth_core.flows.factor_policy import enrolled_factors
from asok_auth_core.methods.recovery import RecoveryFactor
from asok_auth_core.plugin import Proof, SecondFactorRequired, complete_login
from asok_auth_core.testing import FakeRequest


@pytest.mark.requirement("SECURITY-19")
def test_an_app_is_set_up_for_the_login_that_waits(make_site, phone_of) -> None:
    site = make_site(REQUIRE_2FA=True)
    phone, _ = site.enrol()
    browser = FakeRequest(auth=site.auth)
    browser = site.log_in(browser)
    status, browser = site.second_factor(browser, phone.code())
    assert (status, str(browser.user.id)) == (303, "1")

    browser = site.log_in(browser.follow("/"), user=site.auth.users.by_id("2"))
    manage = browser.follow("/auth/totp")
    assert "Turn off" not in site.answer(manage).body, "that is Ann's"
    page = site.answer(manage.follow("/auth/totp/enrol", method="POST", form={})).body
    bobs = phone_of(page)
    confirm = manage.follow("/auth/totp/confirm", form={"code": bobs.code()})
    assert site.answer(confirm).status == 200
    assert str(confirm.follow("/").user.id) == "2"

    site.clock.advance(60)
    status, again = site.second_factor(site.log_in(FakeRequest(auth=site.auth)), phone.code())
    assert (status, str(again.user.id)) == (303, "1"), "Ann's app is still hers"


@pytest.mark.requirement("SECURITY-19")
def test_a_page_of_the_app_checks_the_code_of_the_login_that_waits(make_site, phone_of) -> None:
    site = make_site()
    phone, _ = site.enrol()
    bob = site.auth.users.by_id("2")
    page = site.answer(site.log_in(user=bob).follow("/auth/totp/enrol", method="POST", form={}))
    bobs = phone_of(page.body)
    first = site.log_in(FakeRequest(auth=site.auth))
    _, browser = site.second_factor(first, phone.code())
    assert str(browser.user.id) == "1"
    site.auth.second_factors["totp"].authenticators.confirm("2", bobs.code())
    site.clock.advance(60)
    waiting = site.log_in(browser.follow("/"), user=bob)
    api = site.auth.second_factors["totp"].api
    assert not api.verify(waiting, phone.code()), "Ann's code"
    assert api.verify(waiting, bobs.code())
    assert str(waiting.user.id) == "2"


@pytest.mark.requirement("SECURITY-35")
def test_codes_that_were_shown_when_a_login_voided_the_account_work(make_site, phone_of) -> None:
    site = make_site(REQUIRE_2FA=True)
    request = FakeRequest(auth=site.auth)
    with pytest.raises(SecondFactorRequired):
        complete_login(site.auth, request, site.ann, Proof("magic", "ann@example.org"))
    enrol = request.follow("/auth/totp/enrol", method="POST", form={})
    phone: object = phone_of(site.answer(enrol).body)
    confirm = enrol.follow("/auth/totp/confirm", form={"code": phone.code()})  # type: ignore[attr-defined]
    assert site.answer(confirm).status == 200
    assert set(enrolled_factors(site.auth, site.ann)) == {"totp", "recovery"}


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.requirement("SECURITY-35")
def test_only_an_imported_app_outlives_its_account_being_voided(
    make_site: Callable[..., object], imported: bool
) -> None:
    site = make_site()
    totp = site.auth.second_factors["totp"]  # type: ignore[attr-defined]
    recovery = site.auth.second_factors["recovery"]  # type: ignore[attr-defined]
    assert isinstance(totp, TotpFactor)
    assert isinstance(recovery, RecoveryFactor)
    totp.authenticators.store("1", new_secret(b"x" * 20), Parameters("SHA1", 6), imported=imported)
    if imported:
        recovery.codes.adopt("1", ["salt$hash"])
    else:
        recovery.codes.issue("1")
    void_account(site.auth, FakeRequest(), site.ann)  # type: ignore[attr-defined]
    assert totp.is_enrolled(site.ann) is imported  # type: ignore[attr-defined]
    assert recovery.is_enrolled(site.ann) is imported  # type: ignore[attr-defined]
