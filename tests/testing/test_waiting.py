"""Waiting ends in time; a stopwatch ignores time without a core."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from asok_auth_core.testing.waiting import Stopwatch, wait_until

MEASURED = """
import sys, time
from asok_auth_core.testing.waiting import Stopwatch

with Stopwatch() as watch:
    begin = time.monotonic()
    print("measuring", flush=True)
    sys.stdin.readline()
    took = time.monotonic() - begin
print(took, watch.seconds)
"""


def test_waiting_ends_with_what_is_waited_for() -> None:
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), "three questions")
    assert list(answers) == []


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(TimeoutError, match="waiting for: the end of time"):
        wait_until(lambda: False, "the end of time", seconds=0.05)


def test_a_stopwatch_counts_while_time_passes_and_never_more() -> None:
    begin = time.monotonic()
    with Stopwatch() as watch:
        wait_until(lambda: watch.seconds > 0.2, "20 naps")
    assert 0.2 < watch.seconds <= time.monotonic() - begin
    stopped = watch.seconds
    time.sleep(0.05)
    assert watch.seconds == stopped


def test_a_stopwatch_leaves_out_what_the_process_was_kept_waiting() -> None:
    """A stopped process stands for one that gets no core for a second."""
    with subprocess.Popen(
        [sys.executable, "-c", MEASURED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "measuring\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        process.send_signal(signal.SIGCONT)
        took, counted = map(float, process.communicate("\n")[0].split())
    assert took > 1
    assert took - counted > 0.9
