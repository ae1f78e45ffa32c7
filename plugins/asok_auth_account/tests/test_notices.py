"""Users are told by mail, in their language, never at the cost of the login."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import asok_magic_link
import asok_totp
import pyotp
import pytest
from markupsafe import Markup

from asok_auth_core.plugin import (
    Auth,
    MailTransport,
    Newcomer,
    OpenIDProvider,
    OutgoingMail,
    Proof,
    SecondFactor,
    User,
    WebRequest,
    complete_login,
    hookimpl,
)
from asok_auth_core.testing import Browser, FakeRequest, raises_code, wait_until

EVENTS = {
    "second_factor.enrolled": "A second factor was added to your account at Shop",
    "second_factor.disabled": "A second factor was removed from your account at Shop",
    "second_factor.reset": "A second factor was removed from your account at Shop",
    "recovery_codes.issued": "New recovery codes for your account at Shop",
    "identity.linked": "Example was linked to your account at Shop",
    "identity.unlinked": "Example was unlinked from your account at Shop",
    "token.created": "An API token was created for your account at Shop",
    "device.trusted": "A browser was marked as trusted for your account at Shop",
    "account.disabled": "Your account at Shop was disabled",
    "account.enabled": "Your account at Shop was enabled again",
}


class Provider:
    @hookimpl
    def asok_auth_providers(self) -> list[OpenIDProvider]:
        return [OpenIDProvider.named("example", label="Example", issuer="https://login.example")]


PROVIDER_SETTINGS = {"PROVIDERS": {"example": {"client_id": "c", "client_secret": "s"}}}


def emit(site: Any, name: str, method: str | None = None, **detail: str) -> None:
    if method is None:
        method = "example" if name.startswith("identity.") else "recovery"
    site.auth.events.emit(name, user=site.ada, method=method, **detail)


@pytest.mark.requirement("SECURITY-44")
class TestEachEvent:
    @pytest.mark.parametrize("name", EVENTS)
    def test_a_mail_says_what_happened(self, make_site: Callable[..., Any], name: str) -> None:
        site = make_site(Provider(), **PROVIDER_SETTINGS)
        emit(site, name)
        [mail] = site.mails()
        assert mail.to == "ada@example.com"
        assert mail.subject == EVENTS[name]
        assert "https://app.example/auth/account" in mail.text
        assert 'href="https://app.example/auth/account"' in mail.html
        assert site.events("notice.sent")[0]["about"] == name
        assert "administrators of Shop" in mail.text or name == "account.enabled"

    @pytest.mark.parametrize("name", ["login.rejected", "logout", "magic.sent", "mail.sent", "tomorrow.made"])
    def test_other_events_are_not_mailed(self, site: Any, name: str) -> None:
        emit(site, name)
        assert site.mails() == []

    def test_a_factor_that_was_given_is_no_news_unless_it_is_a_backup(self, site: Any) -> None:
        emit(site, "second_factor.succeeded", "totp")
        assert site.mails() == []
        emit(site, "second_factor.succeeded", "recovery")
        [mail] = site.mails()
        assert mail.subject == "A recovery code was used for your account at Shop"
        assert "Codes left: 0." in mail.text

    def test_a_user_without_an_email_address_or_an_account_gets_none(self, site: Any) -> None:
        site.ada.email = None
        emit(site, "token.created")
        site.auth.events.emit("token.created", user=type(site.ada)("77"))
        site.auth.events.emit("token.created")
        assert site.mails() == []

    def test_the_setting_chooses(self, make_site: Callable[..., Any]) -> None:
        site = make_site(account={"NOTICES": ["api_token"]})
        emit(site, "second_factor.enrolled")
        assert site.mails() == []
        emit(site, "token.created")
        assert len(site.mails()) == 1

    def test_a_misspelled_choice_stops_the_start(self, make_site: Callable[..., Any]) -> None:
        with raises_code("setting", match="NOTICES"):
            make_site(account={"NOTICES": ["api_tokens"]})


class TestNewBrowsers:
    @pytest.mark.requirement("SECURITY-44")
    def test_a_login_with_a_new_browser_is_told(self, site: Any) -> None:
        site.logged_in()
        assert site.mails() == []  # the first one ever
        site.clock.advance(3600)
        site.logged_in(ip="203.0.113.9")
        [mail] = site.mails()
        assert mail.subject == "New login to your account at Shop"
        for part in (mail.text, mail.html):
            assert "Time: 2023-11-14 23:13 UTC" in part
            assert "Browser: Firefox · Linux" in part
            assert "IP address: 203.0.113.9" in part

    def test_one_with_a_known_browser_is_not(self, site: Any) -> None:
        browser = site.logged_in()
        for _ in range(3):
            site.clock.advance(86_400)
            browser.get("/auth/account")
            browser.log_in(site.ada)
        assert site.mails() == []

    def test_a_browser_is_known_for_one_user(self, site: Any) -> None:
        bob = site.users.create("bob@example.com")
        site.logged_in(bob)
        browser = site.logged_in()
        site.clock.advance(3600)
        browser.get("/auth/account")
        browser.log_in(bob)
        [mail] = site.mails()
        assert mail.to == "bob@example.com"

    def test_an_account_from_before_the_plugin_is_told(self, site: Any) -> None:
        site.credentials.add("1", "identity", "x", {})
        site.clock.advance(3600)
        site.logged_in()
        assert len(site.mails()) == 1

    def test_an_unknown_browser_is_called_that(self, site: Any) -> None:
        site.logged_in()
        site.clock.advance(3600)
        site.logged_in(agent="<script>curl</script>")
        [mail] = site.mails()
        assert "Browser: Unknown browser" in mail.text
        assert "script" not in mail.html

    def test_the_number_of_known_browsers_is_bounded(self, site: Any) -> None:
        first = site.logged_in()
        for _ in range(30):
            site.clock.advance(60)
            site.logged_in()
        assert len(site.credentials.list("1", "account_browser")) == 20
        site.mails()
        site.clock.advance(86_400)
        first.get("/auth/account")
        first.log_in(site.ada)
        assert len(site.mails()) == 1  # forgotten

    def test_a_cookie_that_no_browser_of_ours_has_is_replaced(self, site: Any) -> None:
        for forged in ("", "x" * 500, "x" * 32, "a\r\nX-Evil: yes", "a; Domain=evil.example"):
            browser = site.browser()
            browser.request.cookies = {"__Host-asok_auth_known": forged}
            browser.log_in(site.ada)
            value, _, _ = browser.request.sent_cookies["__Host-asok_auth_known"]
            assert re.fullmatch("[0-9a-f]{32}", value)

    @pytest.mark.requirement("SECURITY-30")
    def test_the_cookie_is_stored_as_a_digest(self, site: Any) -> None:
        browser = site.logged_in()
        value, _, _ = browser.request.sent_cookies["__Host-asok_auth_known"]
        assert value not in repr([(row.identifier, row.data) for row in site.credentials.list("1")])


class Word(SecondFactor):
    """Set up when the test says so."""

    name = "word"
    label = "Secret word"
    users: set[str] = set()

    def is_enrolled(self, user: User) -> bool:
        return str(user.id) in self.users

    def reset(self, user: User) -> None:
        self.users.discard(str(user.id))

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup()

    def verify(self, request: WebRequest, user: User) -> bool:
        return True


class Words:
    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
        return [Word()]


class TestNewAccounts:
    def test_opening_an_account_is_no_news(self, site: Any) -> None:
        """Its first login, and what is linked and set up with it."""

        browser = site.browser(locale="fr")
        from_page(site.auth, browser, Newcomer("new@example.com"))
        assert site.mails() == []
        site.clock.advance(3600)
        from_page(site.auth, site.browser(), site.users.by_email("new@example.com"))
        [mail] = site.mails("new@example.com")
        assert mail.subject == "Nouvelle connexion à votre compte Shop"

    def test_a_factor_that_the_first_login_has_to_set_up_is_none_either(
        self, make_site: Callable[..., Any]
    ) -> None:
        site = make_site(Words())
        site.auth.events.emit("account.created", user=site.ada)
        site.auth.events.emit("second_factor.enrolled", user=site.ada, method="word")
        assert site.mails() == []
        site.logged_in()
        assert site.mails() == []
        site.auth.events.emit("second_factor.enrolled", user=site.ada, method="word")
        [mail] = site.mails()
        assert "From now on, your logins ask for: Secret word." in mail.text


def from_page(auth: Auth, browser: Browser, user: Any) -> None:
    """Log in by a page of ours, which knows the current request."""
    browser.request = browser.request.follow("/", headers=browser.request.headers)
    browser.log_in(user)


class TestLanguages:
    @pytest.mark.parametrize(
        ("locale", "subject", "factor"),
        [
            ("en", "A second factor was added to your account at Shop", "Recovery code"),
            ("de", "Ein zweiter Faktor wurde zu Ihrem Konto bei Shop hinzugefügt", "Wiederherstellungscode"),
            ("fr", "Un second facteur a été ajouté à votre compte Shop", "Code de secours"),
        ],
    )
    def test_the_mail_is_in_the_users_language(
        self, site: Any, locale: str, subject: str, factor: str
    ) -> None:
        site.logged_in(locale=locale)
        emit(site, "second_factor.enrolled")
        [mail] = site.mails()
        assert mail.subject == subject
        assert factor in mail.text
        assert f'<html lang="{locale}"' in mail.html

    def test_a_login_with_a_new_browser_does_not_change_it(self, site: Any) -> None:
        """It may be another person's."""
        site.logged_in(locale="fr")
        site.clock.advance(3600)
        site.logged_in(locale="de")
        emit(site, "second_factor.enrolled")
        assert [mail.subject[:8] for mail in site.mails()] == ["Nouvelle", "Un secon"]

    def test_a_login_with_a_known_browser_does(self, site: Any) -> None:
        browser = site.logged_in(locale="fr")
        browser.request.locale = "de"
        browser.get("/auth/account")
        browser.log_in(site.ada)
        emit(site, "second_factor.enrolled")
        [mail] = site.mails()
        assert mail.subject.startswith("Ein zweiter Faktor")


