"""Read JSON of others that all readers understand alike (RFC 8259)."""

from __future__ import annotations

import json
import math
from typing import NoReturn, cast

from ..types import JSON
from .storable import is_storable, storable

MAX_DEPTH = 64
"""How deep objects and lists may be nested."""
MAX_DIGITS = 100
"""How many characters an integer may have."""


class JSONInvalid(ValueError):
    """The text is not JSON that every reader understands alike."""


def read_strict(text: bytes, *, clean: bool = False) -> JSON:
    """The value of UTF-8 ``text``. Raises JSONInvalid, which never repeats the text.

    An object that has a name twice, NaN, Infinity and numbers beyond them, a lone surrogate or NUL in a
    string (which databases reject) and deep nesting are rejected too. With ``clean``, U+FFFD replaces such a
    character of a value instead: for profiles, where a name may have been cut within a character.
    """
    if not text:
        raise JSONInvalid("it is empty")
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_number_invalid,
            parse_int=_integer,
            parse_float=_float,
        )
    except JSONInvalid:
        raise
    except json.JSONDecodeError as error:
        raise JSONInvalid(f"{error.msg.rstrip(': ')} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise JSONInvalid(f"byte {error.start + 1} is not UTF-8") from None
    except RecursionError:
        _too_deep()
    _check(value, text_too=not clean)
    return cast("JSON", _cleaned(value) if clean else value)


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JSONInvalid("an object has the same name twice")
    return found


def _number_invalid(_: str) -> NoReturn:
    raise JSONInvalid("a number is too large, NaN or Infinity")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= MAX_DIGITS else _number_invalid(digits)


def _float(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _number_invalid(digits)


def _too_deep() -> NoReturn:
    raise JSONInvalid(f"it is nested more than {MAX_DEPTH} levels deep") from None


def _cleaned(value: object) -> object:
    """``value`` with storable text; :func:`_check` has limited its depth."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {name: _cleaned(item) for name, item in value.items()} if isinstance(value, dict) else value


def _check(value: object, *, text_too: bool) -> None:
    """Raise JSONInvalid for deep nesting, and for text that is not storable.

    That of values is only checked with ``text_too``.
    """
    left = [(value, 1)]
    while left:
        item, depth = left.pop()
        if isinstance(item, str):
            if text_too:
                _check_text(item)
        elif isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                _too_deep()
            inner = item
            if isinstance(item, dict):
                for name in item:
                    _check_text(name)
                inner = list(item.values())
            left += [(part, depth + 1) for part in inner]


def _check_text(text: str) -> None:
    if not is_storable(text):
        raise JSONInvalid("a string contains NUL or half a character (a lone surrogate)")
