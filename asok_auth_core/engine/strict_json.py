"""Read JSON of others that all readers understand alike (RFC 8259)."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, cast

from ..types import JSON

MAX_DEPTH = 64
"""How deep objects and lists may be nested."""
MAX_DIGITS = 100
"""How many characters an integer may have."""

_UNFIT = re.compile("[\x00\ud800-\udfff]")


class JSONInvalid(ValueError):
    """The text is not JSON that every reader understands alike."""


def read_strict(text: bytes) -> JSON:
    """The value of UTF-8 ``text``. Raises JSONInvalid, which never repeats the text.

    An object that has a name twice, NaN, Infinity and numbers beyond them, a lone surrogate or NUL in a
    string (which databases reject) and deep nesting are rejected too.
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
    _check(value)
    return cast("JSON", value)


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


def _check(value: object) -> None:
    left = [(value, 1)]
    while left:
        item, depth = left.pop()
        if isinstance(item, str):
            if _UNFIT.search(item):
                raise JSONInvalid("a string contains NUL or half a character (a lone surrogate)")
        elif isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                _too_deep()
            inner = [part for pair in item.items() for part in pair] if isinstance(item, dict) else item
            left += [(part, depth + 1) for part in inner]
