"""The fake of the app's users keeps the contract, and the contract finds faults."""

from __future__ import annotations

import time

import pytest

from asok_auth_core.contracts import UserDirectory
from asok_auth_core.errors import AccountExists, ConfigurationError
from asok_auth_core.testing import FakeUser, MemoryUsers, UserDirectoryContract
from asok_auth_core.types import User


class TestMemoryUsers(UserDirectoryContract):
    @pytest.fixture
    def users(self) -> UserDirectory:
        return MemoryUsers()


class Racy(MemoryUsers):
    """Looks, then acts."""

    def set_email(self, user: User, email: str) -> None:
        if self.by_email(email) is not None:
            raise AccountExists("taken")
        time.sleep(0.05)
        self._users[str(user.id)].email = email


class Lenient(MemoryUsers):
    """Lets two accounts have one address."""

    def set_email(self, user: User, email: str) -> None:
        self._users[str(user.id)].email = email


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (Racy, "test_one_of_several_accounts_gets_an_email_address"),
        (Lenient, "test_an_email_address_of_another_account_is_rejected"),
    ],
)
def test_a_fault_is_found(faulty: type[MemoryUsers], test: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(UserDirectoryContract(), test)(faulty())


class Smallest(UserDirectory):
    """What a directory must have."""

    def by_id(self, user_id: str) -> User | None:
        return None

    def by_email(self, email: str) -> User | None:
        return None

    def create(self, email: str, name: str | None = None) -> User:
        return FakeUser("1", email)

    def email_of(self, user: User) -> str | None:
        return None

    def is_active(self, user: User) -> bool:
        return True


def test_a_directory_may_be_unable_to_change_accounts() -> None:
    with pytest.raises(ConfigurationError, match="cannot change email addresses"):
        Smallest().set_email(FakeUser("1"), "ada@example.com")
    with pytest.raises(ConfigurationError, match="cannot give roles"):
        Smallest().set_up(FakeUser("1"), name="Ada", roles=["editor"])
    Smallest().set_up(FakeUser("1"), name="Ada")
    with pytest.raises(ConfigurationError, match="cannot delete accounts"):
        Smallest().remove(FakeUser("1"))
    assert Smallest().known_roles() is None


class TestLeftOut:
    users = UserDirectoryContract.users

    def test_a_missing_fixture_is_named(self, request: pytest.FixtureRequest) -> None:
        with pytest.raises(NotImplementedError, match="define a fixture users"):
            request.getfixturevalue("users")
