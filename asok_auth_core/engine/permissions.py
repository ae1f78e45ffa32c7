"""Permission sets: immutable, and a check costs the depth of the permission, not the number of grants.

The language is Asok's: ``*`` grants everything, ``p`` grants ``p``, ``a.*`` grants everything that
starts with ``a.``; nothing else is a wildcard. A pattern may be asked for as well: ``a.*`` is
allowed if one grant covers all of it.

Of the patterns that match ``a.b.c`` there are only as many as it has parts: ``a.b.c``, ``a.b.*``,
``a.*`` and ``*``. So a check looks those up instead of trying every grant.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from ..types import Grant

MAX_LENGTH = 255
"""Characters in the longest well-formed pattern."""

MAX_VERDICTS = 256
"""How many answers one set remembers."""

_PART = r"[!-)+\-/-~]+"
_WELL_FORMED = re.compile(rf"\*|{_PART}(?:\.{_PART})*(?:\.\*)?")
POLICY_PATTERN = rf"\A(?:\*|(?:{_PART}\.)+(?:{_PART}|\*))\Z"
"""Well-formed patterns that are ``*`` or have at least two parts, as settings take them."""
_ALPHABET = bytes(range(0x21, 0x7F))
_COMMA_TO_DOT = bytes.maketrans(b",", b".")


def is_well_formed(pattern: object) -> bool:
    """True for ``*`` and for parts joined by single dots, the last of which may be ``*``.

    A part is one or more visible ASCII characters other than ``*``, ``,`` and ``.``; the whole has
    at most 255 characters. Other alphabets are left out because their look-alikes deceive readers.
    """
    return (
        isinstance(pattern, str)
        and len(pattern) <= MAX_LENGTH
        and _WELL_FORMED.fullmatch(pattern) is not None
    )


def candidates(permission: str) -> list[str]:
    """The patterns that match a well-formed ``permission``, the closest first."""
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
    """What somebody may do. Iterating gives the well-formed grants; never changes once made."""

    __slots__ = ("__weakref__", "_sorted", "_verdicts")

    malformed: Sequence[Grant] = ()
    """Grants that are not well formed; they grant nothing."""

    def __init__(self) -> None:
        # A plain dict and not one with __missing__: the interpreter has a shorter way through it.
        self._verdicts: dict[str, bool] = {}
        self._sorted: tuple[str, ...] | None = None

    def allows(self, permission: str) -> bool:
        """True if a grant matches. Whatever is not a well-formed permission is denied."""
        try:
            return self._verdicts[permission]
        except KeyError:
            return self._answer(permission)
        except TypeError:  # unhashable, so not a string
            return False

    def grant_for(self, permission: str) -> Grant | None:
        """The grant that allows ``permission``, the closest first; None if it is denied."""
        if not is_well_formed(permission):
            return None
        return self._find(candidates(str.__str__(permission)))

    def covers_any(self, pattern: str) -> bool:
        """True if a permission exists that both ``pattern`` and this set match.

        Raises ValueError if ``pattern`` is not well formed, because the caller would otherwise take
        a misspelt policy for one that concerns nobody.
        """
        if not is_well_formed(pattern):
            raise ValueError(f"{pattern!r} is not a permission pattern.")
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
        """Decide, and remember answers to well-formed questions, at most :data:`MAX_VERDICTS`."""
        if not isinstance(permission, str) or not is_well_formed(permission):
            return False
        plain = str.__str__(permission)  # a member of a str enumeration hashes by its name
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
        """The grant for the first of ``patterns`` that is held; they are a permission's candidates."""


