"""An email address is changed by proving the new one; the old one can undo it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import asok_magic_link
import pytest

from asok_auth_core.plugin import (
    ACCOUNT_PATH,
    AccountExists,
    Auth,
    OutgoingMail,
    SecondFactorRequired,
    StoreUnavailable,
    TokenApi,
    User,
    UserDirectory,
    hookimpl,
    is_email_verified,
    sessions_of,
)
from asok_auth_core.testing import Browser, FakeUser, MemoryUsers, RoutesContract, exactly_once
from asok_auth_core.testing.races import in_threads

OLD, NEW, NEXT = "ada@example.com", "ada@new.example", "ada@next.example"
EMAIL = "/auth/account/email"
DAY = 86_400
BASE = "https://app.example"


def path_in(mail: OutgoingMail) -> str:
    """The path of the link in a mail; text and HTML have the same one."""
    [link] = re.findall(r"https://app\.example(\S+)", mail.text)
    assert f'href="{BASE}{link}"' in str(mail.html).replace("&amp;", "&")
    return str(link)


def code_in(mail: OutgoingMail) -> str:
    [code] = re.findall(r"^ {4}(\w{4}-\w{4})$", mail.text, re.MULTILINE)
    assert code in str(mail.html)
    return str(code)


def ask(site: Any, browser: Browser, email: str = NEW) -> OutgoingMail:
    """Ask for a change; return the mail to the new address."""
    answer = browser.post(EMAIL, {"email": email})
    assert answer.status == 303, answer.text
    [mail] = site.mails()
    assert mail.to == email.lower()
    return mail


def change(site: Any, browser: Browser, email: str = NEW) -> str:
    """Change the address; return the path of the link that undoes it."""
    mail = ask(site, browser, email)
    assert browser.post(path_in(mail)).status == 303
    told = site.mails()[-1]
    return path_in(told)


@pytest.fixture
def browser(site: Any) -> Browser:
    return site.logged_in()


class TestChange:
    def test_by_the_link(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        assert site.ada.email == OLD
        assert NEW in browser.get(path_in(mail)).text
        assert site.ada.email == OLD
        answer = browser.post(path_in(mail))
        assert dict(answer.headers)["Location"] == ACCOUNT_PATH
        assert site.ada.email == NEW
        assert is_email_verified(site.auth, site.ada, NEW)
        assert NEW in browser.get(ACCOUNT_PATH).text
        assert [name for name in ("email.change_started", "email.changed") if site.events(name)] == [
            "email.change_started",
            "email.changed",
        ]

    def test_by_the_code(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        assert NEW in browser.get(f"{EMAIL}/code").text
        answer = browser.post(f"{EMAIL}/code", {"code": code_in(mail).lower().replace("-", " ")})
        assert answer.status == 303
        assert site.ada.email == NEW

    @pytest.mark.requirement("SECURITY-44")
    def test_the_old_address_is_told(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        browser.post(path_in(mail))
        [told] = site.mails()
        assert told.to == OLD
        assert told.subject == "The email address of your account at Shop was changed"
        for part in (NEW, "Firefox · Linux", "192.0.2.1", "7 days"):
            assert part in told.text
            assert part in told.html

    @pytest.mark.requirement("SECURITY-37")
    def test_other_sessions_end_and_this_one_stays(self, site: Any, browser: Browser) -> None:
        other = site.logged_in()
        site.mails()
        mail = ask(site, browser)
        browser.post(path_in(mail))
        assert other.request.follow("/").user is None
        assert browser.request.follow("/").user is site.ada
        assert len(sessions_of(site.auth, site.ada)) == 1

    @pytest.mark.parametrize("locale", ["de", "fr"])
    def test_pages_and_mails_are_translated(self, site: Any, locale: str) -> None:
        browser = site.logged_in(locale=locale)
        mail = ask(site, browser)
        browser.post(path_in(mail))
        [told] = site.mails()
        for one in (mail, told):
            assert "Shop" in one.subject
            assert not re.search(r"\b(your|email address)\b", one.text, re.IGNORECASE)

    @pytest.mark.requirement("SECURITY-26")
    def test_opening_the_link_changes_nothing(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        for method in ("GET", "HEAD", "GET"):
            assert browser.get(path_in(mail), method=method).status == 200
        assert site.ada.email == OLD
        assert browser.post(path_in(mail)).status == 303

    @pytest.mark.requirement("SECURITY-24")
    def test_every_page_needs_a_recent_login(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        site.clock.advance(601)
        for path in (EMAIL, f"{EMAIL}/code", path_in(mail)):
            assert browser.get(path).status == 403
            assert browser.post(path, {"email": NEW, "code": code_in(mail)}).status == 403
        assert Browser(site.auth).get(EMAIL).status == 401
        assert site.ada.email == OLD

    def test_the_link_is_kept_through_a_login(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        answer = Browser(site.auth).get(path_in(mail))
        assert answer.status == 401
        assert f"next={quote(path_in(mail), safe='/')}" in answer.text

    def test_what_is_no_address_or_ones_own_is_rejected_at_the_field(
        self, site: Any, browser: Browser
    ) -> None:
        for text in ("", "x", "a@example.com, b@example.com", OLD, OLD.upper(), '"><script>@x.example'):
            answer = browser.post(EMAIL, {"email": text})
            assert answer.status == 400
            assert 'role="alert"' in answer.text
            assert "<script>@" not in answer.text
        assert site.mails() == []

    def test_it_can_be_switched_off(self, make_site: Callable[..., Any]) -> None:
        site = make_site(account={"EMAIL_CHANGE": False})
        browser = site.logged_in()
        assert browser.get(EMAIL).status == 404
        assert EMAIL not in browser.get(ACCOUNT_PATH).text

    def test_a_directory_that_cannot_change_addresses_has_no_page(
        self, make_site: Callable[..., Any]
    ) -> None:
        class Fixed(MemoryUsers):
            set_email = UserDirectory.set_email

        site = make_site(users=Fixed(FakeUser("1", OLD)))
        assert site.logged_in().get(EMAIL).status == 404

    def test_an_account_without_an_address_has_none_to_change(self, site: Any, browser: Browser) -> None:
        site.ada.email = None
        assert browser.get(EMAIL).status == 200
        assert browser.post(EMAIL, {"email": NEW}).status == 403


class TestOrder:
    """Links in every order: old after new, expired, of a second change, undone."""

    def test_a_link_works_once(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        assert browser.post(path_in(mail)).status == 303
        site.mails()
        assert browser.post(path_in(mail)).status == 400
        assert browser.post(f"{EMAIL}/code", {"code": code_in(mail)}).status == 400
        assert site.mails() == []
        assert {one["way"] for one in site.events("email.change_rejected")} == {"link", "code"}

    @pytest.mark.requirement("SECURITY-1")
    def test_of_many_presses_one_changes_the_address(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)

        def press() -> list[str]:
            one = Browser(site.auth)
            one.request = browser.request.follow("/")
            return ["won"] if one.post(path_in(mail)).status == 303 else []

        exactly_once(in_threads(press, 8), ["won"])
        assert len(site.events("email.changed")) == 1

    @pytest.mark.parametrize("second", [NEXT, NEW])
    def test_an_older_link_is_void_after_a_newer_one(self, site: Any, browser: Browser, second: str) -> None:
        first = ask(site, browser)
        newer = ask(site, browser, second)
        assert browser.get(path_in(first)).status == 400
        assert browser.post(path_in(first)).status == 400
        assert browser.post(f"{EMAIL}/code", {"code": code_in(first)}).status == 400
        assert site.ada.email == OLD
        assert browser.post(path_in(newer)).status == 303
        assert site.ada.email == second

    @pytest.mark.requirement("SECURITY-25")
    def test_an_expired_one_is_void(self, site: Any) -> None:
        browser = site.logged_in()
        mail = ask(site, browser)
        site.clock.advance(3600)
        browser.log_in(site.ada)
        assert browser.post(path_in(mail)).status == 400
        assert browser.post(f"{EMAIL}/code", {"code": code_in(mail)}).status == 400
        assert dict(browser.get(f"{EMAIL}/code").headers)["Location"] == EMAIL

    @pytest.mark.requirement("SECURITY-6")
    def test_another_users_link_is_void(self, site: Any, browser: Browser) -> None:
        """A victim who presses the button of an attacker's link gives nothing away."""
        mail = ask(site, browser)
        bob = site.users.create("bob@example.com")
        other = site.logged_in(bob)
        assert other.get(path_in(mail)).status == 400
        assert other.post(path_in(mail)).status == 400
        assert other.post(f"{EMAIL}/code", {"code": code_in(mail)}).status == 400
        ask_other = other.post(EMAIL, {"email": NEW})
        assert ask_other.status == 303
        assert other.post(path_in(mail)).status == 400
        assert (site.ada.email, bob.email) == (OLD, "bob@example.com")

    @pytest.mark.requirement("SECURITY-6")
    def test_links_of_other_purposes_are_void(self, make_site: Callable[..., Any]) -> None:
        site = make_site(asok_magic_link)
        browser = site.logged_in()
        mail = ask(site, browser)
        token = path_in(mail).rpartition("=")[2]
        assert browser.get(f"/auth/magic/callback?token={token}").status == 400
        magic = site.auth.login_methods["magic"].api.create_token(browser.request, NEW)
        assert browser.post(f"{EMAIL}/confirm?token={magic}").status == 400
        undo = change(site, browser)
        for path in (f"{EMAIL}/confirm?token={undo.rpartition('=')[2]}", f"{EMAIL}/undo?token={token}"):
            assert browser.post(path).status == 400

    @pytest.mark.requirement("SECURITY-15")
    def test_an_address_that_is_taken_meanwhile_changes_nothing(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        site.users.create(NEW)
        answer = browser.post(path_in(mail))
        assert answer.status in (400, 409)
        assert site.ada.email == OLD
        assert site.mails() == []
        assert site.credentials.list("1", "account_undo") == []
        assert browser.request.follow("/").user is site.ada

    def test_nor_does_one_that_is_taken_at_the_last_moment(
        self, site: Any, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mail = ask(site, browser)

        def taken(user: User, email: str) -> None:
            raise AccountExists("taken")

        monkeypatch.setattr(site.users, "set_email", taken)
        assert browser.post(path_in(mail)).status == 409
        assert site.mails() == []
        assert site.credentials.list("1", "account_undo") == []
        assert not is_email_verified(site.auth, site.ada, NEW)

    def test_an_address_that_the_app_changed_meanwhile_stays(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        site.users.set_email(site.ada, "ada@admin.example")
        assert browser.post(path_in(mail)).status == 400
        assert site.ada.email == "ada@admin.example"

    @pytest.mark.requirement("SECURITY-23")
    def test_a_disabled_account_changes_nothing(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        site.ada.is_active = False
        assert browser.post(path_in(mail)).status == 401
        assert site.ada.email == OLD

    @pytest.mark.requirement("SECURITY-32")
    def test_a_database_that_fails_changes_nothing(
        self, site: Any, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mail = ask(site, browser)

        def fail(user: User, email: str) -> None:
            raise StoreUnavailable("down")

        monkeypatch.setattr(site.users, "set_email", fail)
        assert browser.post(path_in(mail)).status == 503
        assert site.credentials.list("1", "account_undo") == []


class TestTaken:
    @pytest.mark.requirement("SECURITY-27")
    def test_the_page_does_not_tell_which_addresses_have_accounts(self, site: Any, browser: Browser) -> None:
        site.users.create("bob@example.com")
        free, taken = [
            (answer.status, dict(answer.headers), browser.get(f"{EMAIL}/code").text.replace(email, "X"))
            for email in ("carl@example.com", "bob@example.com")
            for answer in [browser.post(EMAIL, {"email": email})]
        ]
        assert free == taken
        mails = {mail.to: mail for mail in site.mails()}
        assert "has it already" in mails["bob@example.com"].text
        assert "http" not in mails["bob@example.com"].text
        assert re.search(r"\w{4}-\w{4}", mails["bob@example.com"].text) is None

    def test_an_address_that_is_free_again_needs_a_new_mail(self, site: Any, browser: Browser) -> None:
        bob = site.users.create("bob@example.com")
        browser.post(EMAIL, {"email": "bob@example.com"})
        bob.email = "robert@example.com"
        assert browser.post(f"{EMAIL}/code", {"code": ""}).status == 400
        assert browser.post(f"{EMAIL}/code", {"code": "-"}).status == 400

    @pytest.mark.requirement("SECURITY-15")
    def test_it_is_taken_in_any_case(self, make_site: Callable[..., Any]) -> None:
        class Alike(MemoryUsers):
            def ids_alike(self, email: str) -> list[str]:
                return ["2"] if email == "bob@example.com" else []

        site = make_site(users=Alike(FakeUser("1", OLD), FakeUser("2", "BOB@example.com")))
        browser = site.logged_in()
        browser.post(EMAIL, {"email": "bob@example.com"})
        [mail] = site.mails()
        assert "has it already" in mail.text


class TestLimits:
    @pytest.mark.requirement("SECURITY-21")
    def test_guesses_are_limited(self, site: Any, browser: Browser) -> None:
        mail = ask(site, browser)
        answers = [browser.post(f"{EMAIL}/code", {"code": "2222-2222"}).status for _ in range(12)]
        assert answers == [400] * 10 + [429] * 2
        assert browser.post(f"{EMAIL}/code", {"code": code_in(mail)}).status == 429
        assert browser.post(path_in(mail)).status == 303  # the link still works

    @pytest.mark.requirement("SECURITY-42")
    def test_mails_are_limited(self, site: Any, browser: Browser) -> None:
        answers = [browser.post(EMAIL, {"email": f"a{n}@example.com"}).status for n in range(7)]
        assert answers == [303] * 5 + [429] * 2
        assert len(site.mails()) == 5

    def test_mails_to_one_address_are_limited_for_all_users_together(self, site: Any) -> None:
        answers = []
        for number in range(4):
            user = site.users.create(f"u{number}@example.com")
            one = site.logged_in(user, ip=f"192.0.2.{number + 10}")
            answers += [one.post(EMAIL, {"email": NEW}).status for _ in range(2)]
        assert answers.count(429) == 3

    def test_a_mail_server_that_rejects_is_reported(self, make_site: Callable[..., Any]) -> None:
        from asok_auth_core.plugin import MailPermanent

        site = make_site()
        browser = site.logged_in()

        def reject(mail: OutgoingMail) -> None:
            raise MailPermanent("no")

        site.parts.mail.send = reject
        assert browser.post(EMAIL, {"email": NEW}).status == 503


class TestUndo:
    def test_the_old_address_gets_its_account_back(self, site: Any, browser: Browser) -> None:
        site.credentials.add("1", "email", OLD, {})  # it was verified
        site.clock.advance(60)
        undo = change(site, browser)
        owner = Browser(site.auth)
        assert OLD in owner.get(undo).text
        assert site.ada.email == NEW
        answer = owner.post(undo)
        assert answer.status == 200
        assert OLD in answer.text
        assert site.ada.email == OLD
        assert is_email_verified(site.auth, site.ada, OLD)
        assert browser.request.follow("/").user is None
        [told] = site.mails(NEW)
        assert told.subject == "The email address of your account at Shop was restored"
        assert len(site.events("email.restored")) == 1

    @pytest.mark.requirement("SECURITY-37")
    def test_what_an_attacker_added_is_gone(self, site: Any, browser: Browser) -> None:
        tokens = site.auth.api(TokenApi)
        kept = tokens.create(browser.request.follow("/"), "1")
        site.mails()
        site.clock.advance(60)
        undo = change(site, browser)
        site.clock.advance(60)
        planted = tokens.create(browser.request.follow("/"), "1")
        site.credentials.add("1", "identity", "planted", {"provider": "x"})
        assert browser.post(EMAIL, {"email": NEXT}).status == 303
        Browser(site.auth).post(undo)
        assert tokens.verify(browser.request, kept) == "1"
        assert tokens.verify(browser.request, planted) is None
        assert site.credentials.find("identity", "planted") is None
        again = site.logged_in()
        assert dict(again.get(f"{EMAIL}/code").headers)["Location"] == EMAIL  # no change waits

    @pytest.mark.requirement("SECURITY-44")
    def test_what_happens_meanwhile_is_told_to_the_old_address_too(self, site: Any, browser: Browser) -> None:
        change(site, browser)
        site.auth.events.emit("token.created", user=site.ada)
        assert sorted(mail.to for mail in site.mails()) == sorted([OLD, NEW])
        site.clock.advance(8 * DAY)
        site.auth.events.emit("token.created", user=site.ada)
        assert [mail.to for mail in site.mails()] == [NEW]

    @pytest.mark.requirement("SECURITY-1")
    def test_it_works_once(self, site: Any, browser: Browser) -> None:
        undo = change(site, browser)
        results = in_threads(lambda: ["won"] if Browser(site.auth).post(undo).status == 200 else [], 8)
        exactly_once(results, ["won"])
        assert Browser(site.auth).get(undo).status == 400

    @pytest.mark.requirement("SECURITY-26")
    def test_opening_it_changes_nothing(self, site: Any, browser: Browser) -> None:
        undo = change(site, browser)
        for method in ("GET", "HEAD"):
            assert Browser(site.auth).get(undo, method=method).status == 200
        assert site.ada.email == NEW

    def test_it_expires(self, site: Any, browser: Browser) -> None:
        undo = change(site, browser)
        site.clock.advance(7 * DAY)
        assert Browser(site.auth).get(undo).status == 400
        assert Browser(site.auth).post(undo).status == 400
        assert site.ada.email == NEW
        browser = site.logged_in()
        site.mails()
        change(site, browser, NEXT)
        assert len(site.credentials.list("1", "account_undo")) == 1  # the expired one is gone

    def test_without_it_the_mail_says_whom_to_ask(self, make_site: Callable[..., Any]) -> None:
        site = make_site(account={"EMAIL_UNDO": 0})
        browser = site.logged_in()
        mail = ask(site, browser)
        browser.post(path_in(mail))
        [told] = site.mails()
        assert "http" not in told.text
        assert "contact the administrators of Shop" in told.text

    def test_after_a_second_change_the_first_owner_wins(self, site: Any, browser: Browser) -> None:
        first = change(site, browser, NEW)
        site.clock.advance(60)
        second = change(site, browser, NEXT)
        assert Browser(site.auth).post(first).status == 200
        assert site.ada.email == OLD
        assert Browser(site.auth).post(second).status == 400  # the attacker's mailbox
        assert site.ada.email == OLD

    def test_the_second_change_can_be_undone_by_itself(self, site: Any, browser: Browser) -> None:
        first = change(site, browser, NEW)
        site.clock.advance(60)
        second = change(site, browser, NEXT)
        assert Browser(site.auth).post(second).status == 200
        assert site.ada.email == NEW
        assert Browser(site.auth).post(first).status == 200
        assert site.ada.email == OLD

    def test_a_user_who_returned_voids_the_link(self, site: Any, browser: Browser) -> None:
        first = change(site, browser, NEW)
        site.clock.advance(60)
        second = change(site, browser, OLD)
        assert Browser(site.auth).post(first).status == 400
        assert Browser(site.auth).post(second).status == 200
        assert site.ada.email == NEW

    def test_the_address_stays_reserved(self, site: Any, browser: Browser) -> None:
        undo = change(site, browser)
        bob = site.users.create("bob@example.com")
        other = site.logged_in(bob)
        site.mails()
        other.post(EMAIL, {"email": OLD})
        [mail] = site.mails()
        assert "has it already" in mail.text
        assert Browser(site.auth).post(undo).status == 200

    def test_no_newcomer_gets_it_meanwhile(self, make_site: Callable[..., Any]) -> None:
        site = make_site(asok_magic_link)
        change(site, site.logged_in())
        api = site.auth.login_methods["magic"].api
        newcomer = site.browser(locale="de")
        answer = newcomer.post("/auth/magic/callback", {"token": api.create_token(newcomer.request, OLD)})
        assert answer.status == 403
        assert "reserved" not in answer.text
        assert site.users.by_email(OLD) is None
        site.clock.advance(8 * DAY)
        newcomer.post("/auth/magic/callback", {"token": api.create_token(newcomer.request, OLD)})
        assert site.users.by_email(OLD) is not None

    def test_one_that_a_page_of_the_app_gave_away_cannot_be_restored_for_now(
        self, site: Any, browser: Browser
    ) -> None:
        undo = change(site, browser)
        other = site.users.create(OLD)
        assert Browser(site.auth).post(undo).status == 409
        assert site.ada.email == NEW
        other.email = "other@example.com"
        assert Browser(site.auth).post(undo).status == 200
        assert site.ada.email == OLD

    def test_an_account_that_is_gone_is_not_restored(self, site: Any, browser: Browser) -> None:
        undo = change(site, browser)
        del site.users._users["1"]
        assert Browser(site.auth).post(undo).status == 400

    @pytest.mark.parametrize("token", ["x", "31.x", "zz.x", "ff.x", "31.", ".x", "é.x", "31." + "a" * 5000])
    def test_garbage_is_rejected(self, site: Any, browser: Browser, token: str) -> None:
        change(site, browser)
        for method in ("GET", "POST"):
            assert Browser(site.auth).send(method, f"{EMAIL}/undo?token={token}").status == 400

    def test_an_address_that_no_mail_of_ours_reaches_has_no_link(self, make_site: Callable[..., Any]) -> None:
        site = make_site(users=MemoryUsers(FakeUser("1", "ädä@example.com")))
        browser = site.logged_in()
        browser.post(path_in(ask(site, browser)))
        assert site.ada.email == NEW
        assert site.credentials.list("1", "account_undo") == []

    def test_a_second_factor_is_not_removed_by_a_mailbox(self, make_site: Callable[..., Any]) -> None:
        from asok_auth_core.plugin import SecondFactor

        class Factor(SecondFactor):
            name, label = "word", "Word"
            is_enrolled = lambda self, user: True  # noqa: E731
            reset = lambda self, user: pytest.fail("it was removed")  # noqa: E731
            challenge = lambda self, request, user, problem=None: None  # noqa: E731
            verify = lambda self, request, user: True  # noqa: E731

        class Plugin:
            enrolled = False

            @hookimpl
            def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
                return [Factor()]

        site = make_site(Plugin())
        browser = site.browser()
        with pytest.raises(SecondFactorRequired):
            browser.log_in(site.ada)
        browser.post("/auth/second-factor", {"factor": "word"})
        undo = change(site, browser)
        assert Browser(site.auth).post(undo).status == 200
        with pytest.raises(SecondFactorRequired):
            site.browser().log_in(site.ada)


@pytest.mark.requirement("SECURITY-30")
def test_no_secret_is_stored_or_logged(site: Any, browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        mail = ask(site, browser)
        browser.post(path_in(mail))
        [told] = site.mails()
        undo_mail_path = path_in(told)
        browser.post(path_in(mail))
        Browser(site.auth).post(f"{EMAIL}/undo?token=31.x")
    stored = repr([(row.identifier, row.data) for row in site.credentials.list("1")])
    state = repr(vars(site.state))
    for secret in (
        path_in(mail).rpartition("=")[2],
        code_in(mail),
        code_in(mail).replace("-", ""),
        undo_mail_path.rpartition(".")[2],
    ):
        assert secret not in stored
        assert secret not in state
        assert secret not in caplog.text
        assert secret not in repr(site.parts.events)
    assert NEW not in caplog.text
    assert OLD not in repr(site.parts.events)


class TestRoutes(RoutesContract):
    def plugin(self) -> object:
        import asok_auth_account

        return asok_auth_account
