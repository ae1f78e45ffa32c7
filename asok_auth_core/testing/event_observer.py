"""The contract suite of a plugin that observes events."""

from __future__ import annotations

import threading
import time

from ..auth import Auth
from ..hookspecs import hookimpl
from ..plugins import Plugins
from ..registry import PluginRegistry
from ..types import Event
from .waiting import PATIENCE

NAMES = (
    "login.succeeded",
    "login.rejected",
    "login.second_factor_required",
    "second_factor.failed",
    "second_factor.succeeded",
    "logout",
    "magic.sent",
    "magic.rejected",
    "mail.sent",
    "mail.failed",
    "oauth.failed",
    "token.created",
    "token.revoked",
    "an.event.of.tomorrow",
)
LONG = "x" * 10_000
FORGERY = "ada\r\n2038-01-19 login.succeeded user=admin"
BUDGET = 0.05
"""Seconds that one event may take; the user who logs in waits for it."""


class EventObserverContract:
    """Inherit, name it ``Test…``, write :meth:`observer` and :meth:`written`."""

    def observer(self) -> object:
        """The plugin: a module or object with ``asok_auth_event``."""
        raise NotImplementedError("Write observer(): return your plugin.")

    def written(self) -> str | None:
        """The text the observer has written so far; None if it writes none."""
        raise NotImplementedError("Write written(): the text your plugin wrote, or None if it writes none.")

    def auth(self) -> Auth | None:
        """What the hook gets as ``auth``; write it if your plugin uses that."""
        return None

    def _emit(self, registry: PluginRegistry, event: Event) -> None:
        registry.manager.hook.asok_auth_event(event=event, auth=self.auth())

    def _registry(self) -> PluginRegistry:
        registry = PluginRegistry(strict=True)
        registry.register(self.observer(), "observer")
        return registry

    def test_it_is_a_plugin_with_the_event_hook(self) -> None:
        [info] = self._registry().infos
        assert info.state == "loaded"
        assert "asok_auth_event" in info.hooks

    def test_it_accepts_any_event(self) -> None:
        registry = self._registry()
        for name in NAMES:
            for event in (
                Event(name, 0.0),
                Event(name, 4e9, "7", "magic", "2001:db8::1", {"factor": None, "count": 3, "ok": True}),
                Event(name, 1.5, LONG, LONG, LONG, {"reason": LONG, "text": "🗝 ключ \x00"}),
            ):
                # Called through pluggy, which raises the error that the registry would log.
                self._emit(registry, event)

    def test_each_event_is_recorded(self) -> None:
        registry = self._registry()
        before = self.written()
        if before is None:
            return
        for number in range(20):
            self._emit(registry, Event(f"contract.number{number}", float(number)))
        after = self.written()
        assert after is not None
        for number in range(20):
            assert f"contract.number{number}" in after[len(before) :]

    def test_a_line_cannot_be_forged(self) -> None:
        registry = self._registry()
        before = self.written()
        if before is None:
            return
        event = Event("login.rejected", 0.0, FORGERY, FORGERY, FORGERY, {"reason": FORGERY})
        self._emit(registry, event)
        after = self.written()
        assert after is not None
        lines = after[len(before) :].splitlines()
        assert not [line for line in lines if line.lstrip().startswith("2038-01-19")], "a line was forged"

    def test_concurrent_events_are_all_recorded(self) -> None:
        registry = self._registry()
        before = self.written()
        failures: list[Exception] = []

        def observe(thread: int) -> None:
            try:
                for number in range(20):
                    self._emit(registry, Event(f"thread.t{thread}n{number}.", 0.0))
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises fails the test
                failures.append(error)

        threads = [threading.Thread(target=observe, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert failures == []
        after = self.written()
        if before is not None and after is not None:
            new = after[len(before) :]
            lost = [(t, n) for t in range(8) for n in range(20) if f"thread.t{t}n{n}." not in new]
            assert lost == []

    def test_it_does_not_delay_a_login(self) -> None:
        registry = self._registry()
        costs = []
        for _ in range(9):
            start = time.perf_counter()
            self._emit(registry, Event("login.succeeded", 0.0, "7"))
            costs.append(time.perf_counter() - start)
        # The fastest: other processes on the machine can only add to what the observer costs.
        assert min(costs) < BUDGET, f"one event costs {min(costs):.3f} s"

    def test_it_leaves_other_observers_alone(self) -> None:
        registry = self._registry()
        seen: list[str] = []

        class Other:
            @hookimpl
            def asok_auth_event(self, event: Event) -> None:
                seen.append(event.name)

        registry.register(Other(), "other")
        Plugins(registry).event(Event("login.succeeded", 0.0))
        assert seen == ["login.succeeded"]
