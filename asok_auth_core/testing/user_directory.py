"""The contract of a user directory, as tests to inherit.

::

    class TestMyUsers(UserDirectoryContract):
        @pytest.fixture
        def users(self):
            return MyUsers()
"""

from __future__ import annotations

import secrets

import pytest

from ..contracts import UserDirectory
from ..errors import AccountExists, ConfigurationError
from .races import exactly_once, in_threads


class UserDirectoryContract:
    """Inherit, name the class ``Test…``, and define the fixture ``users``."""

    threads: int = 4
    """How many threads change accounts at once; 1 for a directory that only one thread may use."""

    @pytest.fixture
    def users(self) -> UserDirectory:
        raise NotImplementedError("define a fixture users that returns your directory")

    def address(self) -> str:
        """An email address that no account has."""
        return f"{secrets.token_hex(8)}@example.com"

    def test_an_account_is_found_by_its_id_and_its_email_address(self, users: UserDirectory) -> None:
        email = self.address()
        made = users.create(email, "Ada")
        assert made.id is not None
        for found in (users.by_id(str(made.id)), users.by_email(email)):
            assert found is not None
            assert str(found.id) == str(made.id)
            assert users.email_of(found) == email
            assert users.is_active(found)
        assert list(users.ids_alike(email)) == [str(made.id)]

    def test_an_unknown_user_is_none(self, users: UserDirectory) -> None:
        assert users.by_email(self.address()) is None
        for user_id in ("", "no-such-user", "-1", "9" * 40, "\N{SNOWMAN}"):
            assert users.by_id(user_id) is None

    def test_an_email_address_has_one_account(self, users: UserDirectory) -> None:
        email = self.address()
        users.create(email)
        with pytest.raises(AccountExists):
            users.create(email)

    def test_a_changed_email_address_is_the_only_one_that_leads_to_the_account(
        self, users: UserDirectory
    ) -> None:
        before, after = self.address(), self.address()
        user = users.create(before)
        users.set_email(user, after)
        assert users.email_of(user) == after
        assert users.by_email(before) is None
        found = users.by_email(after)
        assert found is not None
        assert str(found.id) == str(user.id)
        assert users.email_of(found) == after
        assert str(users.create(before).id) != str(user.id)

    @pytest.mark.requirement("SECURITY-15")
    def test_an_email_address_of_another_account_is_rejected(self, users: UserDirectory) -> None:
        own, other = self.address(), self.address()
        user = users.create(own)
        owner = users.create(other)
        with pytest.raises(AccountExists):
            users.set_email(user, other)
        found = users.by_email(own)
        assert found is not None
        assert str(found.id) == str(user.id)
        kept = users.by_email(other)
        assert kept is not None
        assert str(kept.id) == str(owner.id)

    def test_an_account_may_be_given_its_own_email_address(self, users: UserDirectory) -> None:
        email = self.address()
        user = users.create(email)
        users.set_email(user, email)
        assert users.email_of(user) == email

    @pytest.mark.requirement("SECURITY-1")
    def test_one_of_several_accounts_gets_an_email_address(self, users: UserDirectory) -> None:
        wanted = self.address()
        accounts = [users.create(self.address()) for _ in range(self.threads)]

        def change() -> list[str]:
            try:
                users.set_email(accounts.pop(), wanted)
            except AccountExists:
                return []
            return [wanted]

        exactly_once(in_threads(change, self.threads), [wanted])

    def test_a_change_of_the_email_address_keeps_the_rest(self, users: UserDirectory) -> None:
        user = users.create(self.address(), "Ada")
        users.set_active(user, False)
        users.set_email(user, self.address())
        found = users.by_id(str(user.id))
        assert found is not None
        assert not users.is_active(found)
        assert getattr(found, "name", "Ada") == "Ada"

    def test_a_name_is_given_to_an_account_without_one(self, users: UserDirectory) -> None:
        user = users.create(self.address())
        for name in ("Ada", "Eve"):
            users.set_up(user, name=name)
        found = users.by_id(str(user.id))
        assert found is not None
        assert getattr(found, "name", "Ada") == "Ada"

    def test_an_unknown_role_is_rejected(self, users: UserDirectory) -> None:
        if users.known_roles() is None:
            return
        user = users.create(self.address())
        with pytest.raises(ConfigurationError):
            users.set_up(user, roles=["no-such-role"])

    def test_known_roles_are_given(self, users: UserDirectory) -> None:
        user = users.create(self.address())
        for _ in range(2):
            users.set_up(user, roles=list(users.known_roles() or ())[:1])

    def test_a_removed_account_is_gone_and_its_email_address_free(self, users: UserDirectory) -> None:
        email = self.address()
        user = users.create(email)
        for _ in range(2):
            users.remove(user)
        assert users.by_id(str(user.id)) is None
        assert users.by_email(email) is None
        assert list(users.ids_alike(email)) == []
        assert users.create(email).id is not None
