"""The event observer contract: a sound log passes, each seeded fault fails."""

from __future__ import annotations

import json
import threading
import time

import pytest

from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing import EventObserverContract
from asok_auth_core.types import Event


class AuditLog:
    """One JSON object a line."""

    def __init__(self) -> None:
        self.text = ""
        self.lock = threading.Lock()

    def line(self, event: Event) -> str:
        return json.dumps({"name": event.name, "user": event.user_id, **event.detail})

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        with self.lock:
            self.text += self.line(event) + "\n"


class KnowsOnlyLogins(AuditLog):
    def line(self, event: Event) -> str:
        return {"login.succeeded": "in", "logout": "out"}[event.name]


class NeedsAUser(AuditLog):
    def line(self, event: Event) -> str:
        assert event.user_id is not None
        return super().line(event)


class PlainText(AuditLog):
    def line(self, event: Event) -> str:
        return f"{event.at} {event.name} user={event.user_id}\n  {event.user_id}"


class Loses(AuditLog):
    def line(self, event: Event) -> str:
        return "" if event.name.endswith("7") else super().line(event)


class LosesInThreads(AuditLog):
    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        text = self.text
        time.sleep(0)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.001)
        self.text = text + self.line(event) + "\n"


class BreaksInThreads(AuditLog):
    def line(self, event: Event) -> str:
        assert threading.current_thread() is threading.main_thread()
        return super().line(event)


class Slow(AuditLog):
    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        time.sleep(0.06)
        super().asok_auth_event(event)


class Misspelled:
    text = ""

    @hookimpl
    def asok_auth_events(self, event: Event) -> None:
        return


class TestAuditLog(EventObserverContract):
    def observer(self) -> object:
        self.log = AuditLog()
        return self.log

    def written(self) -> str | None:
        return self.log.text


class TestCounter(EventObserverContract):
    """One that writes no text."""

    def observer(self) -> object:
        class Counter:
            count = 0

            @hookimpl
            def asok_auth_event(self, event: Event) -> None:
                self.count += 1

        return Counter()

    def written(self) -> None:
        return None


def is_red(observer: type[AuditLog] | type[Misspelled], test: str) -> bool:
    class Suite(EventObserverContract):
        def observer(self) -> object:
            self.log = observer()
            return self.log

        def written(self) -> str | None:
            return self.log.text

    try:
        getattr(Suite(), test)()
    except Exception:
        return True
    return False


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (KnowsOnlyLogins, "test_it_accepts_any_event"),
        (NeedsAUser, "test_it_accepts_any_event"),
        (PlainText, "test_a_line_cannot_be_forged"),
        (Loses, "test_each_event_is_recorded"),
        (LosesInThreads, "test_concurrent_events_are_all_recorded"),
        (BreaksInThreads, "test_concurrent_events_are_all_recorded"),
        (Slow, "test_it_does_not_delay_a_login"),
        (Misspelled, "test_it_is_a_plugin_with_the_event_hook"),
    ],
)
def test_each_fault_fails_the_suite(mutant: type[AuditLog], test: str) -> None:
    assert is_red(mutant, test)
