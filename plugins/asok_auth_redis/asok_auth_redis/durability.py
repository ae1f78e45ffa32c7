"""What ``asok-auth doctor`` says about a server that may forget."""

from __future__ import annotations

from collections.abc import Iterator

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.types import Finding

from .store import RedisStateStore

CHECK = "redis"


def findings(store: RedisStateStore) -> Iterator[Finding]:
    """Settings of the server under which single use does not hold."""
    try:
        store.get("doctor")
    except StoreUnavailable as error:
        yield Finding(CHECK, "error", error.message, "Start the server or correct AUTH[STATE_STORE].")
        return
    try:
        info = store.info()
    except StoreUnavailable:
        yield Finding(
            CHECK, "info", "The server does not let this user run INFO, so its settings were not checked."
        )
        return
    policies = {str(node.get("maxmemory_policy")) for node in info if node.get("maxmemory")}
    for policy in sorted(policies - {"noeviction"}):
        yield Finding(
            CHECK,
            "warning",
            f"maxmemory-policy is {policy}: when memory is short, the server forgets which codes were used.",
            "Set maxmemory-policy noeviction, or use a server of its own for this.",
        )
    if any(not node.get("aof_enabled") for node in info):
        yield Finding(
            CHECK,
            "warning",
            "appendonly is off: after a restart the server has forgotten which codes were used.",
            "Set appendonly yes; see docs/operations.md.",
        )
