"""Check that no plugin is quarantined or slow to import."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding

SLOW = 1.0
"""Seconds that a plugin may take to import: every worker, command and test run waits for it."""


def plugins(auth: Auth) -> Iterator[Finding]:
    """Report plugins that are broken, and those that import slowly."""
    for info in auth.plugins.infos:
        if info.import_seconds > SLOW:
            yield Finding(
                "plugins",
                "warning",
                f"Plugin {info.name!r} ({info.distribution or 'no distribution'}) took "
                f"{info.import_seconds:.1f} s to import, and every worker waits for it.",
                "Upgrade it, or ask its author to import what it needs in the functions that need it. "
                "python -X importtime shows what takes the time.",
            )
        if info.state != "quarantined":
            continue
        yield Finding(
            "plugins",
            "error",
            f"Plugin {info.name!r} is quarantined: {info.reason}.",
            f"Fix or upgrade it, or uninstall {info.distribution or 'it'}.",
        )
