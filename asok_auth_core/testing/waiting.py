"""Waits and time limits that hold on a busy machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

PATIENCE = 300.0
"""Seconds to wait for what happens soon on an idle machine; a whole machine can stand still for minutes."""

NAP = 0.01


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> None:
    """Return once ``condition()`` is true.

    Raises TimeoutError, naming ``what``, after ``seconds``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"Timed out after {seconds:g} s waiting for: {what}")
        time.sleep(NAP)


class Stopwatch:
    """Measure a ``with`` block, without time in which the process had no core.

    A thread counts naps of 10 ms. On an idle machine they add up to the true time. On a busy one the
    thread wakes up late, as the measured code does, and counts less; it never counts more. So an
    upper limit can be asserted while other processes use all cores.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> Stopwatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._done.wait(NAP):
            self.seconds += NAP
