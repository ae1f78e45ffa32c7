"""Do the app's roles grant what their author meant?"""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..engine.permissions import is_well_formed
from ..types import Finding


def grants(auth: Auth) -> Iterator[Finding]:
    """Grants of the app's own roles that are not well formed, and so grant nothing."""
    for grant in auth.users.grants():
        if not is_well_formed(grant.pattern):
            yield Finding(
                "grants",
                "warning",
                f"{grant.pattern[:80]!r} of {grant.source} is no permission and grants nothing.",
                'Write it as "posts.edit", "posts.*" or "*"; nothing else is a wildcard.',
            )
