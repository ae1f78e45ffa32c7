"""Clocks stepped on purpose: the app's own, and that of a server which keeps its state."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..contracts import StateStore
from .waiting import wait_until

HOURS = 5 * 3600
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
NOTICE = 0.3
"""Seconds after which a server knows of the step; Valkey looks at the clock ten times a second."""

Step = Callable[[int], None]
"""Puts a clock this many seconds before or after the true time."""


def check_apps_clock(store: StateStore, step: int) -> None:
    """Fails if it matters to ``store``, whose clock is a server's, that the app's is stepped."""
    real = time.time
    store.put("taken", b"v", 600)
    store.put("left", b"v", 600)
    store.put("over", b"v", 1)
    assert store.take("taken") == b"v"
    assert store.incr("counter", 600) == 1
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(time, "time", lambda: real() + step)
        assert store.take("taken") is None
        assert store.get("left") == b"v"
        assert store.incr("counter", 600) == 2
        time.sleep(1.1)
        assert store.take("over") is None


@contextmanager
def steppable_clock(start: Callable[[], None]) -> Iterator[Step]:
    """Call ``start``; what steps the clock of the processes it started. Without libfaketime, skip."""
    if FAKETIME is None:
        pytest.skip("libfaketime is missing, so the server's clock was not stepped: apt-get install faketime")
    # Not pytest's folder: a server may run as another user, who must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="clock"))
    folder.chmod(0o755)
    offset = folder / "offset"

    def step(seconds: int) -> None:
        offset.write_text(f"{seconds:+d}\n")

    try:
        step(0)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("LD_PRELOAD", str(FAKETIME))
            environment.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
            environment.setenv("FAKETIME_NO_CACHE", "1")
            environment.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            start()
        yield step
    finally:
        shutil.rmtree(folder)


def check_servers_clock(store: StateStore, step: Step, seconds: int, now: Callable[[], float]) -> None:
    """As on SQLite: forward ends early, back lets live longer; what was used stays used.

    ``now`` asks the server for the time. If it was not stepped, the test is skipped.
    """
    for key in ("taken", "left"):
        store.put(key, b"v", 600)
    assert store.take("taken") == b"v"
    assert store.incr("counter", 600) == 1
    step(seconds)
    try:
        wait_until(lambda: abs(now() - time.time() - seconds) < 60, "the server's clock to be stepped")
    except TimeoutError:
        pytest.skip("libfaketime does not reach this build of the server, so its clock was not stepped")
    time.sleep(NOTICE)
    assert store.take("taken") is None
    left = None if seconds > 0 else b"v"
    wait_until(lambda: store.get("left") == left, f"{left!r} by the stepped clock")
    assert store.incr("counter", 600) == (1 if seconds > 0 else 2)
    step(0)
    time.sleep(NOTICE)
    assert store.take("taken") is None
