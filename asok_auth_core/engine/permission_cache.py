"""Share compiled permission sets, so that unchanged roles compile once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from .permissions import CompiledGrants, PermissionSet, compile_grants, compile_text

MAX_SETS = 1024
MAX_GRANTS = 500_000


_Key = tuple[str, str, int]
"""Source, text, and the number of patterns in a list, or -1 for a comma-separated text."""


class PermissionCache:
    """Keeps the most recently used sets, within ``max_sets`` and ``max_grants``.

    The key is the text itself, so a changed role is another entry: entries need no invalidation, and no
    process keeps using a role that another one has changed.
    """

    def __init__(self, max_sets: int = MAX_SETS, max_grants: int = MAX_GRANTS) -> None:
        self._max_sets = max_sets
        self._max_grants = max_grants
        self._held = 0
        self._sets: OrderedDict[_Key, tuple[CompiledGrants, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sets)

    @property
    def grants(self) -> int:
        """The number of patterns in all sets."""
        return self._held

    def text(self, text: str, source: str = "") -> PermissionSet:
        """Like :func:`~asok_auth_core.engine.permissions.compile_text`."""
        key = source, text, -1
        found = self._find(key)
        if found is None:
            found = compile_text(text, source)
            self._keep(key, found)
        return found

    def patterns(self, patterns: Sequence[str], source: str = "") -> PermissionSet:
        """Like ``compile_grants``, for plain strings.

        A list with anything else in it is compiled but not kept.
        """
        if isinstance(patterns, str | bytes):
            return compile_grants(patterns, source)
        try:
            joined = "\n".join(patterns)
        except TypeError:
            return compile_grants(patterns, source)
        # A list with a line break in a pattern is never kept. So a list that has the same text as a
        # kept one, and has as many patterns, is the same list.
        key = source, joined, len(patterns)
        found = self._find(key)
        if found is None:
            found = compile_grants(patterns, source)
            if joined.count("\n") == max(len(patterns) - 1, 0):
                self._keep(key, found)
        return found

    def _find(self, key: _Key) -> CompiledGrants | None:
        with self._lock:
            found = self._sets.get(key)
            if found is None:
                return None
            self._sets.move_to_end(key)
            return found[0]

    def _keep(self, key: _Key, made: CompiledGrants) -> None:
        size = max(made.size, 1) + len(made.malformed)
        with self._lock:
            if key in self._sets or size > self._max_grants:
                return
            self._sets[key] = (made, size)
            self._held += size
            while len(self._sets) > self._max_sets or self._held > self._max_grants:
                _, (_, dropped) = self._sets.popitem(last=False)
                self._held -= dropped
