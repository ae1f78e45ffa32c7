"""Compiled sets are shared by what they were made from, so that unchanged roles compile once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from .permissions import CompiledGrants, PermissionSet, compile_grants, compile_text

MAX_SETS = 1024
MAX_GRANTS = 500_000


class PermissionCache:
    """Keeps the sets used last, at most ``max_sets`` with ``max_grants`` patterns between them.

    The key is the text itself: a role that says something else is another entry, so nothing has to
    be told that a role has changed, and no process can hold on to what another one took away.
    """

    def __init__(self, max_sets: int = MAX_SETS, max_grants: int = MAX_GRANTS) -> None:
        self._max_sets = max_sets
        self._max_grants = max_grants
        self._held = 0
        self._sets: OrderedDict[tuple[str, str, bool], tuple[PermissionSet, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sets)

    @property
    def grants(self) -> int:
        """How many patterns the sets in here hold."""
        return self._held

    def text(self, text: str, source: str = "") -> PermissionSet:
        """As :func:`~asok_auth_core.engine.permissions.compile_text`."""
        return self._get((source, text, False), lambda: compile_text(text, source))

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
        if joined.count("\n") != max(len(patterns) - 1, 0):  # two lists could read the same
            return compile_grants(patterns, source)
        return self._get((source, joined, True), lambda: compile_grants(patterns, source))

    def _get(self, key: tuple[str, str, bool], build: Callable[[], PermissionSet]) -> PermissionSet:
        found = self._sets.get(key)
        if found is not None:
            with self._lock:
                if key in self._sets:
                    self._sets.move_to_end(key)
            return found[0]
        made = build()
        size = max(made.size if isinstance(made, CompiledGrants) else 0, 1) + len(made.malformed)
        if size <= self._max_grants:
            with self._lock:
                self._keep(key, made, size)
        return made

    def _keep(self, key: tuple[str, str, bool], made: PermissionSet, size: int) -> None:
        if key in self._sets:
            return
        self._sets[key] = (made, size)
        self._held += size
        while len(self._sets) > self._max_sets or self._held > self._max_grants:
            _, (_, dropped) = self._sets.popitem(last=False)
            self._held -= dropped
