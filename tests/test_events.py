"""Events: what observers are told, and when."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from asok_auth_core.contracts import MailTransport
from asok_auth_core.errors import RateLimited
from asok_auth_core.events import Events
from asok_auth_core.limits import Limits
from asok_auth_core.plugin import Event, hookimpl
from asok_auth_core.startup import start
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.testing.fakes import FakeUser, FrozenClock, MemoryCredentialStore, MemoryUsers
from asok_auth_core.types import OutgoingMail


class Observer:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        self.events.append(event)


def test_an_event_has_a_time_a_user_and_details(caplog: pytest.LogCaptureFixture) -> None:
    observer, clock = Observer(), FrozenClock(1_790_000_000)
    events = Events(observer, clock)
    with caplog.at_level(logging.INFO, "asok_auth"):
        events.emit(
            "login.succeeded", user=FakeUser("7"), method="magic", client_ip="192.0.2.1", factor="totp"
        )
    clock.advance(5)
    events.emit("mail.sent", domain="app.example")
    assert observer.events == [
        Event("login.succeeded", 1_790_000_000, "7", "magic", "192.0.2.1", {"factor": "totp"}),
        Event("mail.sent", 1_790_000_005, None, None, None, {"domain": "app.example"}),
    ]
    assert "login.succeeded user=7 method=magic client_ip=192.0.2.1 {'factor': 'totp'}" in caplog.text


def test_a_user_without_an_id_counts_as_no_user() -> None:
    observer = Observer()
    Events(observer, FrozenClock()).emit("account.created", user=FakeUser(None))
    assert observer.events[0].user_id is None


def test_limits_emit_each_attempt_they_reject() -> None:
    observer, clock = Observer(), FrozenClock(1_790_000_000)
    limits = Limits(MemoryStateStore(clock=clock), Events(observer, clock), clock)
    limits.hit("login", "ada", limit=1, window=60)
    assert observer.events == []
    with pytest.raises(RateLimited):
        limits.hit("login", "ada", limit=1, window=60)
    assert observer.events == [Event("attempt.limited", 1_790_000_000, detail={"what": "login"})]


def test_an_app_that_started_tells_its_plugins_of_mails_and_limits(tmp_path: Path) -> None:
    seen: list[Event] = []

    class Plugin:
        @hookimpl
        def asok_auth_event(self, event: Event) -> None:
            seen.append(event)

        @hookimpl
        def asok_auth_mail_transports(self) -> dict[str, type[MailTransport]]:
            return {"nowhere": Nowhere}

    class Nowhere(MailTransport):
        def send(self, mail: OutgoingMail) -> None:
            return

    clock = FrozenClock(1_790_000_000)
    auth = start(
        {"SECRET_KEY": "k" * 32, "AUTH": {"STATE_STORE": "memory:", "MAIL_TRANSPORT": "nowhere"}},
        {},
        root=tmp_path,
        users=MemoryUsers(),
        credentials=lambda clock, random: MemoryCredentialStore(clock),
        plugins=[Plugin()],
        entry_points=(),
        clock=clock,
    )
    auth.outbox.post(OutgoingMail("ada@Example.org", "Hello", "text")).wait(60)
    with pytest.raises(RateLimited):
        auth.limits.hit("login", "ada", limit=0, window=60)
    auth.outbox.close()
    assert seen == [
        Event("mail.sent", 1_790_000_000, detail={"domain": "example.org", "error": None}),
        Event("attempt.limited", 1_790_000_000, detail={"what": "login"}),
    ]
