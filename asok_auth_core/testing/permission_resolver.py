"""The contract suite of a plugin that grants permissions, as tests to inherit.

::

    class TestMyResolver(PermissionResolverContract):
        def resolver(self):
            return my_plugin

        def granted(self):
            store.grant("7", "posts.edit")
            return FakeUser("7"), "posts.edit"

        def take_away(self, user, permission):
            store.revoke(user.id, permission)

        def unavailable(self):
            return my_plugin_with_its_store_gone
"""

from __future__ import annotations

import threading
import time

import pytest

from ..engine.permissions import PermissionSet, union
from ..plugins import Plugins
from ..registry import PluginRegistry
from ..types import User
from .fakes import FakeUser
from .waiting import PATIENCE, Stopwatch

BUDGET = 0.05
"""Seconds that one call may take; every request of a logged-in user waits for it."""
GIVE_UP = 2.0
"""Seconds within which a resolver must fail if its store is not available."""


class PermissionResolverContract:
    """Inherit, name the class ``Test…`` and write the four methods."""

    def resolver(self) -> object:
        """The plugin: a module or object with ``asok_auth_permissions``."""
        raise NotImplementedError("Write resolver(): return your plugin.")

    def granted(self) -> tuple[User, str]:
        """A user, and a permission such as ``"posts.edit"`` that this user has.

        The resolver must not grant it to all users. Called once per test; the grant must exist each time.
        """
        raise NotImplementedError("Write granted(): return a user and a permission of theirs.")

    def take_away(self, user: User, permission: str) -> None:
        """Remove ``permission`` from ``user`` where your resolver looks it up."""
        raise NotImplementedError("Write take_away(): remove the grant of granted().")

    def unavailable(self) -> object | None:
        """The plugin while its data source is down; None if it has none."""
        raise NotImplementedError("Write unavailable(): your plugin with its store down, or None.")

    def test_it_is_a_plugin_with_the_permissions_hook(self) -> None:
        registry = PluginRegistry(strict=True)
        registry.register(self.resolver(), "resolver")
        [info] = registry.infos
        assert info.state == "loaded"
        assert "asok_auth_permissions" in info.hooks

    def test_it_grants_the_expected_permissions(self) -> None:
        user, permission = self.granted()
        assert _asked(self.resolver(), user).allows(permission)

    def test_every_grant_is_well_formed(self) -> None:
        """A malformed grant has no effect, so it is a mistake."""
        user, _ = self.granted()
        assert _asked(self.resolver(), user).malformed == ()

    @pytest.mark.requirement("SECURITY-28")
    def test_other_users_are_not_granted_them(self) -> None:
        """No grant for a similar user id, a pattern or a piece of SQL."""
        user, permission = self.granted()
        resolver = self.resolver()
        for other in _look_alikes(str(user.id)):
            assert not _asked(resolver, FakeUser(other)).allows(permission), f"granted to id {other!r}"
        nobody = FakeUser(None)  # type: ignore[arg-type]
        assert not _asked(resolver, nobody).allows(permission), "granted to a user without an id"

    @pytest.mark.requirement("SECURITY-23")
    def test_a_withdrawn_grant_ends_at_once(self) -> None:
        user, permission = self.granted()
        resolver = self.resolver()
        assert _asked(resolver, user).allows(permission)
        self.take_away(user, permission)
        assert not _asked(resolver, user).allows(permission), "a revoked grant was cached across requests"

    def test_users_do_not_get_each_others_grants(self) -> None:
        user, permission = self.granted()
        resolver = self.resolver()
        other = FakeUser("another-user-of-the-contract")
        wrong: list[str] = []

        def ask(mine: User, expected: bool) -> None:
            for _ in range(25):
                try:
                    if _asked(resolver, mine).allows(permission) is not expected:
                        wrong.append(f"user {mine.id} got another user's grants")
                except Exception as error:  # noqa: BLE001 - whatever a plugin raises fails the test
                    wrong.append(repr(error))

        threads = [
            threading.Thread(target=ask, args=given)
            for given in [(user, True), (other, False), (user, True), (other, False)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert wrong == []

    @pytest.mark.requirement("SECURITY-32")
    def test_it_grants_nothing_while_its_store_is_unavailable(self) -> None:
        user, permission = self.granted()
        resolver = self.unavailable()
        if resolver is None:
            return
        registry = PluginRegistry(strict=True)
        registry.register(resolver, "resolver")
        with Stopwatch() as watch:
            held = union(part for _, part in Plugins(registry).permissions(user, lambda plugin, error: None))
        assert not held.allows(permission)
        assert watch.seconds < GIVE_UP, f"it took longer than {GIVE_UP} s to give up"

    def test_it_does_not_delay_a_request(self) -> None:
        user, _ = self.granted()
        resolver = self.resolver()
        costs = []
        for _ in range(9):
            start = time.perf_counter()
            _asked(resolver, user)
            costs.append(time.perf_counter() - start)
        # The fastest: other processes on the machine can only add to what the resolver costs.
        assert min(costs) < BUDGET, f"one call took {min(costs):.3f} s"


def _asked(resolver: object, user: User) -> PermissionSet:
    """The grants of ``resolver`` for ``user``.

    Errors and malformed answers are raised.
    """
    registry = PluginRegistry(strict=True)
    registry.register(resolver, "resolver")

    def on_error(plugin: str, error: Exception) -> None:
        raise error

    return union(part for _, part in Plugins(registry).permissions(user, on_error))


def _look_alikes(user_id: str) -> list[str]:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in user_id)
    return [
        *(f"{user_id} ", f" {user_id}", f"{user_id}\x00", f"{user_id}x", f"0{user_id}x", wide),
        *("", "%", "_", "*", f"{user_id}%", "x' OR '1'='1", f"x') OR id=('{user_id}", "../" + user_id),
    ]
