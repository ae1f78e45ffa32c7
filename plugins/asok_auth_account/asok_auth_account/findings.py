"""What ``asok-auth doctor`` says about accounts."""

from __future__ import annotations

from collections.abc import Iterator

from asok_auth_core.plugin import Auth, Finding

from .deletion import Deletions, order_row

LATE = 86_400
"""Seconds after which an account that is still there has been forgotten."""


def findings(auth: Auth) -> Iterator[Finding]:
    """See ``asok_auth_checks``."""
    late = [row for row in Deletions(auth).due() if order_row(row).due <= auth.clock() - LATE]
    if late:
        yield Finding(
            "account",
            "error",
            f"{len(late)} accounts should have been deleted a day ago or earlier.",
            "Run asok-auth account purge once an hour, and see what it says.",
        )
