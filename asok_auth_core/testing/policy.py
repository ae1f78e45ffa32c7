"""The contract suite of a policy, as tests to inherit.

::

    class TestMyPolicy(PolicyContract):
        def policy(self):
            return my_plugin

        def admitted(self):
            return [LoginAttempt(FakeUser("1", "ada@acme.example"), "magic", "192.0.2.1", at=0.0)]

        def rejected(self):
            return [LoginAttempt(FakeUser("2", "eve@other.example"), "magic", "192.0.2.1", at=0.0)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ..auth import Auth
from ..plugins import Plugins
from ..registry import PluginRegistry
from ..types import LoginAttempt, Newcomer, User
from .waiting import Stopwatch

GIVE_UP = 2.0
"""Seconds within which a policy must answer, its data source unavailable or not; the user waits for it."""

Check = tuple[User, str, object]
"""A user, a permission, and the resource it is asked for, or None."""


class PolicyContract:
    """Inherit, name it ``Test…``, write :meth:`policy` and examples per hook."""

    def policy(self) -> object:
        """The plugin, with ``asok_auth_before_login`` or ``asok_auth_denies``."""
        raise NotImplementedError("Write policy(): return your plugin.")

    def admitted(self) -> Sequence[LoginAttempt]:
        """Logins that ``asok_auth_before_login`` lets through."""
        return ()

    def rejected(self) -> Sequence[LoginAttempt]:
        """Logins that ``asok_auth_before_login`` rejects."""
        return ()

    def allowed(self) -> Sequence[Check]:
        """What ``asok_auth_denies`` lets through: (user, permission, resource or None)."""
        return ()

    def denied(self) -> Sequence[Check]:
        """What ``asok_auth_denies`` denies: (user, permission, resource or None)."""
        return ()

    def auth(self) -> Auth | None:
        """What ``asok_auth_before_login`` gets as ``auth``.

        Write it if your plugin uses that.
        """
        return None

    def unavailable(self) -> object | None:
        """The plugin while its data source is down; None if it has none."""
        return None

    def test_it_is_a_guard_with_examples_for_each_hook(self) -> None:
        hooks = _registry(self.policy()).infos[0].hooks
        assert {"asok_auth_before_login", "asok_auth_denies"} & set(hooks), "it has none of the two hooks"
        if "asok_auth_before_login" in hooks:
            assert self.admitted(), "write admitted() and rejected(): one example each at least"
            assert self.rejected(), "write admitted() and rejected(): one example each at least"
        if "asok_auth_denies" in hooks:
            assert self.allowed(), "write allowed() and denied(): one example each at least"
            assert self.denied(), "write allowed() and denied(): one example each at least"

    def test_it_admits_and_rejects_the_examples(self) -> None:
        policy = self.policy()
        for attempt in self.admitted():
            assert _before_login(policy, attempt, self.auth()) is None, f"rejected: {attempt}"
        for attempt in self.rejected():
            assert _before_login(policy, attempt, self.auth()), (
                f"admitted, or rejected without a reason: {attempt}"
            )

    def test_it_allows_and_denies_the_examples(self) -> None:
        policy = self.policy()
        for check in self.allowed():
            assert _denies(policy, check) is None, f"denied: {check}"
        for check in self.denied():
            assert _denies(policy, check), f"allowed, or denied without a reason: {check}"

    def test_newcomers_get_a_verdict(self) -> None:
        """Their account does not exist yet: there is only an email address."""
        policy = self.policy()
        for attempt in (*self.admitted(), *self.rejected()):
            for email in ("newcomer@example.com", str(getattr(attempt.user, "email", "") or "a@example.com")):
                _before_login(policy, replace(attempt, user=Newcomer(email)), self.auth())

    def test_users_without_optional_fields_get_a_verdict(self) -> None:
        """A user model must have an id; everything else is optional."""
        policy = self.policy()
        for attempt in (*self.admitted(), *self.rejected()):
            _before_login(policy, replace(attempt, user=_OnlyAnId()), self.auth())
        for _, permission, resource in (*self.allowed(), *self.denied()):
            _denies(policy, (_OnlyAnId(), permission, resource))

    @pytest.mark.requirement("SECURITY-32", "SECURITY-34")
    def test_nothing_passes_while_its_data_source_is_down(self) -> None:
        policy = self.unavailable()
        if policy is None:
            return
        hooks = _hooks(policy, self.auth())
        for attempt in self.admitted():
            with Stopwatch() as watch:
                assert hooks.before_login(attempt, _ignore) is not None, f"admitted while down: {attempt}"
            assert watch.seconds < GIVE_UP, f"it took longer than {GIVE_UP} s to give up"
        guarded = {permission for _, permission, _ in self.denied()}
        for user, permission, resource in self.allowed():
            if permission not in guarded:
                continue  # no business of this policy
            with Stopwatch() as watch:
                assert hooks.denies(user, permission, resource, _ignore) is not None, "allowed while down"
            assert watch.seconds < GIVE_UP, f"it took longer than {GIVE_UP} s to give up"


class _OnlyAnId:
    id = "only-an-id"


def _registry(policy: object) -> PluginRegistry:
    registry = PluginRegistry(strict=True)
    registry.register(policy, "policy")
    return registry


def _hooks(policy: object, auth: Auth | None) -> Plugins:
    hooks = Plugins(_registry(policy))
    hooks.auth = auth
    return hooks


def _ignore(plugin: str, error: Exception) -> None:
    return


def _raise(plugin: str, error: Exception) -> None:
    raise error


def _before_login(policy: object, attempt: LoginAttempt, auth: Auth | None) -> str | None:
    """The reason, without the plugin's name; what the policy raises is raised."""
    return _reason(lambda: _hooks(policy, auth).before_login(attempt, _raise))


def _denies(policy: object, check: Check) -> str | None:
    return _reason(lambda: Plugins(_registry(policy)).denies(*check, _raise))


def _reason(ask: Callable[[], tuple[str, str] | None]) -> str | None:
    found = ask()
    return None if found is None else found[1]