class TestWhere:
    def test_an_operators_command_says_nothing_of_the_place(self, site: Any) -> None:
        emit(site, "account.disabled")
        [mail] = site.mails()
        assert "Time:" in mail.text
        assert "Browser:" not in mail.text
        assert "IP address:" not in mail.text

    def test_a_token_that_a_page_makes_for_another_user_does_not_either(self, site: Any) -> None:
        bob = site.users.create("bob@example.com")
        browser = site.logged_in(bob)
        site.mails()

        request = browser.request.follow("/auth/account")
        browser.get("/auth/account")
        assert request.user is bob
        site.auth.find_request = lambda: request
        emit(site, "token.created")
        [mail] = site.mails("ada@example.com")
        assert "192.0.2.1" not in mail.text
        site.auth.events.emit("token.created", user=bob)
        [mail] = site.mails("bob@example.com")
        assert "192.0.2.1" in mail.text


@pytest.mark.requirement("SECURITY-42", "SECURITY-44")
class TestFloods:
    def test_no_flood_sends_hundreds(self, site: Any) -> None:
        for _ in range(50):
            emit(site, "token.created")
        mails = site.mails()
        assert len(mails) == 3
        assert ["no more emails of this kind" in mail.text for mail in mails] == [False, False, True]
        assert len(site.events("notice.limited")) == 1
        for _ in range(48):
            site.clock.advance(3600)
            for _ in range(20):
                emit(site, "token.created")
        assert len(site.mails()) <= 20

    def test_many_of_one_kind_hide_none_of_another(self, site: Any) -> None:
        for _ in range(50):
            emit(site, "token.created")
        site.mails()
        emit(site, "second_factor.disabled")
        assert len(site.mails()) == 1

    def test_nor_those_of_another_user(self, site: Any) -> None:
        for _ in range(50):
            emit(site, "token.created")
        site.mails()
        site.auth.events.emit("token.created", user=site.users.create("bob@example.com"))
        assert [mail.to for mail in site.mails()] == ["bob@example.com"]


