"""A state store on PostgreSQL: ``AUTH["STATE_STORE"] = "postgresql://…"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from asok_auth_core.plugin import StateStore, hookimpl

from .store import PostgresStateStore

__all__ = ["PostgresStateStore"]


@hookimpl
def asok_auth_state_stores() -> Mapping[str, Callable[[str], StateStore]]:
    return dict.fromkeys(("postgresql", "postgres"), PostgresStateStore)
