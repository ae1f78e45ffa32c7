"""Change one row of the credential store by compare and swap; read all of a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..contracts import CredentialStore
from ..errors import CredentialExists, StoreUnavailable
from ..types import JSON, Credential

TRIES = 20
"""Attempts to change a row; an attempt fails only if a concurrent one succeeds."""

PAGE = 200
"""Rows read at once."""


def rows_of_kind(credentials: CredentialStore, kind: str) -> Iterator[Credential]:
    """The rows of all users; they may change during the iteration.

    Raises StoreUnavailable, and ConfigurationError if the store cannot tell.
    """
    after = ""
    while rows := credentials.of_kind(kind, after, PAGE):
        yield from rows
        after = rows[-1].identifier


@dataclass(frozen=True, slots=True)
class Changed:
    """The row after a change; ``added``: there was none before."""

    row: Credential
    added: bool = False


def change_row(
    credentials: CredentialStore,
    kind: str,
    identifier: str,
    change: Callable[[Credential | None], JSON],
    *,
    owner: str | None = None,
    busy: str = "This account is being changed by other requests. Please try again.",
) -> Changed | None:
    """Replace a row's data by the result of ``change``.

    The row is ``(kind, identifier)``. ``change`` may be called several times, gets None if there is no row,
    and returns None to leave all as it is; then this returns None too. A missing row is added for the user id
    ``owner``, and left missing without one. Raises StoreUnavailable with the text ``busy`` if concurrent
    changes keep winning.
    """
    for _ in range(TRIES):
        row = credentials.find(kind, identifier)
        if row is None and owner is None:
            return None
        data = change(row)
        if data is None:
            return None
        if row is not None:
            replaced = credentials.replace(row, data)
            if replaced is not None:
                return Changed(replaced)
        elif owner is not None:
            try:
                return Changed(credentials.add(owner, kind, identifier, data), added=True)
            except CredentialExists:
                continue
    raise StoreUnavailable(busy)


def add_row(credentials: CredentialStore, user_id: str, kind: str, identifier: str, data: JSON) -> Changed:
    """Add a row for ``user_id``, or return that of a faster concurrent request.

    The row is ``(kind, identifier)``. Raises StoreUnavailable if concurrent requests keep adding the row and
    removing it again.
    """
    for _ in range(TRIES):
        try:
            return Changed(credentials.add(user_id, kind, identifier, data), added=True)
        except CredentialExists:
            row = credentials.find(kind, identifier)
            if row is not None:
                return Changed(row)
    raise StoreUnavailable("This account is being changed by other requests. Please try again.")
