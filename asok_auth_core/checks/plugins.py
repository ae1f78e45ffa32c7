"""Is every installed plugin in use?"""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding


def plugins(auth: Auth) -> Iterator[Finding]:
    """Plugins that are kept out because they are broken."""
    for info in auth.plugins.infos:
        if info.state != "quarantined":
            continue
        yield Finding(
            "plugins",
            "error",
            f"Plugin {info.name!r} is quarantined: {info.reason}.",
            f"Repair or upgrade it, uninstall {info.distribution or 'it'}, or leave it out of "
            'AUTH["PLUGINS"].',
        )
