"""The policy contract: a sound policy passes, each seeded fault fails."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from asok_auth_core.plugin import LoginAttempt, User, hookimpl
from asok_auth_core.testing import FakeUser, PolicyContract

ADA = FakeUser("1", "ada@acme.example")
EVE = FakeUser("2", "eve@other.example")


class StaffOnly:
    """Reads the directory of staff that ``unavailable`` takes away."""

    def __init__(self, staff: frozenset[str] | None = frozenset({"ada@acme.example"})) -> None:
        self.staff = staff

    def is_staff(self, user: object) -> bool:
        if self.staff is None:
            raise OSError("The directory does not answer.")
        return getattr(user, "email", None) in self.staff

    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> object:
        return None if self.is_staff(attempt.user) else "Only for staff."

    @hookimpl
    def asok_auth_denies(self, user: User, permission: str, resource: object | None) -> object:
        return None if permission != "payroll.read" or self.is_staff(user) else "Only for staff."


class AdmitsAll(StaffOnly):
    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> object:
        return None


class RejectsAll(StaffOnly):
    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> object:
        return "Not today."


class NoReason(StaffOnly):
    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> object:
        return None if self.is_staff(attempt.user) else False


class AllowsAll(StaffOnly):
    @hookimpl
    def asok_auth_denies(self, user: User, permission: str, resource: object | None) -> object:
        return None


class DeniesAll(StaffOnly):
    @hookimpl
    def asok_auth_denies(self, user: User, permission: str, resource: object | None) -> object:
        return "No."


class NeedsAnAccount(StaffOnly):
    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> object:
        assert attempt.user.id is not None
        return super().asok_auth_before_login(attempt)


class NeedsAnEmail(StaffOnly):
    def is_staff(self, user: object) -> bool:
        assert user.email  # type: ignore[attr-defined]
        return super().is_staff(user)


class OpenWhileDown(StaffOnly):
    def is_staff(self, user: object) -> bool:
        return self.staff is None or super().is_staff(user)


class NoGuard:
    def __init__(self, staff: object = None) -> None:
        return

    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[str]:
        return []


class Suite(PolicyContract):
    __test__ = False
    kind: type = StaffOnly

    def policy(self) -> object:
        return self.kind()

    def admitted(self) -> Sequence[LoginAttempt]:
        return [LoginAttempt(ADA, "magic", "192.0.2.1", 0.0)]

    def rejected(self) -> Sequence[LoginAttempt]:
        return [LoginAttempt(EVE, "magic", "192.0.2.1", 0.0)]

    def allowed(self) -> Sequence[tuple[User, str, object]]:
        return [(ADA, "payroll.read", None), (EVE, "posts.read", None)]

    def denied(self) -> Sequence[tuple[User, str, object]]:
        return [(EVE, "payroll.read", None)]

    def unavailable(self) -> object:
        return self.kind(None)


class TestStaffOnly(Suite):
    __test__ = True


class WithoutExamples(Suite):
    def rejected(self) -> Sequence[LoginAttempt]:
        return []


class WithoutChecks(Suite):
    def denied(self) -> Sequence[tuple[User, str, object]]:
        return []


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (AdmitsAll, "test_it_admits_and_rejects_the_examples"),
        (RejectsAll, "test_it_admits_and_rejects_the_examples"),
        (NoReason, "test_it_admits_and_rejects_the_examples"),
        (AllowsAll, "test_it_allows_and_denies_the_examples"),
        (DeniesAll, "test_it_allows_and_denies_the_examples"),
        (NeedsAnAccount, "test_newcomers_get_a_verdict"),
        (NeedsAnEmail, "test_users_without_optional_fields_get_a_verdict"),
        (OpenWhileDown, "test_nothing_passes_while_its_data_source_is_down"),
        (NoGuard, "test_it_is_a_guard_with_examples_for_each_hook"),
    ],
)
def test_each_fault_fails_the_suite(mutant: type, test: str) -> None:
    suite = Suite()
    getattr(suite, test)()
    suite.kind = mutant
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        getattr(suite, test)()


@pytest.mark.parametrize("suite", [WithoutExamples, WithoutChecks])
def test_a_suite_without_examples_fails(suite: type[Suite]) -> None:
    with pytest.raises(AssertionError, match="one example each"):
        suite().test_it_is_a_guard_with_examples_for_each_hook()


def test_a_policy_without_a_data_source_has_no_outage_to_test() -> None:
    class Alone(Suite):
        def unavailable(self) -> None:
            return None

    Alone().test_nothing_passes_while_its_data_source_is_down()
    assert PolicyContract().unavailable() is None
    assert not any((PolicyContract().admitted(), PolicyContract().rejected()))
    assert not any((PolicyContract().allowed(), PolicyContract().denied()))
