"""Find coroutine functions where nothing awaits them."""

from __future__ import annotations

import inspect

from ..errors import ConfigurationError


class NeverAwaited(ConfigurationError):
    """A coroutine function in a place where nothing awaits it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is a coroutine function, but nothing awaits it; use def", code="plugin")


def is_coroutine_function(function: object) -> bool:
    """True if calling ``function`` only makes a coroutine or async generator."""
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, getattr(function, "__call__", None))  # noqa: B004 - an object with async __call__
    )


def reject_coroutines(part: object, contract: type) -> None:
    """Raise NeverAwaited if a public method in ``part`` is a coroutine function.

    Public methods are those of ``contract``.
    """
    for name in vars(contract):
        method = inspect.getattr_static(part, name, None)
        if not name.startswith("_") and is_coroutine_function(getattr(method, "__func__", method)):
            raise NeverAwaited(f"{type(part).__qualname__}.{name}")
