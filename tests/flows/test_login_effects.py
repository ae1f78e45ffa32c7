"""A login has no lasting effect until it is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import ENROL, Browser, World, target
from msgspec.structs import replace

from asok_auth_core.errors import LoginRejected, StoreUnavailable
from asok_auth_core.flows.accounts import open_account
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.sessions import end_sessions, sessions_of
from asok_auth_core.flows.trusted_devices import trust_device
from asok_auth_core.flows.verified_emails import is_email_verified, mark_email_verified
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import error_code
from asok_auth_core.testing.races import in_threads
from asok_auth_core.types import Newcomer, Proof

EMAIL = "ada@example.com"
LogIn = Callable[[Browser], object]


def by_mail(browser: Browser) -> object:
    return browser.log_in_by_mail(EMAIL)


def at_provider(browser: Browser) -> object:
    return browser.log_in_at_provider()


WAYS = pytest.mark.parametrize("log_in", [by_mail, at_provider])


def ada() -> FakeUser:
    return FakeUser("1", EMAIL)


class TestNothingBefore:
    """What a login that does not complete leaves behind: nothing."""

    @WAYS
    @pytest.mark.requirement("SECURITY-36")
    def test_a_rejected_newcomer_gets_no_account(self, tmp_path: Path, log_in: LogIn) -> None:
        world = World(tmp_path)
        world.part.closed = True
        log_in(Browser(world))
        assert world.users.by_email(EMAIL) is None
        assert "account.created" not in world.names
        assert world.names.count("login.rejected") == 1

    @WAYS
    @pytest.mark.requirement("SECURITY-36")
    def test_a_missing_second_factor_leaves_the_tables_as_they_were(
        self, tmp_path: Path, log_in: LogIn
    ) -> None:
        world = World(tmp_path, MemoryUsers(ada()))
        world.word.users.add("1")
        browser = Browser(world)
        log_in(browser)
        browser.give_word("trout")
        assert world.kinds("1") == []
        assert browser.user_id is None

    @WAYS
    @pytest.mark.requirement("SECURITY-36")
    def test_a_disabled_user_leaves_the_tables_as_they_were(self, tmp_path: Path, log_in: LogIn) -> None:
        world = World(tmp_path, MemoryUsers(FakeUser("1", EMAIL, is_active=False)))
        log_in(Browser(world))
        assert world.kinds("1") == []

    @pytest.mark.requirement("SECURITY-36")
    def test_a_rejected_login_does_not_note_the_use_of_an_identity(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        Browser(world).log_in_at_provider()
        [before] = world.credentials.list("1", "identity")
        world.part.closed = True
        world.clock.advance(60)
        Browser(world).log_in_at_provider()
        assert world.credentials.list("1", "identity") == [before]

    @pytest.mark.requirement("SECURITY-36")
    def test_a_policy_that_rejects_between_the_factors_leaves_nothing(self, tmp_path: Path) -> None:
        world = World(tmp_path, MemoryUsers(ada()))
        world.word.users.add("1")
        browser = Browser(world)
        browser.log_in_at_provider()
        world.part.closed = True
        browser.give_word()
        assert set(world.kinds("1")) <= {"second_factors"}
        assert browser.user_id is None

    @WAYS
    @pytest.mark.requirement("SECURITY-36")
    def test_a_newcomer_who_must_enrol_has_a_bare_account_until_then(
        self, tmp_path: Path, log_in: LogIn
    ) -> None:
        world = World(tmp_path, settings={"REQUIRE_2FA": True})
        browser = Browser(world)
        log_in(browser)
        user = world.users.by_email(EMAIL)
        assert user is not None
        assert world.kinds(str(user.id)) == []
        assert target(browser.post(ENROL)) == "/"
        assert {"email", "session"} <= set(world.kinds(str(user.id)))
        assert browser.user_id == str(user.id)
        assert "account.voided" not in world.names, "this login created the account"

    @pytest.mark.requirement("SECURITY-14", "SECURITY-36")
    def test_an_email_that_changed_between_the_factors_links_no_identity(self, tmp_path: Path) -> None:
        """The provider verified the old one; the account may have another owner by now."""
        user = ada()
        world = World(tmp_path, MemoryUsers(user))
        world.word.users.add("1")
        browser = Browser(world)
        assert target(browser.log_in_at_provider()) == "/auth/second-factor"
        user.email = "grace@example.com"
        assert error_code(browser.give_word()) == "oauth_link_required"
        assert browser.user_id is None
        assert {"identity", "session"}.isdisjoint(world.kinds("1"))

    @pytest.mark.requirement("SECURITY-36")
    def test_an_identity_that_cannot_be_linked_leaves_nothing(self, tmp_path: Path) -> None:
        """Another account took it while the second factor was asked for."""
        world = World(tmp_path, MemoryUsers(ada(), FakeUser("2", "bob@example.com")))
        world.word.users.add("1")
        browser = Browser(world)
        browser.log_in_at_provider()
        other = world.app.logged_in(world.users.by_id("2"))
        other, url = world.app.start(other, action="link")
        world.app.finish(other, world.app.fake.authorize(url))
        assert error_code(browser.give_word()) == "oauth_identity_taken"
        assert set(world.kinds("1")) <= {"second_factors"}
        assert browser.user_id is None


class TestOneAccount:
    """First logins of one email address, all at once."""

    @pytest.mark.requirement("SECURITY-36")
    def test_a_clash_means_that_another_login_created_it(self, tmp_path: Path) -> None:
        world = World(tmp_path, MemoryUsers(ada()))
        user, is_new = open_account(world.auth, FakeRequest(), Newcomer(EMAIL), Proof("magic", EMAIL))
        assert (user.id, is_new) == ("1", False)

    def test_an_account_that_the_directory_hides_is_no_internal_error(self, tmp_path: Path) -> None:
        """A deleted account may keep its email address, and two may differ only in case."""

        class Hiding(MemoryUsers):
            def by_email(self, email: str) -> FakeUser | None:
                return None

        world = World(tmp_path, Hiding(ada()))
        response = Browser(world).log_in_by_mail(EMAIL)
        assert error_code(response) == "login_rejected"
        assert "you cannot log in to it" in response.body

    @pytest.mark.requirement("SECURITY-36")
    def test_a_login_that_finds_another_ones_account_is_admitted_again(self, tmp_path: Path) -> None:
        """The account is disabled: a newcomer's admission says nothing about it."""
        world = World(tmp_path, MemoryUsers(FakeUser("1", EMAIL, is_active=False)))
        with pytest.raises(LoginRejected, match="disabled"):
            complete_login(world.auth, FakeRequest(), Newcomer(EMAIL), Proof("magic", EMAIL))

    @pytest.mark.requirement("SECURITY-35", "SECURITY-36")
    def test_of_two_logins_that_void_the_account_at_once_one_wins(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The slower one would end the faster one's session."""
        world = World(tmp_path, MemoryUsers(ada()))
        slow, fast = Browser(world), Browser(world)
        add = world.credentials.add

        def overtaken(user_id: str, kind: str, *rest: object) -> object:
            if kind == "epoch":
                monkeypatch.setattr(world.credentials, "add", add)
                assert target(fast.log_in_by_mail(EMAIL)) == "/"
            return add(user_id, kind, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(world.credentials, "add", overtaken)
        assert error_code(slow.log_in_by_mail(EMAIL)) == "login_expired"
        assert (slow.user_id, fast.user_id) == (None, "1")
        assert len(world.events("account.voided")) == 1

    @pytest.mark.requirement("SECURITY-36")
    def test_eight_first_logins_at_once_make_one_account(self, tmp_path: Path) -> None:
        first = World(tmp_path)
        workers = [first, *(World(tmp_path, same_as=first) for _ in range(7))]
        fresh = iter([(world, world.token(EMAIL), index % 2) for index, world in enumerate(workers)])
        statuses: list[int] = []

        def once() -> list[int]:
            world, token, link = next(fresh)
            browser = Browser(world)
            if link:
                browser.open(token)
                return [browser.press(token).status]
            return [browser.log_in_at_provider().status]

        for part in in_threads(once, 8):
            statuses += part
        assert len(first.users) == 1  # type: ignore[arg-type]
        assert max(statuses) < 500, statuses
        assert 303 in statuses
        assert len(first.credentials.list("1", "identity")) <= 1
        assert len(first.credentials.list("1", "email")) == 1


class TestSharedBrowser:
    """A second user in the browser of a first one."""

    def start(self, tmp_path: Path) -> tuple[World, Browser]:
        world = World(
            tmp_path, MemoryUsers(FakeUser("1", "ann@example.org"), FakeUser("2", "ben@example.org"))
        )
        browser = Browser(world)
        browser.log_in_by_mail("ann@example.org")
        assert browser.user_id == "1"
        return world, browser

    @pytest.mark.requirement("SECURITY-19")
    def test_who_must_enrol_enrols_on_their_own_account(self, tmp_path: Path) -> None:
        world, browser = self.start(tmp_path)
        browser.post(ENROL)
        world.auth.settings = replace(world.auth.settings, require_2fa=True)
        browser.log_in_by_mail("ben@example.org")
        assert browser.user_id == "1", "Ann is still logged in"
        assert target(browser.post(ENROL)) == "/"
        assert world.word.users == {"1", "2"}
        assert browser.user_id == "2"

    @pytest.mark.requirement("SECURITY-19")
    def test_who_has_a_factor_must_give_it_first(self, tmp_path: Path) -> None:
        world, browser = self.start(tmp_path)
        world.word.users.add("2")
        browser.log_in_by_mail("ben@example.org")
        assert target(browser.post(ENROL)) == "/auth/second-factor"
        assert world.word.users == {"2"}

    def test_a_completed_login_voids_the_one_that_this_browser_left(self, tmp_path: Path) -> None:
        """Otherwise the factor that Ann sets up now would be Ben's."""
        world, browser = self.start(tmp_path)
        world.word.users.add("2")
        browser.log_in_by_mail("ben@example.org")
        browser.log_in_by_mail("ann@example.org")
        assert target(browser.post(ENROL)) == "/auth/account"
        assert world.word.users == {"1", "2"}
        assert browser.user_id == "1"


class TestAFailingStore:
    @pytest.mark.parametrize("kind", ["email", "identity", "session"])
    @pytest.mark.requirement("SECURITY-32", "SECURITY-36")
    def test_no_session_without_everything_else(
        self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, MemoryUsers(ada()))
        add = world.credentials.add

        def failing(user_id: str, row_kind: str, *rest: object) -> object:
            if row_kind == kind:
                raise StoreUnavailable("The database does not answer.")
            return add(user_id, row_kind, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(world.credentials, "add", failing)
        browser = Browser(world)
        assert browser.log_in_at_provider().status == 503
        assert browser.user_id is None
        assert "session" not in world.kinds("1")
        assert "login.succeeded" not in world.names
        monkeypatch.undo()
        assert target(browser.log_in_at_provider()) == "/"
        assert world.kinds("1") == ["email", "identity", "session"]

    @pytest.mark.requirement("SECURITY-37")
    def test_a_login_that_logging_out_everywhere_overtakes_leaves_no_session(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, MemoryUsers(ada()))
        mark_email_verified(world.auth, ada(), EMAIL)
        add = world.credentials.add

        def overtaken(user_id: str, kind: str, *rest: object) -> object:
            if kind == "session":
                monkeypatch.undo()
                end_sessions(world.auth, ada())
            return add(user_id, kind, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(world.credentials, "add", overtaken)
        browser = Browser(world)
        assert error_code(browser.log_in_by_mail(EMAIL)) == "login_expired"
        assert sessions_of(world.auth, ada()) == []
        assert "login.succeeded" not in world.names


def test_a_trusted_browser_is_no_second_factor_for_a_new_email(tmp_path: Path) -> None:
    """The trust is among what the login would void."""
    world = World(tmp_path, MemoryUsers(ada()), settings={"TRUSTED_DEVICE": 3600})
    world.word.users.add("1")
    mark_email_verified(world.auth, ada(), EMAIL)
    browser = Browser(world)
    trust_device(world.auth, browser.at, ada())
    assert target(browser.log_in_by_mail(EMAIL)) == "/"
    user = world.users.by_id("1")
    assert isinstance(user, FakeUser)
    user.email = "new@example.com"
    browser.post("/auth/logout")
    assert target(browser.log_in_by_mail("new@example.com")) == "/auth/second-factor"
    assert not is_email_verified(world.auth, user, "new@example.com")
