"""Repeat an action of a transaction after its commit or rollback.

Asok counts open transactions per engine and thread. ``transaction`` of its engines is changed once for the
process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import cast

from asok.orm.engines.base import BaseEngine
from asok.orm.engines.mysql import MySQLEngine
from asok.orm.engines.postgres import PostgresEngine
from asok.orm.engines.sqlite import SQLiteEngine

from ..asok_names import original
from ..connections import in_transaction

_AGAIN = "_asok_auth_again"
_ASOK_TRANSACTIONS = {
    engine: original(engine, "transaction") for engine in (SQLiteEngine, PostgresEngine, MySQLEngine)
}


def install_on_engines() -> None:
    """Notice the end of each transaction. Idempotent."""
    for engine, transaction in _ASOK_TRANSACTIONS.items():
        engine.transaction = _watched(transaction)


def again_after_transaction(engine: BaseEngine, action: Callable[[], object]) -> None:
    """Call ``action`` after the calling thread's transaction was committed or undone."""
    waiting = getattr(engine._local, _AGAIN, None)
    if waiting is None:
        setattr(engine._local, _AGAIN, waiting := [])
    waiting.append(action)


class _Watched(AbstractContextManager[object]):
    """One transaction of Asok's."""

    def __init__(self, engine: BaseEngine, transaction: AbstractContextManager[object]) -> None:
        self._engine = engine
        self._transaction = transaction

    def __enter__(self) -> object:
        return self._transaction.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return self._transaction.__exit__(kind, error, trace)
        finally:
            if not in_transaction(self._engine):
                waiting = cast("list[Callable[[], object]]", self._engine._local.__dict__.pop(_AGAIN, []))
                # A stack calls the last one first, and all of them, whatever one of them raises.
                with ExitStack() as stack:
                    for action in reversed(waiting):
                        stack.callback(action)


def _watched(transaction: Callable[[BaseEngine], AbstractContextManager[object]]) -> Callable[..., _Watched]:
    @functools.wraps(transaction)
    def watched(engine: BaseEngine) -> _Watched:
        return _Watched(engine, transaction(engine))

    return watched
