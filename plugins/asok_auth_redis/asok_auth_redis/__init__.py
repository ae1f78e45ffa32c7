"""A state store on Redis or Valkey: ``AUTH["STATE_STORE"] = "redis://…"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from asok_auth_core.plugin import StateStore, hookimpl

from .store import RedisStateStore
from .url import SCHEMES

__all__ = ["RedisStateStore"]


@hookimpl
def asok_auth_state_stores() -> Mapping[str, Callable[[str], StateStore]]:
    return dict.fromkeys(SCHEMES, RedisStateStore)
