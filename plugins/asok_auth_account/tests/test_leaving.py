"""Users take their data with them, leave, and can come back for a while.

Then nothing of them is left.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asok_auth_account
import asok_magic_link
import asok_totp
import pyotp
import pytest
from asok.orm import MODELS_REGISTRY
from asok_auth_account.deletion import ORDER, Deletions

from asok_auth_core.plugin import (
    JSON,
    Auth,
    OutgoingMail,
    Proof,
    StoreUnavailable,
    TokenApi,
    User,
    UserDirectory,
    complete_login,
    hookimpl,
    remove_user,
)
from asok_auth_core.testing import (
    Browser,
    FakeRequest,
    FakeUser,
    MemoryUsers,
    asok_app,
    exactly_once,
    run_command,
)
from asok_auth_core.testing.races import in_threads

ADA = "ada@example.com"
DELETE, DATA = "/auth/account/delete", "/auth/account/data"
DAY = 86_400
GRACE = 14 * DAY


def path_in(mail: OutgoingMail) -> str:
    [link] = re.findall(r"https://app\.example(\S+)", mail.text)
    return str(link)


def leave(site: Any, browser: Browser | None = None) -> str:
    """Ask for the deletion; return the path that keeps the account."""
    browser = browser or site.logged_in()
    site.mails()
    answer = browser.post(DELETE)
    assert answer.status == 200, answer.text
    return path_in(site.mails()[0])


def purge(site: Any) -> list[Any]:
    return list(Deletions(site.auth).run())


class Posts:
    """A plugin of the app that keeps posts."""

    __name__ = "posts"

    def __init__(self) -> None:
        self.posts = {"1": ["a canary of a post"]}
        self.fails = False

    @hookimpl
    def asok_auth_export_user(self, user: User) -> Mapping[str, JSON]:
        return {"posts": [*self.posts.get(str(user.id), ())]}

    @hookimpl
    def asok_auth_remove_user(self, user: User) -> None:
        if self.fails:
            raise RuntimeError("no database")
        self.posts.pop(str(user.id), None)


class TestExport:
    def test_the_file_holds_what_everybody_keeps_and_no_secret(self, make_site: Callable[..., Any]) -> None:
        site = make_site(Posts())
        browser = site.logged_in(locale="fr")
        token = site.auth.api(TokenApi).create(browser.request, "1", name="ci")
        browser.post("/auth/account/email", {"email": "ada@new.example"})
        link = path_in(next(mail for mail in site.mails() if mail.to == "ada@new.example"))
        browser.post(link)
        undo = path_in(site.mails()[-1])
        answer = browser.post(DATA)
        headers = dict(answer.headers)
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert headers["Content-Disposition"] == 'attachment; filename="account.json"'
        assert headers["Cache-Control"] == "no-store"
        given = json.loads(answer.text)
        assert given["asok_auth_core"]["email"] == "ada@new.example"
        own = given["asok_auth_account"]
        assert own["language"] == "fr"
        assert len(own["known_browsers"]) == 1
        assert own["former_email_addresses"][0]["email"] == ADA
        assert own["deletion_due"] is None
        assert "a canary of a post" in answer.text
        for secret in (token, link.rpartition("=")[2], undo.rpartition(".")[2]):
            assert secret not in answer.text
        for value, _, _ in browser.request.sent_cookies.values():
            assert value not in answer.text
        assert site.events("account.exported") == [{}]

    @pytest.mark.requirement("SECURITY-24", "SECURITY-42")
    def test_it_needs_a_recent_login_and_is_limited(self, site: Any) -> None:
        browser = site.logged_in()
        assert [browser.post(DATA).status for _ in range(11)] == [200] * 10 + [429]
        site.clock.advance(601)
        for path in (DATA, DELETE):
            assert browser.get(path).status == 403
            assert browser.post(path).status == 403
            assert site.browser().post(path).status == 401

    def test_opening_the_page_exports_nothing(self, site: Any) -> None:
        assert "Download" in site.logged_in().get(DATA).text
        assert site.events("account.exported") == []


class TestAsking:
    @pytest.mark.requirement("SECURITY-37", "SECURITY-44")
    def test_all_sessions_end_and_the_user_is_told(self, site: Any) -> None:
        other, browser = site.logged_in(), site.logged_in()
        site.mails()
        assert browser.get(DELETE).status == 200
        answer = browser.post(DELETE)
        assert "2023-11-28 22:13 UTC" in answer.text
        for one in (other, browser):
            assert one.request.follow("/").user is None
        [mail] = site.mails()
        assert (mail.to, mail.subject) == (ADA, "Your account at Shop will be deleted")
        assert "2023-11-28 22:13 UTC" in mail.text
        assert "Firefox · Linux" in mail.html
        assert len(site.events("account.deletion_requested")) == 1
        assert site.users.by_id("1") is not None

    @pytest.mark.requirement("SECURITY-44")
    def test_a_former_address_is_told_too(self, site: Any) -> None:
        """It may be an attacker who changed it a moment ago."""
        browser = site.logged_in()
        browser.post("/auth/account/email", {"email": "eve@evil.example"})
        browser.post(path_in(next(mail for mail in site.mails() if mail.to == "eve@evil.example")))
        site.mails()
        browser.post(DELETE)
        mails = {mail.to: mail for mail in site.mails()}
        assert set(mails) == {"eve@evil.example", ADA}
        assert site.browser().post(path_in(mails[ADA])).status == 200
        site.clock.advance(GRACE)
        assert purge(site) == []

    def test_asking_again_does_not_delay_it(self, site: Any) -> None:
        first = Deletions(site.auth).ask(site.ada)
        site.clock.advance(DAY)
        assert Deletions(site.auth).ask(site.ada) == first
        assert len(site.mails()) == 2

    def test_it_can_be_switched_off(self, make_site: Callable[..., Any]) -> None:
        site = make_site(account={"DELETION": False})
        browser = site.logged_in()
        assert browser.get(DELETE).status == 404
        assert DELETE not in browser.get("/auth/account").text
        assert DATA in browser.get("/auth/account").text

    def test_a_directory_that_cannot_delete_has_no_page(self, make_site: Callable[..., Any]) -> None:
        class Fixed(MemoryUsers):
            remove = UserDirectory.remove

        assert make_site(users=Fixed(FakeUser("1", ADA))).logged_in().get(DELETE).status == 404

    @pytest.mark.parametrize(("locale", "said"), [("de", "wird gelöscht"), ("fr", "va être supprimé")])
    def test_the_mail_has_the_users_language(self, site: Any, locale: str, said: str) -> None:
        browser = site.logged_in(locale=locale)
        browser.post(DELETE)
        [mail] = site.mails()
        assert said in mail.subject

    def test_an_account_without_an_address_leaves_without_a_mail(self, site: Any) -> None:
        site.ada.email = None
        browser = site.logged_in()
        assert browser.post(DELETE).status == 200
        site.clock.advance(GRACE)
        assert [one.failed for one in purge(site)] == [()]
        assert site.mails() == []


class TestComingBack:
    def test_by_logging_in(self, site: Any) -> None:
        leave(site)
        site.clock.advance(GRACE - 1)
        assert site.logged_in().request.follow("/").user is site.ada
        mails = site.mails()
        assert "Your account at Shop will not be deleted" in [mail.subject for mail in mails]
        assert site.events("account.deletion_canceled") == [{"way": "login"}]
        site.clock.advance(GRACE)
        assert purge(site) == []
        assert site.users.by_id("1") is site.ada

    @pytest.mark.requirement("SECURITY-26")
    def test_by_the_link(self, site: Any) -> None:
        path = leave(site)
        for method in ("GET", "HEAD"):
            assert site.browser().get(path, method=method).status == 200
        assert site.events("account.deletion_canceled") == []
        assert site.browser().post(path).status == 200
        assert site.events("account.deletion_canceled") == [{"way": "link"}]
        site.clock.advance(GRACE)
        assert purge(site) == []
        assert site.browser().post(path).status == 400

    @pytest.mark.requirement("SECURITY-1")
    def test_a_link_counts_once(self, site: Any) -> None:
        path = leave(site)
        exactly_once(
            in_threads(lambda: ["won"] if site.browser().post(path).status == 200 else [], 8), ["won"]
        )

    def test_a_link_of_an_earlier_time_is_void(self, site: Any) -> None:
        first = leave(site)
        site.browser().post(first)
        site.mails()
        second = leave(site)
        assert site.browser().post(first).status == 400
        assert site.browser().post(second).status == 200

    def test_even_after_the_time_until_it_begins(self, site: Any) -> None:
        leave(site)
        site.clock.advance(2 * GRACE)
        site.logged_in()
        assert purge(site) == []

    @pytest.mark.requirement("SECURITY-1")
    def test_of_a_return_and_a_deletion_one_wins(self, make_site: Callable[..., Any]) -> None:
        """The user presses the button while the account is being deleted."""

        class Slow(Posts):
            path, statuses = "", []  # type: ignore[var-annotated]

            @hookimpl
            def asok_auth_remove_user(self, user: User) -> None:
                if not self.statuses:
                    self.statuses.append(site.browser().post(self.path).status)
                    with pytest.raises(Exception, match="being deleted"):
                        site.browser().log_in(site.ada)
                    with pytest.raises(Exception, match="being deleted"):
                        Deletions(site.auth).ask(site.ada)

        plugin = Slow()
        site = make_site(plugin)
        plugin.path = leave(site)
        site.clock.advance(GRACE)
        [deleted] = purge(site)
        assert deleted.failed == ()
        assert plugin.statuses == [400]
        assert site.users.by_id("1") is None

    @pytest.mark.parametrize("token", ["x", "31.x", "zz.x", "ff.x", "é.x"])
    def test_garbage_is_rejected(self, site: Any, token: str) -> None:
        leave(site)
        for method in ("GET", "POST"):
            assert site.browser().send(method, f"/auth/account/keep?token={token}").status == 400


def full_life(make_site: Callable[..., Any]) -> tuple[Any, Posts]:
    """A site whose user has some of everything, and leaves."""
    posts = Posts()
    site = make_site(
        posts,
        asok_totp,
        asok_magic_link,
        config={"DEBUG": True},
        TRUSTED_DEVICE=DAY,
        PROVIDERS={},
    )
    browser = site.logged_in(locale="de")
    page = browser.post("/auth/totp/enrol").text.replace("&amp;", "&")
    secret = re.search(r"secret=([A-Z2-7]+)", page)
    assert secret is not None
    browser.post("/auth/totp/confirm", {"code": pyotp.TOTP(secret[1]).at(int(site.clock()))})
    site.auth.api(TokenApi).create(browser.request, "1", name="canary-token")
    site.credentials.add("1", "identity", "canary-identity", {"provider": "x", "email": "canary@x.example"})
    browser.post("/auth/account/email", {"email": "canary@new.example"})
    browser.post(path_in(next(mail for mail in site.mails() if mail.to == "canary@new.example")))
    other = site.browser()
    with pytest.raises(Exception, match="second factor"):
        other.log_in(site.ada)
    site.clock.advance(60)
    code = pyotp.TOTP(secret[1]).at(int(site.clock()))
    assert other.post("/auth/second-factor", {"factor": "totp", "code": code, "trust": "1"}).status == 303
    other.post("/auth/account/email", {"email": "canary@next.example"})
    return site, posts


@pytest.mark.requirement("SECURITY-23", "SECURITY-35")
class TestNothingIsLeft:
    def test_no_row_anywhere(self, make_site: Callable[..., Any]) -> None:
        site, posts = full_life(make_site)
        kinds = {row.kind for row in site.credentials.list("1")}
        assert kinds >= {
            "session", "email", "identity", "api_token", "totp", "recovery_codes", "trusted_device",
            "account_profile", "account_browser", "account_undo", "second_factors",
        }  # fmt: skip
        assert any("account-email:of:1" in key for key in state_keys(site))
        site.mails()
        Deletions(site.auth).ask(site.ada)
        site.clock.advance(GRACE)
        [deleted] = purge(site)
        assert deleted.failed == ()
        assert site.users.by_id("1") is None
        # A counter stays, so that nothing that was issued to this id counts for the next user with it.
        assert [(row.kind, row.data) for row in site.credentials.list("1")] == [("epoch", "{}")]
        everything = repr(vars(site.credentials)["_rows"])
        for canary in ("canary", "ada@example.com", "Ada"):
            assert canary not in everything
        assert site.credentials.list("-") == []
        assert posts.posts == {}
        assert not [key for key in state_keys(site) if "account-email:of" in key or "session-ip" in key]
        assert [mail.subject for mail in site.mails("canary@new.example")][-1] == (
            "Ihr Konto bei Shop wurde gelöscht"
        )
        assert len(site.events("account.deleted")) == 1

    def test_a_later_user_with_the_same_id_inherits_nothing(self, make_site: Callable[..., Any]) -> None:
        site, _ = full_life(make_site)
        request = FakeRequest(auth=site.auth)
        token = site.auth.api(TokenApi).create(request, "1")
        keep = leave_by_order(site)
        site.clock.advance(GRACE)
        purge(site)
        later = site.users.create("later@example.com")
        assert later.id == "1"
        assert site.auth.api(TokenApi).verify(request, token) is None
        assert site.browser().post(keep).status == 400
        site.mails()
        browser = site.browser()
        browser.log_in(later)  # no second factor, no notice, English
        assert browser.request.follow("/").user is later
        assert site.mails() == []
        assert json.loads(browser.post(DATA).text)["asok_auth_account"]["language"] == "en"
        site.clock.advance(2 * GRACE)
        assert purge(site) == []
        assert site.users.by_id("1") is later

    def test_an_order_for_an_account_that_is_gone_does_not_reach_the_next_one(
        self, make_site: Callable[..., Any]
    ) -> None:
        """The app deleted the old account by a query; a new one got its id."""
        site = make_site()
        leave(site)
        site.users._users.clear()
        later = site.users.create("later@example.com")
        assert later.id == "1"
        site.clock.advance(GRACE)
        assert purge(site) == []
        assert site.users.by_id("1") is later
        assert site.credentials.list("-") == []

    def test_nor_does_one_that_was_interrupted(self, make_site: Callable[..., Any]) -> None:
        """Killed after the account was deleted and before its order was.

        The same person comes back.
        """
        site = make_site(asok_magic_link)
        leave(site)
        site.clock.advance(GRACE)
        removed: list[Any] = []
        original = site.users.remove

        def killed(user: User) -> None:
            original(user)
            removed.append(user)
            raise KeyboardInterrupt

        site.users.remove = killed
        with pytest.raises(KeyboardInterrupt):
            purge(site)
        assert len(site.credentials.list("-")) == 1
        browser = site.browser()
        token = site.auth.login_methods["magic"].api.create_token(browser.request, ADA)
        assert browser.post("/auth/magic/callback", {"token": token}).status == 303
        site.clock.advance(GRACE)
        assert purge(site) == []
        assert site.users.by_id("1").email == ADA

    def test_an_app_that_deletes_the_account_itself_ends_the_order(self, site: Any) -> None:
        leave(site)
        remove_user(site.auth, site.ada)
        assert site.credentials.list("-") == []


def leave_by_order(site: Any) -> str:
    site.mails()
    Deletions(site.auth).ask(site.ada)
    return path_in(site.mails()[0])


def state_keys(site: Any) -> list[str]:
    """The keys of all entries in the state store that have not expired."""
    now = site.clock()
    entries = vars(site.state)["_entries"]
    return [str(key) for key, entry in entries.items() if entry[1] > now]


class TestPurge:
    def test_before_its_time_nothing_is_deleted(self, site: Any) -> None:
        leave(site)
        site.clock.advance(GRACE - 1)
        assert purge(site) == []
        assert Deletions(site.auth).waiting() == 1
        site.clock.advance(1)
        assert [one.user_id for one in purge(site)] == ["1"]

    def test_what_cannot_be_removed_is_tried_again(self, make_site: Callable[..., Any]) -> None:
        posts = Posts()
        site = make_site(posts)
        leave(site)
        site.clock.advance(GRACE)
        posts.fails = True
        [deleted] = purge(site)
        assert deleted.failed == ("posts",)
        assert site.users.by_id("1") is not None
        with pytest.raises(Exception, match="being deleted"):
            site.browser().log_in(site.ada)
        posts.fails = False
        assert [one.failed for one in purge(site)] == [()]
        assert site.users.by_id("1") is None
        assert site.credentials.list("-") == []

    @pytest.mark.requirement("SECURITY-32")
    def test_a_database_that_fails_is_tried_again(self, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        leave(site)
        site.clock.advance(GRACE)

        def fail(user: User) -> None:
            raise StoreUnavailable("User could not be deleted (IntegrityError).")

        with monkeypatch.context() as patch:
            patch.setattr(site.users, "remove", fail)
            [deleted] = purge(site)
            assert "IntegrityError" in deleted.failed[0]
        assert [one.failed for one in purge(site)] == [()]

    @pytest.mark.requirement("SECURITY-1")
    def test_several_processes_delete_an_account_once(self, site: Any) -> None:
        leave(site)
        site.clock.advance(GRACE)
        in_threads(lambda: [one.user_id for one in purge(site)], 4)
        assert site.users.by_id("1") is None
        assert len(site.events("account.deleted")) == 1
        assert [mail.subject for mail in site.mails()].count("Your account at Shop was deleted") == 1

    def test_one_that_was_kept_and_not_cleared_away_is(self, site: Any) -> None:
        """Killed between the two steps of coming back."""
        leave(site)
        [row] = site.credentials.list("-", ORDER)
        data = json.loads(row.data) | {"state": "kept"}
        site.credentials.replace(row, data)
        assert purge(site) == []
        assert site.credentials.list("-") == []
        assert site.users.by_id("1") is site.ada

    def test_doctor_says_if_nobody_purges(self, site: Any) -> None:
        leave(site)
        site.clock.advance(GRACE + DAY - 1)
        assert [one for one in site.auth.plugins.checks(site.auth) if one.check == "account"] == []
        site.clock.advance(1)
        [finding] = [one for one in site.auth.plugins.checks(site.auth) if one.check == "account"]
        assert finding.severity == "error"
        assert "purge" in finding.remedy


class TestInAsok:
    MODELS = {
        "user.py": """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    name = Field.String(nullable=True)
    gone = Field.SoftDelete()
