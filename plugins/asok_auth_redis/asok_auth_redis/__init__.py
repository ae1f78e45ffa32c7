"""A state store on Redis or Valkey: ``AUTH["STATE_STORE"] = "redis://…"``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from asok_auth_core.contracts import StateStore
from asok_auth_core.hookspecs import hookimpl
from asok_auth_core.types import Finding

from .durability import findings
from .store import RedisStateStore
from .url import SCHEMES

if TYPE_CHECKING:
    from asok_auth_core.auth import Auth

__all__ = ["RedisStateStore"]


@hookimpl
def asok_auth_state_stores() -> Mapping[str, Callable[[str], StateStore]]:
    return dict.fromkeys(SCHEMES, RedisStateStore)


@hookimpl
def asok_auth_checks(auth: Auth) -> Iterable[Finding]:
    return findings(auth.state) if isinstance(auth.state, RedisStateStore) else ()
