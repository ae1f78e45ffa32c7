"""A user who lost mailbox and factor gets the account back unless it is stopped."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import asok_auth_account
import asok_totp
import pyotp
import pytest
from asok.orm import MODELS_REGISTRY
from asok_auth_account.emails import former_addresses
from asok_auth_account.recovery import RECOVERY, Recoveries

from asok_auth_core.plugin import (
    AccountExists,
    Auth,
    ConfigurationError,
    EmailInvalid,
    OutgoingMail,
    TokenApi,
    UserDirectory,
)
from asok_auth_core.testing import FakeUser, MemoryUsers, asok_app, exactly_once, run_command
from asok_auth_core.testing.races import in_threads

ADA, NEW = "ada@example.com", "ada@new.example"
DAY = 86_400
DELAY = 3 * DAY


def path_in(mail: OutgoingMail) -> str:
    [link] = re.findall(r"https://app\.example(\S+)", mail.text)
    return str(link)


def enroll_totp(site: Any) -> Any:
    """A browser of ada, who has an authenticator app now."""
    browser = site.logged_in()
    page = browser.post("/auth/totp/enrol").text.replace("&amp;", "&")
    secret = re.search(r"secret=([A-Z2-7]+)", page)
    assert secret is not None
    code = pyotp.TOTP(secret[1]).at(int(site.clock()))
    assert browser.post("/auth/totp/confirm", {"code": code}).status in (200, 303)
    return browser


def begin(site: Any) -> tuple[str, str]:
    """Start a recovery; return the path that completes it, and the one that stops it."""
    site.mails()
    Recoveries(site.auth).start(site.ada, NEW)
    mails = {mail.to: mail for mail in site.mails()}
    assert set(mails) == {ADA, NEW}
    return path_in(mails[NEW]), path_in(mails[ADA])


@pytest.fixture
def full(make_site: Callable[..., Any]) -> Any:
    """A site whose user has a second factor, an identity and a token."""
    site = make_site(asok_totp)
    browser = enroll_totp(site)
    site.auth.api(TokenApi).create(browser.request, "1", name="ci")
    site.credentials.add("1", "identity", "google:1", {"provider": "google", "email": ADA})
    return site


class TestStarting:
    @pytest.mark.requirement("SECURITY-44")
    def test_all_addresses_are_told_and_all_sessions_end(self, site: Any) -> None:
        browser = site.logged_in()
        browser.post("/auth/account/email", {"email": "second@example.org"})
        browser.post(path_in(next(mail for mail in site.mails() if mail.to == "second@example.org")))
        site.mails()
        found, _ = Recoveries(site.auth).start(site.ada, f" {NEW.upper()} ")
        mails = {mail.to: mail for mail in site.mails()}
        assert set(mails) == {ADA, "second@example.org", NEW}
        for old in (ADA, "second@example.org"):
            assert "wants to recover your account" in mails[old].subject
            assert "/stop?" in path_in(mails[old])
        assert "/stop?" not in path_in(mails[NEW])
        assert (found.email, found.due) == (NEW, site.clock() + DELAY)
        assert browser.request.follow("/").user is None
        assert site.events("account.recovery_started") == [{"due": found.due}]

    @pytest.mark.requirement("SECURITY-30")
    def test_no_link_is_stored(self, site: Any) -> None:
        links = begin(site)
        row = site.credentials.find(RECOVERY, "1")
        for link in links:
            assert link.rpartition(".")[2] not in row.data

    def test_an_address_in_use_is_rejected(self, make_site: Callable[..., Any]) -> None:
        site = make_site(users=MemoryUsers(FakeUser("1", ADA), FakeUser("2", "bob@example.com")))
        for text, error in (("bob@example.com", AccountExists), ("nonsense", EmailInvalid)):
            with pytest.raises(error):
                Recoveries(site.auth).start(site.ada, text)
        assert site.mails() == []
        assert site.credentials.find(RECOVERY, "1") is None

    def test_an_address_that_another_account_can_have_back_is_rejected(
        self, make_site: Callable[..., Any]
    ) -> None:
        site = make_site(users=MemoryUsers(FakeUser("1", ADA), FakeUser("2", "bob@example.com")))
        bob = site.logged_in(site.users.by_id("2"))
        bob.post("/auth/account/email", {"email": "bob@new.example"})
        bob.post(path_in(next(mail for mail in site.mails() if mail.to == "bob@new.example")))
        with pytest.raises(AccountExists):
            Recoveries(site.auth).start(site.ada, "bob@example.com")

    def test_it_needs_app_url(self, make_site: Callable[..., Any]) -> None:
        site = make_site(config={"APP_URL": "", "DEBUG": True})
        with pytest.raises(ConfigurationError, match="APP_URL"):
            Recoveries(site.auth).start(site.ada, NEW)

    def test_a_directory_that_cannot_change_addresses_has_no_pages(
        self, make_site: Callable[..., Any]
    ) -> None:
        class Fixed(MemoryUsers):
            set_email = UserDirectory.set_email

        site = make_site(users=Fixed(FakeUser("1", ADA)))
        assert site.browser().get("/auth/account/recover?token=31.x").status == 404

    @pytest.mark.parametrize(("locale", "said"), [("de", "wiederherstellen"), ("fr", "récupérer")])
    def test_the_mails_have_the_users_language(self, site: Any, locale: str, said: str) -> None:
        site.logged_in(locale=locale)
        site.mails()
        Recoveries(site.auth).start(site.ada, NEW)
        assert said in next(mail for mail in site.mails() if mail.to == ADA).subject


class TestStopping:
    @pytest.mark.requirement("SECURITY-26")
    def test_by_the_link(self, full: Any) -> None:
        complete, stop = begin(full)
        for method in ("GET", "HEAD"):
            assert full.browser().get(stop, method=method).status == 200
        assert full.events("account.recovery_stopped") == []
        assert full.browser().post(stop).status == 200
        assert full.events("account.recovery_stopped") == [{"way": "link"}]
        assert {mail.to for mail in full.mails()} == {ADA, NEW}
        full.clock.advance(DELAY)
        for path in (complete, stop):
            for method in ("GET", "POST"):
                assert full.browser().send(method, path).status == 400
        assert full.auth.users.email_of(full.ada) == ADA

    def test_the_new_address_does_not_learn_from_where(self, site: Any) -> None:
        _, stop = begin(site)
        site.browser(ip="198.51.100.7").post(stop)
        for mail in site.mails():
            assert "198.51.100.7" not in mail.text
            assert "Firefox" not in mail.text

    def test_by_logging_in(self, site: Any) -> None:
        complete, _ = begin(site)
        site.logged_in()
        assert site.events("account.recovery_stopped") == [{"way": "login"}]
        site.clock.advance(DELAY)
        assert site.browser().post(complete).status == 400

    def test_by_another_change_of_the_address(self, site: Any) -> None:
        complete, _ = begin(site)
        site.ada.email = "other@example.com"
        site.clock.advance(DELAY)
        assert site.browser().post(complete).status == 400

    def test_by_a_newer_recovery(self, site: Any) -> None:
        complete, stop = begin(site)
        begin(site)
        site.clock.advance(DELAY)
        for path in (complete, stop):
            assert site.browser().post(path).status == 400

    def test_one_link_does_not_do_what_the_other_does(self, site: Any) -> None:
        complete, stop = begin(site)
        site.clock.advance(DELAY)
        token, other = complete.rpartition("=")[2], stop.rpartition("=")[2]
        assert site.browser().post(f"/auth/account/recover?token={other}").status == 400
        assert site.browser().post(f"/auth/account/recover/stop?token={token}").status == 400
        assert site.browser().post(complete).status == 200

    @pytest.mark.parametrize("token", ["x", "31.x", "zz.x", "ff.x", "é.x", "32."])
    def test_garbage_is_rejected(self, site: Any, token: str) -> None:
        begin(site)
        for method in ("GET", "POST"):
            for path in ("recover", "recover/stop"):
                assert site.browser().send(method, f"/auth/account/{path}?token={token}").status == 400


class TestCompleting:
    @pytest.mark.requirement("SECURITY-26")
    def test_not_before_its_time(self, full: Any) -> None:
        complete, _ = begin(full)
        full.clock.advance(DELAY - 1)
        page = full.browser().get(complete)
        assert (page.status, "<form" in page.text) == (200, False)
        assert full.browser().post(complete).status == 403
        assert full.auth.users.email_of(full.ada) == ADA
        full.clock.advance(1)
        assert "<form" in full.browser().get(complete).text
        assert full.events("account.recovered") == []
        assert full.browser().post(complete).status == 200

    @pytest.mark.requirement("SECURITY-19", "SECURITY-44")
    def test_a_finder_of_the_old_things_gets_in_with_none_of_them(self, full: Any) -> None:
        browser = full.browser()
        complete, _ = begin(full)
        full.clock.advance(DELAY)
        answer = browser.post(complete)
        assert answer.status == 200
        assert browser.request.follow("/").user is None, "the link logs nobody in"
        assert full.auth.users.email_of(full.ada) == NEW
        assert not full.auth.second_factors["totp"].is_enrolled(full.ada)
        kinds = {row.kind for row in full.credentials.list("1")}
        assert kinds.isdisjoint({"identity", "api_token", "recovery_codes", "totp", "account_undo", RECOVERY})
        [told] = full.mails(ADA)
        assert "another email address" in told.subject
        assert "https://" not in told.text, "nothing can be undone by the old mailbox"
        assert len(full.events("account.recovered")) == 1
        full.logged_in()
        assert full.events("account.voided") == []

    def test_no_earlier_change_can_be_undone_afterwards(self, site: Any) -> None:
        browser = site.logged_in()
        browser.post("/auth/account/email", {"email": "second@example.org"})
        browser.post(path_in(next(mail for mail in site.mails() if mail.to == "second@example.org")))
        undo = path_in(site.mails(ADA)[-1])
        assert former_addresses(site.auth, "1") == [ADA]
        Recoveries(site.auth).start(site.ada, NEW)
        complete = path_in(site.mails(NEW)[0])
        site.clock.advance(DELAY)
        assert site.browser().post(complete).status == 200
        assert site.browser().post(undo).status == 400
        assert site.auth.users.email_of(site.ada) == NEW

    @pytest.mark.requirement("SECURITY-1")
    def test_once(self, site: Any) -> None:
        complete, _ = begin(site)
        site.clock.advance(DELAY)
        exactly_once(
            in_threads(lambda: ["won"] if site.browser().post(complete).status == 200 else [], 8), ["won"]
        )
        assert site.browser().post(complete).status == 400

    @pytest.mark.requirement("SECURITY-1")
    def test_of_stopping_and_completing_one_wins(self, site: Any) -> None:
        for _ in range(20):
            site.ada.email = ADA
            complete, stop = begin(site)
            site.clock.advance(DELAY)
            ready = threading.Barrier(2)

            def press(path: str, ready: threading.Barrier = ready) -> list[str]:
                ready.wait(60)
                return [path] if site.browser().post(path).status == 200 else []

            paths = iter((complete, stop))
            lock = threading.Lock()

            def one_of_them(
                paths: Any = paths, lock: threading.Lock = lock, press: Callable[..., list[str]] = press
            ) -> list[str]:
                with lock:
                    path = next(paths)
                return press(path)

            [won] = [path for found in in_threads(one_of_them, 2) for path in found]
            assert site.auth.users.email_of(site.ada) == (NEW if won == complete else ADA)
            assert site.credentials.find(RECOVERY, "1") is None

    def test_an_address_that_was_taken_meanwhile(self, make_site: Callable[..., Any]) -> None:
        site = make_site(users=MemoryUsers(FakeUser("1", ADA), FakeUser("2", "bob@example.com")))
        complete, _ = begin(site)
        site.clock.advance(DELAY)
        bob = site.users.by_id("2")
        bob.email = NEW
        assert site.browser().post(complete).status == 409
        assert site.auth.users.email_of(site.ada) == ADA
        bob.email = "bob@example.com"
        assert site.browser().post(complete).status == 200

    def test_one_that_was_interrupted_goes_on(self, full: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        complete, stop = begin(full)
        full.clock.advance(DELAY)
        broken = RuntimeError("the process ends here")

        def fail(*_: object) -> None:
            raise broken

        with monkeypatch.context() as patch:
            patch.setattr("asok_auth_account.recovery.reset_factors", fail)
            with pytest.raises(RuntimeError, match="ends here"):
                Recoveries(full.auth).complete(full.browser().request, complete.rpartition("=")[2])
        assert full.auth.users.email_of(full.ada) == NEW
        assert full.browser().post(stop).status == 400
        full.clock.advance(300)
        assert full.browser().post(complete).status == 200
        assert not full.auth.second_factors["totp"].is_enrolled(full.ada)

    def test_not_for_ever(self, site: Any) -> None:
        complete, _ = begin(site)
        site.clock.advance(DELAY + 7 * DAY)
        assert site.browser().post(complete).status == 400


def test_the_export_tells_of_it(site: Any) -> None:
    begin(site)
    [found] = [
        given["recovery"]
        for given in [asok_auth_account.asok_auth_export_user(site.auth, site.ada)]
        if "recovery" in given
    ]
    assert found == {"email": NEW, "due": site.clock() + DELAY}


def test_the_commands(tmp_path: Any) -> None:
    models = {
        "user.py": """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
"""
    }
    with asok_app(tmp_path, models=models, environ={"APP_URL": "https://app.example"}) as app:
        auth: Auth = app.extensions["AuthExtension"].auth
        user = MODELS_REGISTRY["User"].create(email=ADA)
        answer = run_command(app, "account", "recover", ADA, NEW)
        assert answer.code == 0, answer.errors
        assert f"to {NEW} recovers user {user.id} after 20" in answer.output
        assert auth.credentials.find(RECOVERY, str(user.id)) is not None
        assert run_command(app, "account", "stop-recovery", str(user.id)).code == 0
        assert auth.credentials.find(RECOVERY, str(user.id)) is None
        answer = run_command(app, "account", "stop-recovery", str(user.id))
        assert answer.code != 0
        assert "There is no recovery" in answer.errors
