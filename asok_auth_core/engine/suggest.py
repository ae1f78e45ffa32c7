"""Suggest the correct name for a misspelled setting, hook or provider."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CLOSE = 0.6
VERY_CLOSE = 0.8
"""At most about every fifth character differs."""


def did_you_mean(name: str, known: Iterable[str], *, closeness: float = CLOSE) -> str:
    """``Did you mean 'x'?`` for the closest of ``known``, in any case, or ""."""
    spelled = {option.lower(): option for option in known}
    near = difflib.get_close_matches(name.lower(), spelled, 1, closeness)
    return f"Did you mean {spelled[near[0]]!r}?" if near else ""