class CompiledGrants(PermissionSet):
    """Grants as they were given. Made by :func:`compile_grants`."""

    __slots__ = ("_sources", "malformed")

    def __init__(self, sources: dict[str, str], malformed: Sequence[Grant] = ()) -> None:
        """``sources`` maps well-formed patterns to where they come from; it must not change later."""
        super().__init__()
        self._sources = sources
        self.malformed = tuple(malformed)

    @property
    def size(self) -> int:
        """How many patterns it holds. No ``len()``: an empty set must not count as a missing one."""
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
    """Allows only what both sides allow, such as an API token's scopes and its owner's grants."""

    __slots__ = ("limit", "malformed", "whole")

    def __init__(self, whole: PermissionSet, limit: PermissionSet) -> None:
        super().__init__()
        self.whole = whole
        self.limit = limit
        self.malformed = (*whole.malformed, *limit.malformed)

    def __iter__(self) -> Iterator[Grant]:
        # Two patterns overlap only if one covers the other, so the narrower ones are the overlap.
        yield from (grant for grant in self.whole if self.limit.allows(grant.pattern))
        yield from (grant for grant in self.limit if self.whole.allows(grant.pattern))

    def _decide(self, permission: str) -> bool:
        return self.limit.allows(permission) and self.whole.allows(permission)

    def _find(self, patterns: Sequence[str]) -> Grant | None:
        return self.whole._find(patterns) if self.limit._find(patterns) else None


NOTHING: PermissionSet = CompiledGrants({})
"""Allows nothing."""


def compile_grants(grants: Iterable[str | Grant], source: str = "") -> PermissionSet:
    """The set of ``grants``. A plain string comes from ``source``, a Grant says so itself.

    What is neither, or not well formed, grants nothing and is in ``malformed``. Raises TypeError for
    one bare string: its characters would be read as patterns, and one of them may be ``*``.
    """
    if isinstance(grants, str | bytes):
        raise TypeError(f"Grants must be a list of patterns, got the {type(grants).__name__} {grants!r}.")
    given = list(grants)
    kinds = set(map(type, given))
    if not kinds <= {str, Grant}:
        return _compile_each(given, source)
    patterns: list[str]
    if Grant in kinds:
        patterns = [item.pattern if isinstance(item, Grant) else item for item in given]
        if set(map(type, patterns)) != {str}:
            return _compile_each(given, source)
        sources = [item.source if isinstance(item, Grant) else source for item in given]
        compiled = dict(zip(reversed(patterns), reversed(sources), strict=True))  # the first source counts
    else:
        patterns = cast("list[str]", given)
        compiled = dict.fromkeys(patterns, source)
    if not _all_well_formed(patterns):
        return _compile_each(given, source)
    return CompiledGrants(compiled)


def compile_text(text: str, source: str = "") -> PermissionSet:
    """The set of a comma-separated list, as Asok's Admin keeps it in ``Role.permissions``."""
    return compile_grants([part for piece in text.split(",") if (part := piece.strip())], source)


def union(parts: Iterable[PermissionSet]) -> PermissionSet:
    """Allows what any of ``parts`` allows."""
    kept = [part for part in parts if part is not NOTHING]
    return kept[0] if len(kept) == 1 else Union(kept) if kept else NOTHING


def intersection(whole: PermissionSet, limit: PermissionSet) -> PermissionSet:
    """Allows what both allow."""
    return Intersection(whole, limit)


def _compile_each(given: Sequence[str | Grant], source: str) -> PermissionSet:
    sources: dict[str, str] = {}
    malformed = []
    for item in given:
        grant = item if isinstance(item, Grant) else Grant(item, source)
        if is_well_formed(grant.pattern):
            sources.setdefault(str.__str__(grant.pattern), grant.source)
        else:
            text = grant.pattern if isinstance(grant.pattern, str) else repr(grant.pattern)
            malformed.append(Grant(text, grant.source))
    return CompiledGrants(sources, malformed)


def _all_well_formed(patterns: Sequence[str]) -> bool:
    """The grammar, checked for all patterns at once: several times as fast as one by one."""
    joined = "," + ",".join(patterns) + ","
    if not joined.isascii() or max(map(len, patterns), default=0) > MAX_LENGTH:
        return False
    raw = joined.encode("ascii")
    dotted = raw.translate(_COMMA_TO_DOT)
    return (
        raw.count(b",") == len(patterns) + 1
        and not raw.translate(None, _ALPHABET)
        and b".." not in dotted
        and (not (stars := raw.count(b"*")) or stars == raw.count(b"*,") == dotted.count(b".*"))
    )
