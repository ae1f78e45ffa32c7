"""The contract of a plugin that grants permissions: exactly what is held, now, and nothing by mistake."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..engine.permissions import PermissionSet, compile_grants
from ..plugins import Plugins
from ..types import User
from .fakes import FakeUser

BUDGET = 0.05
"""Seconds that the grants of one user may cost; they are asked for once a request."""
HOSTILE = ("*", "a,*", "x\n*", "*.*", "admin.*", "' OR 1=1 --", "../*", "", " ", "é" * 1000)


class _Anonymous:
    """A user object with nothing but an id."""

    def __init__(self, user_id: int | str | None) -> None:
        self.id = user_id


class PermissionResolverContract:
    """Inherit, name the class ``Test…`` and write :meth:`plugin`, :meth:`holder` and :meth:`revoke`."""

    def plugin(self) -> object:
        """The plugin: a module or object with ``asok_auth_permissions``."""
        raise NotImplementedError("Write plugin(): return your plugin.")

    def holder(self) -> tuple[User, Iterable[str]]:
        """A user who holds something, and every pattern that this user holds."""
        raise NotImplementedError("Write holder(): return a user and the patterns your plugin grants.")

    def revoke(self, user: User) -> None:
        """Take away, at its source, what ``user`` holds."""
        raise NotImplementedError("Write revoke(): change your source so that the user holds nothing.")

    def _grants(self, user: User) -> list[PermissionSet]:
        plugins = Plugins(strict=True)
        plugins.register(self.plugin(), "resolver")
        results = plugins.manager.hook.asok_auth_permissions(user=user)
        return [given if isinstance(given, PermissionSet) else compile_grants(given) for given in results]

    def _allows(self, user: User, permission: str) -> bool:
        return any(grants.allows(permission) for grants in self._grants(user))

    def test_it_is_a_plugin_with_the_permissions_hook(self) -> None:
        plugins = Plugins(strict=True)
        plugins.register(self.plugin(), "resolver")
        assert "asok_auth_permissions" in plugins.infos[0].hooks

    def test_the_holder_holds_what_is_expected_and_no_more(self) -> None:
        user, expected = self.holder()
        for pattern in expected:
            permission = "anything.at.all" if pattern == "*" else pattern.replace("*", "anything")
            assert self._allows(user, permission), f"{pattern} is not granted"
        if "*" not in expected:
            for permission in ("unheard.of", "contract-suite.delete", "*"):
                assert not self._allows(user, permission), f"{permission} is granted and was not expected"

    def test_every_grant_is_well_formed(self) -> None:
        user, _ = self.holder()
        for grants in self._grants(user):
            assert list(grants.malformed) == [], "these grant nothing"

    def test_strangers_hold_nothing(self) -> None:
        strangers: list[User] = [_Anonymous(None), _Anonymous(0), _Anonymous(-1), _Anonymous("")]
        strangers += [_Anonymous(text) for text in HOSTILE]
        strangers += [FakeUser("no-such-user", email, name=email) for email in HOSTILE]
        strangers += [FakeUser("no-such-user", None)]
        for stranger in strangers:
            for permission in ("posts.edit", "anything.at.all"):
                assert not self._allows(stranger, permission), f"{stranger!r} may {permission}"

    def test_look_alikes_of_the_holder_hold_nothing(self) -> None:
        user, expected = self.holder()
        email = getattr(user, "email", None)
        if not isinstance(email, str) or "@" not in email:
            return
        for other in (f"{email}.evil.example", email.replace("@", "@evil"), f"x{email}@evil.example"):
            stranger = FakeUser("no-such-user", other)
            for pattern in expected:
                assert not self._allows(stranger, pattern.replace("*", "anything")), other

    def test_what_is_revoked_is_gone_at_once(self) -> None:
        user, expected = self.holder()
        patterns = list(expected)
        assert any(self._allows(user, pattern.replace("*", "anything")) for pattern in patterns)
        self.revoke(user)
        for pattern in patterns:
            assert not self._allows(user, pattern.replace("*", "anything")), (
                f"{pattern} outlived its revocation"
            )

    def test_asking_costs_little(self) -> None:
        user, _ = self.holder()
        plugins = Plugins(strict=True)
        plugins.register(self.plugin(), "resolver")
        costs = []
        for _ in range(9):
            start = time.perf_counter()
            plugins.manager.hook.asok_auth_permissions(user=user)
            costs.append(time.perf_counter() - start)
        assert sorted(costs)[4] < BUDGET, f"one user's grants cost {sorted(costs)[4]:.3f} s"
