"""Find methods of a plugin's part that cannot be called as their contract says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from ..errors import ConfigurationError


class SignatureInvalid(ConfigurationError):
    """A method that takes other arguments than the contract's."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, code="plugin")


def reject_signatures(part: object, contract: type) -> None:
    """Raise SignatureInvalid if ``part`` cannot be called as ``contract`` says."""
    for name, declared in vars(contract).items():
        if name.startswith("_") or not inspect.isfunction(declared):
            continue
        where = f"{type(part).__qualname__}.{name}"
        method: object = getattr(part, name, None)
        if not callable(method):
            raise SignatureInvalid(f"{where} is of type {type(method).__name__}, not a method")
        try:
            given = inspect.signature(method)
        except (TypeError, ValueError):  # written in C
            continue
        wanted = dict([*inspect.signature(declared).parameters.items()][1:])
        needed = {key: one for key, one in wanted.items() if one.default is one.empty}
        if not (_can_be_called(given, wanted) and _can_be_called(given, needed)):
            arguments = [key if key in needed else f"{key}={one.default!r}" for key, one in wanted.items()]
            raise SignatureInvalid(f"{where} must take ({', '.join(arguments)})")


def _can_be_called(given: inspect.Signature, wanted: Mapping[str, inspect.Parameter]) -> bool:
    by_name = {name for name, one in wanted.items() if one.kind is one.KEYWORD_ONLY}
    try:
        given.bind(*wanted.keys() - by_name, **dict.fromkeys(by_name))
    except TypeError:
        return False
    return True
