"""Check that no plugin is quarantined."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding


def plugins(auth: Auth) -> Iterator[Finding]:
    """Report plugins that were not loaded because they are broken."""
    for info in auth.plugins.infos:
        if info.state != "quarantined":
            continue
        yield Finding(
            "plugins",
            "error",
            f"Plugin {info.name!r} is quarantined: {info.reason}.",
            f"Fix or upgrade it, or uninstall {info.distribution or 'it'}.",
        )