class TestTheLoginIsNotDisturbed:
    def test_it_succeeds_without_a_mail_server(self, make_site: Callable[..., Any]) -> None:
        site = make_site()
        site.logged_in()
        site.clock.advance(3600)
        site.auth.outbox.close()
        assert site.logged_in().request.user is site.ada

    def test_it_does_not_wait_for_one(self, make_site: Callable[..., Any]) -> None:
        class Hanging(MailTransport):
            def __init__(self) -> None:
                self.go_on = False

            def send(self, mail: OutgoingMail) -> None:
                wait_until(lambda: self.go_on)

        site = make_site()
        transport = site.auth.outbox._transport = Hanging()
        site.logged_in()
        site.clock.advance(3600)
        started = time.monotonic()
        site.logged_in()
        assert time.monotonic() - started < 30
        transport.go_on = True

    def test_it_succeeds_although_the_notice_fails(
        self, site: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.logged_in()
        site.clock.advance(3600)
        monkeypatch.setattr(site.auth.templates, "get_template", lambda name: 1 / 0)
        browser = site.logged_in()
        monkeypatch.undo()
        assert browser.request.follow("/").user is site.ada
        assert "failed on event login.succeeded" in caplog.text


class TestRealPlugins:
    def test_an_authenticator_app_and_recovery_codes(self, make_site: Callable[..., Any]) -> None:
        site = make_site(asok_totp, asok_magic_link, config={"DEBUG": True})
        browser = site.logged_in(locale="de")
        page = browser.post("/auth/totp/enrol").text
        secret = re.search(r"secret=([A-Z2-7]+)", page.replace("&amp;", "&"))
        assert secret is not None
        code = pyotp.TOTP(secret[1]).at(int(site.clock()))
        shown = browser.post("/auth/totp/confirm", {"code": code}).text
        [mail] = site.mails()
        assert "Authenticator-App" in mail.text
        assert "192.0.2.1" in mail.text
        recovery = re.findall(r"\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b", shown)[0]
        other = site.browser(ip="198.51.100.7")
        with pytest.raises(Exception, match="second factor"):
            other.log_in(site.ada)
        other.post("/auth/second-factor", {"factor": "recovery", "code": recovery})
        assert other.request.user is None or other.request.user is site.ada
        subjects = [mail.subject for mail in site.mails()]
        assert subjects == [
            "Ein Wiederherstellungscode wurde für Ihr Konto bei Shop verwendet",
            "Neue Anmeldung in Ihrem Konto bei Shop",
        ]


@pytest.mark.requirement("SECURITY-30")
def test_no_mail_holds_a_secret_and_no_event_an_address(site: Any) -> None:
    site.logged_in()
    site.clock.advance(3600)
    browser = site.logged_in()
    [mail] = site.mails()
    for value, _, _ in browser.request.sent_cookies.values():
        assert value not in mail.text
    assert "ada@example.com" not in repr(site.parts.events)


def test_without_app_url_there_is_no_link(make_site: Callable[..., Any]) -> None:
    site = make_site(config={"APP_URL": ""})
    emit(site, "token.created")
    [mail] = site.mails()
    assert "http" not in mail.text
    assert "<a " not in mail.html


def test_a_name_of_the_app_breaks_no_header(make_site: Callable[..., Any]) -> None:
    site = make_site(APP_NAME="Shop\r\nBcc: eve@example.com <b>")
    emit(site, "token.created")
    [mail] = site.mails()
    assert "\n" not in mail.subject
    assert "<b>" not in mail.html


def test_a_login_outside_of_a_request_is_told_without_a_browser(site: Any) -> None:
    site.credentials.add("1", "identity", "x", {})
    site.clock.advance(3600)
    complete_login(site.auth, FakeRequest(), site.ada, Proof("app"))
    [mail] = site.mails()
    assert "Browser:" not in mail.text
    assert "IP address: 192.0.2.1" in mail.text
