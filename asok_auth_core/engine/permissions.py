"""Immutable permission sets; checks cost the same for any number of grants.

The language is Asok's: ``*`` grants everything, ``p`` grants ``p``, ``a.*`` grants everything that
starts with ``a.``; nothing else is a wildcard. A pattern can be checked too: ``a.*`` is
allowed if one grant covers all of it.

Only a few patterns match ``a.b.c``: ``a.b.c``, ``a.b.*``, ``a.*`` and ``*``. So a check looks those
up instead of trying every grant.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from ..types import Grant

MAX_LENGTH = 255
"""Characters in the longest well-formed pattern."""

MAX_VERDICTS = 256
"""How many verdicts one set remembers."""

_PART = r"[!-)+\-/-~]+"
_WELL_FORMED = re.compile(rf"(?:{_PART}\.)*(?:{_PART}|\*)")
POLICY_PATTERN = rf"\A(?:\*|(?:{_PART}\.)+(?:{_PART}|\*))\Z"
"""Well-formed patterns that are ``*`` or have at least two parts, as settings take them."""


def is_well_formed(pattern: object) -> bool:
    """True for ``*`` and for parts joined by dots, of which the last may be ``*``.

    A part is one or more visible ASCII characters other than ``*``, ``,`` and ``.``; the whole has
    at most 255 characters. Other alphabets are excluded because their look-alikes deceive readers.
    """
    return (
        isinstance(pattern, str)
        and len(pattern) <= MAX_LENGTH
        and _WELL_FORMED.fullmatch(pattern) is not None
    )


def candidates(permission: str) -> list[str]:
    """The patterns that match a well-formed ``permission``, the most specific first."""
    found = [permission]
    end = permission.rfind(".")
    if permission.endswith(".*"):
        end = permission.rfind(".", 0, end)
    while end > 0:
        found.append(permission[:end] + ".*")
        end = permission.rfind(".", 0, end)
    if permission != "*":
        found.append("*")
    return found


class PermissionSet(ABC):
    """What a user may do, immutable. Iterating yields the well-formed grants."""

    __slots__ = ("__weakref__", "_sorted", "_verdicts")

    malformed: Sequence[Grant] = ()
    """Grants that are not well formed; they grant nothing."""

    def __init__(self) -> None:
        # A plain dict: one with __missing__ would be slower.
        self._verdicts: dict[str, bool] = {}
        self._sorted: tuple[str, ...] | None = None

    def allows(self, permission: str) -> bool:
        """True if a grant matches. Anything but a well-formed permission is denied."""
        try:
            return self._verdicts[permission]
        except KeyError:
            return self._answer(permission)
        except TypeError:  # unhashable, so not a string
            return False

    def grant_for(self, permission: str) -> Grant | None:
        """The most specific grant that allows ``permission``; None if it is denied."""
        if not is_well_formed(permission):
            return None
        return self._find(candidates(str.__str__(permission)))

    def covers_any(self, pattern: str) -> bool:
        """True if a permission exists that both ``pattern`` and this set match.

        Raises ValueError if ``pattern`` is not well formed: otherwise a misspelled policy would
        silently match nobody.
        """
        if not is_well_formed(pattern):
            raise ValueError(f'{pattern!r} is not a permission pattern such as "posts.edit" or "posts.*".')
        if self.allows(pattern):
            return True
        if not pattern.endswith("*"):
            return False
        if self._sorted is None:
            self._sorted = tuple(sorted({grant.pattern for grant in self}))
        prefix = pattern[:-1]
        at = bisect_left(self._sorted, prefix)
        return at < len(self._sorted) and self._sorted[at].startswith(prefix)

    def _answer(self, permission: object) -> bool:
        """Decide; remember up to :data:`MAX_VERDICTS` verdicts on valid permissions."""
        if not isinstance(permission, str) or not is_well_formed(permission):
            return False
        plain = str.__str__(permission)  # a str enumeration hashes by its name
        verdict = self._decide(plain)
        if len(self._verdicts) >= MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[plain] = verdict
        return verdict

    @abstractmethod
    def _decide(self, permission: str) -> bool:
        """True if a grant matches the well-formed ``permission``."""

    @abstractmethod
    def __iter__(self) -> Iterator[Grant]: ...

    @abstractmethod
    def _find(self, patterns: Sequence[str]) -> Grant | None:
        """The grant for the first of ``patterns`` that is in this set."""


class CompiledGrants(PermissionSet):
    """A set of grants. Made by :func:`compile_grants`."""

    __slots__ = ("_sources", "malformed")

    def __init__(self, sources: dict[str, str], malformed: Sequence[Grant] = ()) -> None:
        """``sources`` maps well-formed patterns to sources; it must not change."""
        super().__init__()
        self._sources = sources
        self.malformed = tuple(malformed)

    @property
    def size(self) -> int:
        """The number of patterns. No ``len()``: an empty set must not be falsy."""
        return len(self._sources)

    def __iter__(self) -> Iterator[Grant]:
        return (Grant(pattern, source) for pattern, source in self._sources.items())

    def __repr__(self) -> str:
        return f"<CompiledGrants of {len(self._sources)} pattern(s)>"

    def _decide(self, permission: str) -> bool:
        sources = self._sources
        if permission in sources or "*" in sources:
            return True
        end = permission.rfind(".")
        while end > 0:
            if permission[:end] + ".*" in sources:
                return True
            end = permission.rfind(".", 0, end)
        return False

    def _find(self, patterns: Sequence[str]) -> Grant | None:
        for pattern in patterns:
            if pattern in self._sources:
                return Grant(pattern, self._sources[pattern])
        return None


class Union(PermissionSet):
    """Allows what any of its parts allows. Made by :func:`union`."""

    __slots__ = ("malformed", "parts")

    def __init__(self, parts: Sequence[PermissionSet]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.malformed = tuple(grant for part in parts for grant in part.malformed)

    def __iter__(self) -> Iterator[Grant]:
        return (grant for part in self.parts for grant in part)

    def _decide(self, permission: str) -> bool:
        return any(part.allows(permission) for part in self.parts)

    def _find(self, patterns: Sequence[str]) -> Grant | None:
        for part in self.parts:
            if grant := part._find(patterns):
                return grant
        return None


class Intersection(PermissionSet):
    """Allows what both parts allow, such as a token's scopes and its owner's grants."""

    __slots__ = ("limit", "malformed", "whole")

    def __init__(self, whole: PermissionSet, limit: PermissionSet) -> None:
        super().__init__()
        self.whole = whole
        self.limit = limit
        self.malformed = (*whole.malformed, *limit.malformed)

    def __iter__(self) -> Iterator[Grant]:
        # Two patterns overlap only if one covers the other, so the overlap is the narrower one.
        yield from (grant for grant in self.whole if self.limit.allows(grant.pattern))
        yield from (grant for grant in self.limit if self.whole.allows(grant.pattern))

    def _decide(self, permission: str) -> bool:
        return self.limit.allows(permission) and self.whole.allows(permission)

    def _find(self, patterns: Sequence[str]) -> Grant | None:
        return self.whole._find(patterns) if self.limit._find(patterns) else None


NOTHING: PermissionSet = CompiledGrants({})
"""Allows nothing."""


def compile_grants(grants: Iterable[str | Grant], source: str = "") -> CompiledGrants:
    """Compile ``grants``; a string comes from ``source``, a Grant names its own.

    Malformed grants grant nothing and are listed in ``malformed``. Raises TypeError for one bare
    string: its characters would be read as patterns, and one of them may be ``*``.
    """
    if isinstance(grants, str | bytes):
        raise TypeError(f"Grants must be a list of patterns, got the {type(grants).__name__} {grants!r}.")
    sources: dict[str, str] = {}
    malformed = []
    for given in grants:
        if isinstance(given, Grant):
            pattern, origin = given.pattern, given.source
        else:
            pattern, origin = given, source
        if is_well_formed(pattern):
            sources.setdefault(str.__str__(pattern), origin)  # a str enumeration's value, not its name
        else:
            malformed.append(Grant(pattern if isinstance(pattern, str) else repr(pattern), origin))
    return CompiledGrants(sources, malformed)


def compile_text(text: str, source: str = "") -> CompiledGrants:
    """Compile a comma-separated list, as in Asok's ``Role.permissions``."""
    return compile_grants([part for piece in text.split(",") if (part := piece.strip())], source)


def union(parts: Iterable[PermissionSet]) -> PermissionSet:
    """Allows what any of ``parts`` allows."""
    kept = [part for part in parts if part is not NOTHING]
    return kept[0] if len(kept) == 1 else Union(kept) if kept else NOTHING


def intersection(whole: PermissionSet, limit: PermissionSet) -> PermissionSet:
    """Allows what both allow."""
    return Intersection(whole, limit)
