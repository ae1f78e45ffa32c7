"""Check that accounts are found by their email addresses."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding


def users(auth: Auth) -> Iterator[Finding]:
    """Report what the user directory says about its indexes."""
    yield from auth.users.check()
