"""The names of each account's second factors, which the core keeps in one row."""

from __future__ import annotations

import msgspec

from ..auth import Auth
from ..errors import StoreUnavailable
from ..types import Credential

KIND = "second_factors"


class _Row(msgspec.Struct, frozen=True):
    names: tuple[str, ...]


def kept_names(auth: Auth, user_id: str) -> frozenset[str]:
    """The names that the core keeps for this user. Raises StoreUnavailable."""
    return names_in(auth.credentials.find(KIND, user_id))


def names_in(row: Credential | None) -> frozenset[str]:
    """The names in one user's row. Raises StoreUnavailable if it cannot be read."""
    if row is None:
        return frozenset()
    try:
        return frozenset(msgspec.json.decode(row.data, type=_Row).names)
    except (msgspec.MsgspecError, ValueError):
        raise StoreUnavailable("The record of this account's second factors cannot be read.") from None
