"""The permission resolver contract: a sound resolver passes it, and each seeded fault turns it red."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from asok_auth_core import Grant, hookimpl
from asok_auth_core.testing import FakeUser, PermissionResolverContract
from asok_auth_core.types import User


class ByDomain:
    """A sound resolver."""

    def __init__(self) -> None:
        self.grants: dict[str, list[str]] = {"example.com": ["posts.edit", "pages.*"]}

    def domain(self, user: User) -> str:
        return str(getattr(user, "email", "") or "").rpartition("@")[2]

    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        return [Grant(pattern, "domain") for pattern in self.grants.get(self.domain(user), [])]


class NeedsAnAddress(ByDomain):
    def domain(self, user: User) -> str:
        return user.email.rpartition("@")[2]  # type: ignore[attr-defined, no-any-return]


class GrantsAllToNobody(ByDomain):
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        return ["*"] if user.id is None else super().asok_auth_permissions(user)


class GrantsMore(ByDomain):
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        return ["*"] if self.domain(user) == "example.com" else []


class TrustsTheBeginning(ByDomain):
    def domain(self, user: User) -> str:
        return "example.com" if "@example.com" in str(getattr(user, "email", "")) else ""


class TrustsTheEnd(ByDomain):
    def domain(self, user: User) -> str:
        return "example.com" if str(getattr(user, "email", "")).endswith("example.com") else ""


class Remembers(ByDomain):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[str | Grant]] = {}

    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        return self.kept.setdefault(str(user.id), list(super().asok_auth_permissions(user) or []))


class Malformed(ByDomain):
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        return [*(super().asok_auth_permissions(user) or []), "*.edit"]


class BareText(ByDomain):
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        return "posts.*"


class Slow(ByDomain):
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant] | None:
        time.sleep(0.06)
        return super().asok_auth_permissions(user)


class Suite(PermissionResolverContract):
    def __init__(self, resolver: type[ByDomain]) -> None:
        self.resolver = resolver()

    def plugin(self) -> object:
        return self.resolver

    def holder(self) -> tuple[User, Iterable[str]]:
        return FakeUser("1", "ada@example.com"), ["posts.edit", "pages.*"]

    def revoke(self, user: User) -> None:
        self.resolver.grants.clear()


TESTS = sorted(name for name in dir(Suite) if name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
def test_a_sound_resolver_is_green(test: str) -> None:
    getattr(Suite(ByDomain), test)()


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (NeedsAnAddress, "test_strangers_hold_nothing"),
        (GrantsAllToNobody, "test_strangers_hold_nothing"),
        (GrantsMore, "test_the_holder_holds_what_is_expected_and_no_more"),
        (TrustsTheBeginning, "test_look_alikes_of_the_holder_hold_nothing"),
        (TrustsTheEnd, "test_look_alikes_of_the_holder_hold_nothing"),
        (Remembers, "test_what_is_revoked_is_gone_at_once"),
        (Malformed, "test_every_grant_is_well_formed"),
        (BareText, "test_strangers_hold_nothing"),
        (Slow, "test_asking_costs_little"),
    ],
)
def test_each_fault_is_found(mutant: type[ByDomain], test: str) -> None:
    with pytest.raises((AssertionError, TypeError, AttributeError)):
        getattr(Suite(mutant), test)()
