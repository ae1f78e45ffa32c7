"""The resolver contract: sound ones pass, each seeded fault fails."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from asok_auth_core.adapters.asok import roles
from asok_auth_core.hookspecs import hookimpl
from asok_auth_core.testing import FakeUser, PermissionResolverContract
from asok_auth_core.types import Grant, User


class Table:
    """A resolver that reads a table, as a third-party plugin would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, user: User) -> list[tuple[str]]:
        sql = "SELECT pattern FROM grants WHERE user_id = ?"
        return self.execute(sql, (str(user.id),))

    def execute(self, sql: str, arguments: tuple[str, ...] = ()) -> list[tuple[str]]:
        connection = sqlite3.connect(f"file:{self.path}?mode=rw", uri=True)
        try:
            with connection:
                return connection.execute(sql, arguments).fetchall()
        finally:
            connection.close()

    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant]:
        return [Grant(pattern, "table grants") for (pattern,) in self.rows(user)]


class TableContract(PermissionResolverContract):
    kind: type[Table] = Table

    @pytest.fixture(autouse=True)
    def table(self, tmp_path: Path) -> None:
        path = tmp_path / "grants.sqlite3"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE grants (user_id TEXT, pattern TEXT)")
        connection.commit()
        connection.close()
        self.path = path
        self.made = self.kind(path)

    def resolver(self) -> object:
        return self.made

    def granted(self) -> tuple[User, str]:
        Table(self.path).execute("INSERT INTO grants VALUES ('7', 'posts.edit')")
        return FakeUser("7"), "posts.edit"

    def take_away(self, user: User, permission: str) -> None:
        Table(self.path).execute("DELETE FROM grants WHERE user_id = ?", (str(user.id),))

    def unavailable(self) -> object:
        return self.kind(self.path.with_name("gone.sqlite3"))


class TestTable(TableContract):
    pass


class TestRoles(PermissionResolverContract):
    """The core's own, with roles on the user object."""

    def resolver(self) -> object:
        return roles

    def granted(self) -> tuple[User, str]:
        self.role = type("Role", (), {"name": "editor", "permissions": "posts.*, users.view"})()
        return type("User", (), {"id": 7, "roles": [self.role]})(), "posts.edit"

    def take_away(self, user: User, permission: str) -> None:
        self.role.permissions = "users.view"

    def unavailable(self) -> None:
        return None


class Concatenates(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        return self.execute(f"SELECT pattern FROM grants WHERE user_id = '{user.id}'")


class MatchesLoosely(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        return self.execute("SELECT pattern FROM grants WHERE user_id LIKE ?", (str(user.id),))


class Remembers(Table):
    known: dict[str, list[tuple[str]]]

    def rows(self, user: User) -> list[tuple[str]]:
        self.known = getattr(self, "known", {})
        return self.known.setdefault(str(user.id), super().rows(user))


class TakesTheLastUser(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        self.user = user
        time.sleep(0.001)
        return super().rows(self.user)


class BreaksInThreads(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("only one thread may ask")
        return super().rows(user)


class GrantsWhenInDoubt(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        try:
            return super().rows(user)
        except sqlite3.Error:
            return [("*",)]


class WritesOneString(Table):
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant]:
        return "posts.edit" if self.rows(user) else ()


class WritesItWrong(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        return [*super().rows(user), ("posts:**",)]


class IsSlow(Table):
    def rows(self, user: User) -> list[tuple[str]]:
        time.sleep(0.06)
        return super().rows(user)


FAULTS = [
    (Concatenates, "test_other_users_are_not_granted_them"),
    (MatchesLoosely, "test_other_users_are_not_granted_them"),
    (Remembers, "test_a_withdrawn_grant_ends_at_once"),
    (TakesTheLastUser, "test_users_do_not_get_each_others_grants"),
    (BreaksInThreads, "test_users_do_not_get_each_others_grants"),
    (GrantsWhenInDoubt, "test_it_grants_nothing_while_its_store_is_unavailable"),
    (WritesOneString, "test_it_grants_the_expected_permissions"),
    (WritesItWrong, "test_every_grant_is_well_formed"),
    (IsSlow, "test_it_does_not_delay_a_request"),
]


@pytest.mark.parametrize(("fault", "test"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_fault_fails_the_suite(fault: type[Table], test: str, tmp_path: Path) -> None:
    suite = TableContract()
    path = tmp_path / "grants.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE grants (user_id TEXT, pattern TEXT)")
    connection.commit()
    connection.close()
    suite.kind, suite.path, suite.made = fault, path, fault(path)
    with pytest.raises((AssertionError, TypeError, ValueError, sqlite3.Error)):
        getattr(suite, test)()


@pytest.mark.parametrize("method", ["resolver", "granted", "take_away", "unavailable"])
def test_a_missing_method_is_named(method: str) -> None:
    arguments = (FakeUser("7"), "posts.edit") if method == "take_away" else ()
    with pytest.raises(NotImplementedError, match=f"Write {method}"):
        getattr(PermissionResolverContract(), method)(*arguments)
