"""One process at a time works on an account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asok_auth_core.plugin import Auth

IN_PROGRESS = 300
"""Seconds for which work that was interrupted is left alone."""


@contextmanager
def alone(auth: Auth, work: str) -> Iterator[bool]:
    """True in the block if nobody else is in a block for ``work``."""
    key = f"account-alone:{work}"
    if not auth.state.add(key, b"", IN_PROGRESS):
        yield False
        return
    try:
        yield True
    finally:
        auth.state.delete(key)
