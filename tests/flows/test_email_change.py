"""An account's email address is changed and restored, and voids nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok_auth_tests.pipeline import Browser, World

from asok_auth_core.errors import AccountExists, StoreUnavailable
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.email_change import change_email, restore_email
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.flows.verified_emails import is_email_verified, mark_email_verified
from asok_auth_core.testing.fakes import FakeUser, MemoryUsers
from asok_auth_core.types import User

OLD, NEW = "ada@example.com", "ada@new.example"


def lived_in(root: Path, users: MemoryUsers | None = None) -> tuple[World, Browser, FakeUser]:
    """A world whose user has two sessions, a linked identity and an API token."""
    world = World(root, users)
    Browser(world).log_in_at_provider()
    browser = Browser(world)
    browser.log_in_by_mail(OLD)
    user = world.users.by_id("1")
    assert isinstance(user, FakeUser)
    ApiTokens(world.auth).create("1", name="ci")
    return world, browser, user


def session_id(browser: Browser) -> str:
    record = browser.at.follow("/").session_record
    assert record is not None
    return record.id


@pytest.mark.requirement("SECURITY-35")
def test_a_changed_address_is_verified_and_the_next_login_voids_nothing(tmp_path: Path) -> None:
    world, _, user = lived_in(tmp_path)
    change_email(world.auth, user, NEW)
    assert user.email == NEW
    assert is_email_verified(world.auth, user, NEW)
    assert not is_email_verified(world.auth, user, OLD)
    again = Browser(world)
    again.log_in_by_mail(NEW)
    assert again.user_id == "1"
    assert world.events("account.voided") == []
    assert {"identity", "api_token"} <= set(world.kinds("1"))
    assert [event.user_id for event in world.events("email.changed")] == ["1"]


@pytest.mark.requirement("SECURITY-37")
def test_other_sessions_links_and_half_logins_end(tmp_path: Path) -> None:
    world, browser, user = lived_in(tmp_path)
    link = world.token(OLD)
    world.word.users.add("1")
    half = Browser(world)
    half.log_in_by_mail(OLD)
    change_email(world.auth, user, NEW, keep=session_id(browser))
    assert [record.id for record in sessions_of(world.auth, user)] == [session_id(browser)]
    assert Browser(world).open(link).status == 400
    half.give_word()
    assert half.user_id is None


@pytest.mark.requirement("SECURITY-15")
def test_an_address_of_another_account_changes_nothing(tmp_path: Path) -> None:
    world, browser, user = lived_in(tmp_path)
    other = world.users.create(NEW)
    mark_email_verified(world.auth, other, NEW)
    with pytest.raises(AccountExists):
        change_email(world.auth, user, NEW)
    assert user.email == OLD
    assert is_email_verified(world.auth, user, OLD)
    assert is_email_verified(world.auth, other, NEW)
    assert browser.user_id == "1"


class Late(MemoryUsers):
    """Another account gets the address at the last moment; or the database fails."""

    world: World
    verified = False
    error: Exception | None = None

    def set_email(self, user: User, email: str) -> None:
        if self.error is not None:
            raise self.error
        other = self.create(email)
        if self.verified:
            mark_email_verified(self.world.auth, other, email)
        super().set_email(user, email)


@pytest.mark.parametrize("verified", [False, True])
def test_nor_does_one_that_another_account_gets_meanwhile(tmp_path: Path, verified: bool) -> None:
    users = Late()
    world, _, user = lived_in(tmp_path, users)
    users.world, users.verified = world, verified
    with pytest.raises(AccountExists):
        change_email(world.auth, user, NEW)
    assert not is_email_verified(world.auth, user, NEW)
    assert is_email_verified(world.auth, user, OLD)
    other = world.users.by_email(NEW)
    assert other is not None
    assert is_email_verified(world.auth, other, NEW) is verified


@pytest.mark.requirement("SECURITY-32")
def test_nor_does_a_database_that_fails(tmp_path: Path) -> None:
    users = Late()
    world, browser, user = lived_in(tmp_path, users)
    users.error = StoreUnavailable("The database is down.")
    with pytest.raises(StoreUnavailable):
        change_email(world.auth, user, NEW)
    assert not is_email_verified(world.auth, user, NEW)
    assert browser.user_id == "1"


def test_an_address_that_an_account_had_once_is_free(tmp_path: Path) -> None:
    world, _, user = lived_in(tmp_path)
    mark_email_verified(world.auth, FakeUser("77"), NEW)
    change_email(world.auth, user, NEW)
    assert is_email_verified(world.auth, user, NEW)


def test_a_mark_of_an_account_that_another_spelling_leads_to_is_not_taken(tmp_path: Path) -> None:
    """The app compares addresses exactly, and the account has it in capitals."""
    world, _, user = lived_in(tmp_path)
    other = world.users.create(NEW.upper())
    mark_email_verified(world.auth, other, NEW)
    with pytest.raises(AccountExists):
        change_email(world.auth, user, NEW)
    assert is_email_verified(world.auth, other, NEW)


def test_the_same_address_again_changes_nothing(tmp_path: Path) -> None:
    world, _, user = lived_in(tmp_path)
    change_email(world.auth, user, OLD)
    assert is_email_verified(world.auth, user, OLD)


class TestRestore:
    def test_what_was_added_since_is_removed_and_the_rest_stays(self, tmp_path: Path) -> None:
        world, browser, user = lived_in(tmp_path)
        world.word.users.add("1")
        tokens = ApiTokens(world.auth)
        [kept] = tokens.list("1")
        world.clock.advance(60)
        since = world.clock()
        change_email(world.auth, user, NEW, keep=session_id(browser))
        world.clock.advance(60)
        tokens.create("1", name="planted")
        world.credentials.add("1", "identity", "planted", {"provider": "example"})
        world.credentials.add("1", "trusted_device", "planted", {})
        restore_email(world.auth, user, OLD, since=since)
        assert user.email == OLD
        assert is_email_verified(world.auth, user, OLD)
        assert not is_email_verified(world.auth, user, NEW)
        assert browser.user_id is None
        assert tokens.list("1") == [kept]
        assert world.kinds("1").count("identity") == 1
        assert world.credentials.find("identity", "planted") is None
        assert "trusted_device" not in world.kinds("1")
        assert world.word.users == {"1"}  # no mailbox removes a second factor
        assert len(world.events("email.restored")) == 1

    def test_an_address_that_another_account_has_by_now_changes_nothing(self, tmp_path: Path) -> None:
        world, browser, user = lived_in(tmp_path)
        change_email(world.auth, user, NEW, keep=session_id(browser))
        world.users.create(OLD)
        with pytest.raises(AccountExists):
            restore_email(world.auth, user, OLD, since=0)
        assert user.email == NEW
        assert browser.user_id == "1"
        assert len(ApiTokens(world.auth).list("1")) == 1

    def test_stateless_tokens_do_not_stop_it(self, tmp_path: Path) -> None:
        world, _, user = lived_in(tmp_path)
        stateless = World(tmp_path, same_as=world, settings={"TOKEN_REVOCATION": "stateless"})
        change_email(world.auth, user, NEW)
        restore_email(stateless.auth, user, OLD, since=0)
        assert user.email == OLD
