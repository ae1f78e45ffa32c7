"""The revocation mark of the SQLite store: a file mapped into memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from ..contracts import MARK_BYTES, RevocationMark
from ..errors import StoreUnavailable
from ..types import Random


class MappedMark(RevocationMark):
    """A mark in a file that every process of one machine maps into its memory.

    Reading it costs a copy of 16 bytes instead of a query. A half-written mark differs from the
    whole one, so it only makes its reader read the record again.
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
        """Threads that do this at once map the same file; any map will do."""
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
            # Never shortened or overwritten: another process may have set a mark already.
            if os.fstat(file).st_size < MARK_BYTES:
                os.ftruncate(file, MARK_BYTES)
            return mmap.mmap(file, MARK_BYTES)
        finally:
            os.close(file)
