"""10,000 operations of 8 processes, with three server crashes in between."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from asok_auth_postgres import PostgresStateStore
from asok_auth_tests.linearizability import record_together, unexplained


class Server(Protocol):
    """The fixture ``server`` of conftest.py."""

    url: str

    def start(self) -> None: ...
    def stop(self, mode: str = ...) -> None: ...


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_operations_are_linearizable_across_restarts(server: Server, tmp_path: Path) -> None:
    def restart() -> None:
        for _ in range(3):
            time.sleep(0.2)
            server.stop("immediate")
            server.start()

    store = partial(PostgresStateStore, server.url)
    history = record_together(store, tmp_path / "restarts", 4000, keys=250, disturb=restart)
    unanswered = sum(operation.end == float("inf") for operation in history)
    history += record_together(store, tmp_path / "calm", 8000, keys=250)
    assert unanswered > 0, "the restarts were felt"
    assert len(history) - unanswered > 10_000
    assert unexplained(history) == []
