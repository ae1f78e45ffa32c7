"""Compiled sets are shared by what they were made from, so that unchanged roles compile once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from .permissions import CompiledGrants, PermissionSet, compile_grants, compile_text

MAX_SETS = 1024
MAX_GRANTS = 500_000


_Key = tuple[str, str, int]
"""Source, text, and the number of patterns in a list, or -1 for a text that is yet to be split."""


class PermissionCache:
    """Keeps the sets used last, at most ``max_sets`` with ``max_grants`` patterns between them.

    The key is the text itself: a role that says something else is another entry, so nothing has to
    be told that a role has changed, and no process can hold on to what another one took away.
    """

    def __init__(self, max_sets: int = MAX_SETS, max_grants: int = MAX_GRANTS) -> None:
        self._max_sets = max_sets
        self._max_grants = max_grants
        self._held = 0
        self._sets: OrderedDict[_Key, tuple[PermissionSet, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sets)

    @property
    def grants(self) -> int:
        """How many patterns the sets in here hold."""
        return self._held

    def text(self, text: str, source: str = "") -> PermissionSet:
        """As :func:`~asok_auth_core.engine.permissions.compile_text`."""
        key = source, text, -1
        found = self._find(key)
        if found is None:
            found = compile_text(text, source)
            self._keep(key, found)
        return found

    def patterns(self, patterns: Sequence[str], source: str = "") -> PermissionSet:
        """As :func:`~asok_auth_core.engine.permissions.compile_grants`, for plain strings.

        Whatever else is among them is refused without being kept.
        """
        if isinstance(patterns, str | bytes):
            return compile_grants(patterns, source)
        try:
            joined = "\n".join(patterns)
        except TypeError:
            return compile_grants(patterns, source)
        # A list with a line break inside a pattern is never kept, so one that reads the same as a
        # kept one and has as many patterns has none either: it is the same list.
        found = self._find((source, joined, len(patterns)))
        if found is not None:
            return found
        made = compile_grants(patterns, source)
        if joined.count("\n") == max(len(patterns) - 1, 0):
            self._keep((source, joined, len(patterns)), made)
        return made

    def _find(self, key: _Key) -> PermissionSet | None:
        with self._lock:
            found = self._sets.get(key)
            if found is None:
                return None
            self._sets.move_to_end(key)
            return found[0]

    def _keep(self, key: _Key, made: PermissionSet) -> None:
        size = max(made.size if isinstance(made, CompiledGrants) else 0, 1) + len(made.malformed)
        with self._lock:
            if key in self._sets or size > self._max_grants:
                return
            self._sets[key] = (made, size)
            self._held += size
            while len(self._sets) > self._max_sets or self._held > self._max_grants:
                _, (_, dropped) = self._sets.popitem(last=False)
                self._held -= dropped
