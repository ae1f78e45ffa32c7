"""A mark that changes with every revocation and tells workers when their caches are stale.

A revocation changes the mark. A worker that cached a verified token compares marks and, if they
differ, reads the CredentialStore again. The cost does not grow with the number of revocations,
because nothing is stored about revoked tokens: their records are deleted.
"""

from __future__ import annotations

import mmap
import os
from abc import ABC, abstractmethod
from pathlib import Path

from ..contracts import StateStore
from ..errors import StoreUnavailable
from ..stores.sqlite import SQLiteStateStore
from ..types import Random

MARK_BYTES = 16
MARK_KEY = "token-revocation-mark"
MARK_LIFETIME = 30 * 24 * 3600


class RevocationMark(ABC):
    """Random bytes shared by all workers; unchanged only if nothing was revoked in between."""

    @abstractmethod
    def current(self) -> bytes:
        """The mark. Raises StoreUnavailable if it cannot be read."""

    @abstractmethod
    def advance(self) -> None:
        """Change it. Raises StoreUnavailable if it cannot be changed."""


class StoredMark(RevocationMark):
    """A mark in the StateStore, for workers on several machines; reading it costs one ``get``."""

    def __init__(self, state: StateStore, random: Random) -> None:
        self._state = state
        self._random = random

    def current(self) -> bytes:
        mark = self._state.get(MARK_KEY)
        if mark is None:
            self._state.add(MARK_KEY, self._random(MARK_BYTES), MARK_LIFETIME)
            mark = self._state.get(MARK_KEY)
        if mark is None:
            raise StoreUnavailable("The state store does not keep the values stored in it.")
        return mark

    def advance(self) -> None:
        self._state.put(MARK_KEY, self._random(MARK_BYTES), MARK_LIFETIME)


class MappedMark(RevocationMark):
    """A mark in a small file that every process of one machine maps into its memory.

    For the SQLite store, next to its file: reading it copies 16 bytes instead of running a query. A
    reader may see a half-written mark; it differs from the old one, so the reader reads the
    CredentialStore again.
    """

    def __init__(self, path: Path, random: Random) -> None:
        self._path = path
        self._random = random
        self._memory: mmap.mmap | None = None

    def current(self) -> bytes:
        memory = self._memory
        return self._open()[:MARK_BYTES] if memory is None else memory[:MARK_BYTES]

    def advance(self) -> None:
        memory = self._memory or self._open()
        memory[:MARK_BYTES] = self._random(MARK_BYTES)

    def _open(self) -> mmap.mmap:
        """Threads that do this at the same time map the same file, so either mapping may be kept."""
        try:
            memory = self._memory = self._map()
        except OSError as error:
            raise StoreUnavailable(
                f"The file for token revocation cannot be used: {self._path} ({error.strerror})."
            ) from None
        return memory

    def _map(self) -> mmap.mmap:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Neither truncate nor overwrite: another process may have set a mark already.
            if os.fstat(file).st_size < MARK_BYTES:
                os.ftruncate(file, MARK_BYTES)
            return mmap.mmap(file, MARK_BYTES)
        finally:
            os.close(file)


def revocation_mark(state: StateStore, random: Random) -> RevocationMark:
    """The mark shared by all workers that use the store ``state``."""
    if isinstance(state, SQLiteStateStore):
        return MappedMark(state.path.with_name(state.path.name + "-revocation"), random)
    return StoredMark(state, random)