"""
    }

    def test_an_account_that_the_app_hid_is_deleted_too(self, tmp_path: Path) -> None:
        """Or the user is told that nothing is left, and everything is."""
        environ = {"APP_URL": "https://app.example"}
        with asok_app(tmp_path, models=self.MODELS, environ=environ) as app:
            auth: Auth = app.extensions["AuthExtension"].auth
            model = MODELS_REGISTRY["User"]
            user = model.create(email="canary@example.org", name="Canary")
            auth.credentials.add(str(user.id), "identity", "canary", {"email": "canary@x.example"})
            Deletions(auth).ask(user)
            user.delete()
            assert auth.users.by_id(str(user.id)) is None
            auth.clock = lambda: 4e9
            assert run_command(app, "account", "purge").code == 0
            assert model.query(with_trashed=True).where("id", user.id).first() is None
            assert {row.kind for row in auth.credentials.list(str(user.id))} <= {"epoch"}

    def dump(self, root: Path) -> str:
        with sqlite3.connect(root / "db.sqlite3") as connection:
            found = "\n".join(connection.iterdump())
        connection.close()
        return found

    @pytest.mark.requirement("SECURITY-23")
    def test_commands_export_and_delete_and_nothing_is_left(self, tmp_path: Path) -> None:
        environ = {"APP_URL": "https://app.example"}
        with asok_app(tmp_path, models=self.MODELS, environ=environ) as app:
            auth: Auth = app.extensions["AuthExtension"].auth
            user = MODELS_REGISTRY["User"].create(email="canary@example.org", name="Canary Ada")
            complete_login(auth, FakeRequest(auth=auth), user, Proof("magic", "canary@example.org"))
            exported = json.loads(run_command(app, "account", "export", "canary@example.org").output)
            assert exported["asok_auth_core"]["verified_emails"] == ["canary@example.org"]
            answer = run_command(app, "account", "delete", str(user.id))
            assert answer.code == 0
            assert re.match(rf"User {user.id} will be deleted by the first .* after \d{{4}}-", answer.output)
            assert run_command(app, "account", "purge", "--dry-run").output == "Due: 0. Waiting: 1.\n"
            auth.clock = lambda: 4e9
            assert "canary" in self.dump(tmp_path).lower()
            assert run_command(app, "account", "purge", "--dry-run").output == "Due: 1. Waiting: 0.\n"
            assert run_command(app, "account", "purge").output == "Deleted: 1. Waiting: 0.\n"
            assert "canary" not in self.dump(tmp_path).lower()
            assert run_command(app, "account", "purge").output == "Deleted: 0. Waiting: 0.\n"
            again = MODELS_REGISTRY["User"].create(email="later@example.org")
            assert {row.kind for row in auth.credentials.list(str(again.id))} <= {"epoch"}

    def test_a_failure_is_said_and_the_status_is_1(self, tmp_path: Path) -> None:
        posts = Posts()
        posts.fails = True
        with asok_app(tmp_path, models=self.MODELS, plugins=[posts]) as app:
            auth: Auth = app.extensions["AuthExtension"].auth
            user = MODELS_REGISTRY["User"].create(email="ada@example.org")
            Deletions(auth).ask(user)
            auth.clock = lambda: 4e9
            answer = run_command(app, "account", "purge")
            assert answer.code == 1
            assert f"User {user.id} is not deleted yet: posts" in answer.errors


def test_the_section_of_the_account_page_links_to_all(site: Any) -> None:
    text = site.logged_in().get("/auth/account").text
    assert all(f'href="{path}"' in text for path in ("/auth/account/email", DATA, DELETE))
    assert asok_auth_account.asok_auth_plugin.required
