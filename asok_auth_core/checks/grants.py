"""Check that the grants of the app's roles are well formed."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..engine.permissions import is_well_formed
from ..types import Finding


def grants(auth: Auth) -> Iterator[Finding]:
    """Report malformed grants of the app's roles; they grant nothing."""
    for grant in auth.users.grants():
        if not is_well_formed(grant.pattern):
            yield Finding(
                "grants",
                "warning",
                f"{grant.pattern[:80]!r} of {grant.source} is malformed and grants nothing.",
                'Write it as "posts.edit", "posts.*" or "*"; there are no other wildcards.',
            )
