"""10,000 operations of 8 processes, with three server crashes in between."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from asok_auth_postgres import PostgresStateStore
from asok_auth_tests.linearizability import check_restarts


class Server(Protocol):
    """The fixture ``server`` of conftest.py."""

    url: str

    def start(self) -> None: ...
    def stop(self, mode: str = ...) -> None: ...


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_operations_are_linearizable_across_restarts(server: Server, tmp_path: Path) -> None:
    def restart() -> None:
        server.stop("immediate")
        server.start()

    check_restarts(partial(PostgresStateStore, server.url), tmp_path, restart, pause=0.2)
