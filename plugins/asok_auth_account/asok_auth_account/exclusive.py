"""One process at a time works on an account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asok_auth_core.plugin import Auth, StoreUnavailable

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


@contextmanager
def moving(auth: Auth, user_id: str) -> Iterator[None]:
    """Only one request at a time changes the email address of an account.

    Otherwise a change or an undo of an attacker that is in progress would outlive the owner's undo. Raises
    StoreUnavailable if another request is at work.
    """
    with alone(auth, f"email:{user_id}") as is_alone:
        if not is_alone:
            raise StoreUnavailable("This account is being changed by other requests. Please try again.")
        yield
