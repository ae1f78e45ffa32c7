"""Check, for ``asok-auth doctor``, that the server does not lose data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from asok_auth_core.plugin import Finding

CHECK = "redis"


def findings(info: Sequence[Mapping[str, object]]) -> Iterator[Finding]:
    """Report settings with which a code or link could be used twice.

    ``info`` is the INFO of each server.
    """
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
