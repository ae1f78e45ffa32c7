"""Check, for ``asok-auth doctor``, that the server does not lose data."""

from __future__ import annotations

from collections.abc import Iterator

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.types import Finding

from .store import RedisStateStore

CHECK = "redis"


def findings(store: RedisStateStore) -> Iterator[Finding]:
    """Report server settings with which a code or link could be used twice."""
    try:
        store.get("doctor")
    except StoreUnavailable as error:
        yield Finding(CHECK, "error", error.message, 'Start the server or correct AUTH["STATE_STORE"].')
        return
    try:
        info = store.info()
    except StoreUnavailable:
        yield Finding(
            CHECK,
            "info",
            "This user may not run INFO, so the server's settings were not checked.",
        )
        return
    policies = {str(node.get("maxmemory_policy")) for node in info if node.get("maxmemory")}
    for policy in sorted(policies - {"noeviction"}):
        yield Finding(
            CHECK,
            "warning",
            f"maxmemory-policy is {policy}: short of memory, the server forgets which codes were used.",
            "Set maxmemory-policy noeviction, or use a separate server for this store.",
        )
    if any(not node.get("aof_enabled") for node in info):
        yield Finding(
            CHECK,
            "warning",
            "appendonly is off: after a restart, the server does not know which codes were used.",
            "Set appendonly yes; see docs/operations.md.",
        )
