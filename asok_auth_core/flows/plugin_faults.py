"""Ask a plugin's part; one that raises or answers nonsense grants nothing.

The event ``plugin.failed`` reports each fault; the log shows each kind of fault once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from markupsafe import Markup

from ..auth import Auth
from ..contracts import AccountSection, LoginMethod, SecondFactor, SignUpStep
from ..errors import AuthError, ConfigurationError, PluginFailed

logger = logging.getLogger("asok_auth")

P = ParamSpec("P")
T = TypeVar("T")
Part = LoginMethod | SecondFactor | AccountSection | SignUpStep


def ask(auth: Auth, part: Part, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``call``, a method of ``part``, returns.

    Raises AuthError as ``call`` does, and PluginFailed for any other exception.
    """
    try:
        return call(*args, **kwargs)
    except AuthError:
        raise
    except Exception as error:
        raise plugin_failed(auth, part, call, error) from error


def verdict(
    auth: Auth, part: Part, call: Callable[P, bool], *args: P.args, **kwargs: P.kwargs
) -> bool | None:
    """What ``call`` decides; None if neither True nor False. Raises as :func:`ask`."""
    given: object = ask(auth, part, call, *args, **kwargs)
    if given is True or given is False:
        return given
    plugin_failed(auth, part, call, TypeError(f"It returned {type(given).__name__}, not True or False."))
    return None


def markup(auth: Auth, part: Part, call: Callable[P, Markup], *args: P.args, **kwargs: P.kwargs) -> Markup:
    """What ``call``, a method of ``part``, makes for a page that needs it.

    Raises as :func:`ask`. Anything but Markup is PluginFailed too.
    """
    given: object = ask(auth, part, call, *args, **kwargs)
    if isinstance(given, Markup):
        return given
    raise plugin_failed(auth, part, call, TypeError(f"It returned {type(given).__name__}, not Markup."))


def block(
    auth: Auth, part: Part, call: Callable[P, Markup | None], *args: P.args, **kwargs: P.kwargs
) -> Markup | None:
    """The page block that ``call``, a method of ``part``, makes, or None."""
    try:
        given: object = call(*args, **kwargs)
        if given is None or isinstance(given, Markup):
            return given
        raise TypeError(f"It returned {type(given).__name__}, not Markup or None.")
    except Exception as error:  # noqa: BLE001 - it costs only this block
        plugin_failed(auth, part, call, error)
        return None


def at_start(part: Part, call: Callable[[], Iterable[T]]) -> list[T]:
    """What ``call`` lists while the app starts. Raises ConfigurationError."""
    try:
        return list(call())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigurationError(
            f"{_where(part, call)} raised {type(error).__name__}: {error}. Fix, upgrade or uninstall its "
            "plugin.",
            code="plugin",
        ) from error


def plugin_failed(auth: Auth, part: Part, call: Callable[..., object], error: Exception) -> PluginFailed:
    """Report that ``call`` of ``part`` failed; return the error to answer with."""
    kind, where = type(error).__name__, _where(part, call)
    auth.events.emit("plugin.failed", method=part.name, function=where, error=kind)
    if (fault := f"{where}: {kind}") not in auth.faults:
        auth.faults.add(fault)
        logger.error("%s failed; this is logged once. Fix or upgrade its plugin.", where, exc_info=error)
    return PluginFailed(f"{where} failed with {kind}. The log says more.")


def _where(part: Part, call: Callable[..., object]) -> str:
    """The method's full name, such as ``acme.factor.PinFactor.verify``."""
    return f"{type(part).__module__}.{type(part).__qualname__}.{getattr(call, '__name__', 'call')}"
