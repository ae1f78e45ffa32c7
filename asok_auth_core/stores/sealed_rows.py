"""Rows of the credential store whose data a secret key protects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from ..contracts import CredentialStore, SealedValues
from ..engine.keys import KeyRing
from ..types import JSON, Credential
from .rows import change_row, rows_of_kind


class SealedRows(SealedValues[Credential]):
    """All rows of one ``kind``; a subclass says how one is sealed again.

    ``keys`` is the app's key ring.
    """

    kind: ClassVar[str]

    def __init__(self, credentials: CredentialStore, keys: KeyRing) -> None:
        self.credentials = credentials
        self.keys = keys

    def all(self) -> Iterator[Credential]:
        return rows_of_kind(self.credentials, self.kind)

    def user_id(self, value: Credential) -> str:
        return value.user_id

    def reseal(self, value: Credential) -> bool:
        newest = self.keys.newest()

        def sealed(row: Credential | None) -> JSON:
            # Read again if another process changed it: it may be sealed already, and must not be undone.
            return None if row is None or self.is_readable(row, newest) else self.resealed(row)

        busy = f"A row of kind {self.kind!r} is being changed by other processes. Run the command again."
        return change_row(self.credentials, self.kind, value.identifier, sealed, busy=busy) is not None

    @abstractmethod
    def resealed(self, row: Credential) -> JSON:
        """The data of ``row``, sealed with the newest key and otherwise unchanged.

        Raises SealError if no key opens it.
        """
