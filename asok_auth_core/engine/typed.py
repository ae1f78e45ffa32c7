"""Typed values from configuration and environment variables.

Every error names the key, the expected type and the given value. Free text is shown only where the
struct allows it (:class:`~asok_auth_core.types.RedactedStruct`), since a setting
may be a password.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeGuard, TypeVar, Union, get_args, get_origin

import msgspec

from ..errors import SettingError
from ..types import RedactedStruct
from .suggest import did_you_mean

S = TypeVar("S", bound=msgspec.Struct)

SHOWN_LENGTH = 80
"""Characters of a wrong value that a message quotes."""

_BOOLEANS = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


def convert(value: object, kind: type[S], where: str = "") -> S:
    """Convert ``value`` to ``kind``; messages call it ``where`` (empty: top level).

    Text that spells a number is accepted as one. Raises SettingError for an unknown key, a key that is
    missing, or a value that does not fit.
    """
    check(value, kind, where)
    return msgspec.convert(value, kind, strict=False)


def check(value: object, kind: object, where: str, *, shown: bool = False) -> None:
    """Raise SettingError if ``value`` does not fit the type ``kind``.

    ``shown``: the message may quote a given text.
    """
    inner = _members(value, kind, where, shown)
    for member in inner or ():
        check(member.value, member.kind, member.where, shown=member.shown)
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        if inner is None:
            got = _shown(value, kind, shown)
            raise SettingError(f"{where} must be {_wanted(kind)}, got {got}.") from None
        # Every item fits, so the error is about the whole: its length, or a struct's own check.
        reason = str(error).partition(" - at `$")[0].rstrip(".")
        raise SettingError(f"{where}: {reason}.") from None


def from_text(text: str, kind: object) -> object:
    """Parse ``text`` as ``kind``; items of a list are separated by commas."""
    text = text.strip()
    for arm in _arms(kind):
        if _is_sequence(arm):
            return [part.strip() for part in text.split(",") if part.strip()]
        if arm is bool and text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        if get_origin(arm) is Literal:
            for value in get_args(arm):
                if str(value) == text:
                    return value
    return text


def fields(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of ``struct`` by their keys in the configuration."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def is_struct(kind: object) -> TypeGuard[type[msgspec.Struct]]:
    """True if ``kind`` is a struct's class."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def may_show(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> bool:
    """True if ``struct`` declares that the value of ``field`` is not a secret."""
    return issubclass(struct, RedactedStruct) and field.name in struct.shown


def unknown_key(where: str, key: str, known: Iterable[str]) -> SettingError:
    """The error for a ``key`` that is not in ``known``; messages call it ``where``."""
    options = sorted(known)
    hint = did_you_mean(key, options) or f"Known: {', '.join(options)}."
    return SettingError(f"{where} is not a setting. {hint}")


class _Member(NamedTuple):
    """An item of a list, mapping or struct."""

    value: object
    kind: object
    where: str
    shown: bool


def _members(value: object, kind: object, where: str, shown: bool) -> Sequence[_Member] | None:
    """The items of ``value``, read as ``kind``; None if it has none.

    Raises SettingError for a struct's key that is unknown or missing.
    """
    arms = _arms(kind)
    structs = [arm for arm in arms if is_struct(arm)]
    if isinstance(value, Mapping):
        if len(structs) == 1 and structs[0].__struct_config__.tag is None:
            return list(_struct_members(value, structs[0], where))
        for arm in arms:
            if get_origin(arm) in (dict, Mapping):
                item_kind = get_args(arm)[1]
                return [_Member(item, item_kind, _below(where, key), shown) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        for arm in arms:
            if _is_sequence(arm) and (types := get_args(arm)) and types[1:] in ((), (...,)):
                return [_Member(item, types[0], f"{where}[{i}]", shown) for i, item in enumerate(value)]
    return None


def _struct_members(
    value: Mapping[object, object], struct: type[msgspec.Struct], where: str
) -> Iterator[_Member]:
    known = fields(struct)
    for key, item in value.items():
        field = known.get(key) if isinstance(key, str) else None
        if field is None:
            raise unknown_key(_below(where, key), str(key), known)
        yield _Member(item, field.type, _below(where, key), may_show(struct, field))
    for key, field in known.items():
        if field.required and key not in value:
            raise SettingError(f"{_below(where, key)} is missing; it must be {_wanted(field.type)}.")


def _below(where: str, key: object) -> str:
    return f'{where}["{key}"]' if where else str(key)


def _arms(kind: object) -> list[Any]:
    """The plain types of ``kind``: each member of a union, without ``Annotated``."""
    if get_origin(kind) is Annotated:
        return _arms(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [arm for member in get_args(kind) for arm in _arms(member)]
    return [kind]


def _is_sequence(kind: object) -> bool:
    return (get_origin(kind) or kind) in (list, tuple, set, frozenset, Sequence)


def _shown(value: object, kind: object, shown: bool) -> str:
    """``value`` for a message: itself if it cannot be a secret, else only its type."""
    arms = _arms(kind)
    numbers = all(arm in (bool, int, float, NoneType) or get_origin(arm) is Literal for arm in arms)
    mapping = any(is_struct(arm) or get_origin(arm) in (dict, Mapping) for arm in arms)
    if isinstance(value, bool | int | float | str) and (numbers or (shown and not mapping)):
        text = repr(value)
        return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
    return type(value).__name__


def _wanted(kind: object) -> str:
    """``kind`` for a message, as in ``must be …``."""
    options = list(dict.fromkeys(_options(kind)))
    return " or ".join(filter(None, (", ".join(options[:-1]), options[-1])))


def _options(kind: object, metas: tuple[msgspec.Meta, ...] = ()) -> Iterator[str]:
    origin = get_origin(kind) or kind
    if origin is Annotated:
        plain, *found = get_args(kind)
        metas = tuple(meta for meta in found if isinstance(meta, msgspec.Meta))
        described = [meta.description for meta in metas if meta.description]
        yield from described or _options(plain, metas)
    elif origin in (Union, UnionType):
        for member in get_args(kind):
            if member is not NoneType:  # settings are left out instead
                yield from _options(member)
    elif origin is Literal:
        yield from (f'"{value}"' if isinstance(value, str) else repr(value) for value in get_args(kind))
    elif origin is bool:
        yield from ("True", "False")
    elif origin in _NAMES:
        yield _NAMES[origin] + _limits(metas)
    elif _is_sequence(kind):
        yield "a list of strings" if get_args(kind)[:1] == (str,) else "a list"
    elif origin in (dict, Mapping) or is_struct(kind):
        yield "a mapping"
    else:
        yield f"of type {getattr(origin, '__name__', origin)}"


def _limits(metas: Iterable[msgspec.Meta]) -> str:
    """The constraints of a number or of text, as in ``an integer of at least 1``."""
    found = {name: limit for meta in metas for name in _LIMITS if (limit := getattr(meta, name)) is not None}
    if "ge" in found and "le" in found:
        return f" from {found['ge']} to {found['le']}"
    said = [words.format(found[name]) for name, words in _LIMITS.items() if name in found]
    return f" {' and '.join(said)}" if said else ""


_NAMES: dict[object, str] = {int: "an integer", float: "a number", str: "a string"}
_LIMITS = {
    "gt": "above {}",
    "ge": "of at least {}",
    "lt": "below {}",
    "le": "of at most {}",
    "min_length": "of at least {} characters",
    "max_length": "of at most {} characters",
    "pattern": "that matches {}",
}
