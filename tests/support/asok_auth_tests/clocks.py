"""Step the app's clock or the store server's clock under a store."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asok_auth_core.contracts import StateStore
from asok_auth_core.testing.waiting import wait_until

HOURS = 5 * 3600
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
NOTICE = 0.3
"""Seconds until a server notices the step; Valkey reads the clock ten times a second."""

Step = Callable[[int], None]
"""Sets a clock this many seconds ahead of the real time; negative: behind."""


def check_apps_clock(store: StateStore, step: int) -> None:
    """Fail if stepping the app's clock affects ``store``.

    The store should use its server's clock.
    """
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
    """Call ``start``; yield a function that steps the started processes' clock.

    Skips the test if libfaketime is not installed.
    """
    if FAKETIME is None:
        pytest.skip("libfaketime is missing, so the server's clock was not stepped: apt-get install faketime")
    # A server may run as another user, which cannot enter pytest's tmp_path.
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
    """Fail if ``store`` handles a stepped server clock other than SQLite does.

    A step forward expires entries early, a step back late; consumed values stay consumed.
    ``now`` asks the server for the time. Skips the test if the server's clock did not move.
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
