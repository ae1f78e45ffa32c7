"""Stepping clocks finds stores that depend on the wrong clock."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from asok_auth_tests import clocks
from asok_auth_tests.clocks import HOURS, check_apps_clock, check_servers_clock, steppable_clock

from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.testing.waiting import wait_until

TRUE_TIME = time.time


class ServersClock:
    """A server's clock, ``reached`` by the step or not."""

    def __init__(self, reached: bool = True) -> None:
        self.reached = reached
        self.offset = 0

    def step(self, seconds: int) -> None:
        self.offset = seconds * self.reached

    def __call__(self) -> float:
        return TRUE_TIME() + self.offset


class Undying(MemoryStateStore):
    """What was taken is there again once the clock goes back."""

    def take(self, key: str) -> bytes | None:
        value = self.get(key)
        if value is not None:
            self.put(f"undo {key}", value, 600)
            self.delete(key)
        return value or (self.get(f"undo {key}") if self._clock() < TRUE_TIME() - 60 else None)


class TestTheAppsClock:
    def test_a_store_with_a_servers_clock_passes(self) -> None:
        check_apps_clock(MemoryStateStore(clock=ServersClock()), HOURS)
        assert abs(time.time() - TRUE_TIME()) < 60

    def test_a_store_that_uses_the_apps_clock_fails(self) -> None:
        with pytest.raises(AssertionError):
            check_apps_clock(MemoryStateStore(clock=lambda: time.time()), HOURS)
        assert abs(time.time() - TRUE_TIME()) < 60


class TestTheServersClock:
    @pytest.fixture(autouse=True)
    def noticed_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clocks, "NOTICE", 0)

    @pytest.mark.parametrize("seconds", [HOURS, -HOURS])
    def test_a_sound_store_passes(self, seconds: int) -> None:
        clock = ServersClock()
        check_servers_clock(MemoryStateStore(clock), clock.step, seconds, clock)
        assert clock.offset == 0

    @pytest.mark.requirement("SECURITY-1")
    def test_a_store_that_returns_a_taken_value_fails(self) -> None:
        clock = ServersClock()
        with pytest.raises(AssertionError):
            check_servers_clock(Undying(clock), clock.step, -HOURS, clock)

    def test_a_server_clock_that_cannot_be_stepped_skips(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clocks, "wait_until", partial(wait_until, seconds=0.05))
        clock = ServersClock(reached=False)
        with pytest.raises(pytest.skip.Exception, match="does not reach this build"):
            check_servers_clock(MemoryStateStore(clock), clock.step, HOURS, clock)

    def test_only_the_started_process_gets_the_stepped_clock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = dict(os.environ)
        started: dict[str, str] = {}
        monkeypatch.setattr(clocks, "FAKETIME", tmp_path)
        with steppable_clock(lambda: started.update(os.environ)) as step:
            assert dict(os.environ) == before
            assert started["LD_PRELOAD"] == str(tmp_path)
            file = Path(started["FAKETIME_TIMESTAMP_FILE"])
            assert file.read_text() == "+0\n"
            step(-HOURS)
            assert file.read_text() == "-18000\n"
        assert not file.parent.exists()

    def test_without_libfaketime_the_test_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clocks, "FAKETIME", None)
        with (
            pytest.raises(pytest.skip.Exception, match="libfaketime"),
            steppable_clock(lambda: None),
        ):
            pass
