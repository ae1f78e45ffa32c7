"""The secret keys: which of the process environment and ``.env`` is in force.

Asok loads ``.env`` of the app's folder into the process environment when the app is created. A variable
that is set there already stays as it is, even if it is empty, unless ``ASOK_ENV_OVERRIDE`` is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ConfigurationError

CURRENT = "SECRET_KEY"
OLDER = "SECRET_KEY_FALLBACKS"
OVERRIDE = "ASOK_ENV_OVERRIDE"


@dataclass(frozen=True, slots=True)
class KeySources:
    """The keys of one process and where they come from.

    ``current`` is empty if there is none. ``origins`` maps each of the two variables that is set to a file;
    None: the process environment.
    """

    current: str = field(repr=False)
    older: tuple[str, ...] = field(repr=False)
    origins: Mapping[str, Path | None]

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, the signing key first."""
        return (*([self.current] if self.current else []), *self.older)

    @property
    def described(self) -> str:
        """Where the keys come from, for messages."""
        places = {
            name: "the process environment" if path is None else str(path)
            for name, path in self.origins.items()
        }
        if len(set(places.values())) == 1:
            return next(iter(places.values()))
        return " and ".join(f"{place} for {name}" for name, place in places.items())


def key_sources(environ: Mapping[str, str], path: Path) -> KeySources:
    """The keys of an app that starts with ``environ`` and loads the file ``path``.

    ``environ`` is that of the process before Asok has loaded the file. Raises ConfigurationError if the
    file cannot be read; a missing one is empty.
    """
    names = (CURRENT, OLDER, OVERRIDE)
    values = {name: environ[name] for name in names if name in environ}
    origins: dict[str, Path | None] = dict.fromkeys(values)
    always = _is_true(environ.get(OVERRIDE))
    for name, value in assignments(path):
        if name in names and (always or _is_true(values.get(OVERRIDE)) or name not in values):
            values[name], origins[name] = value, path.absolute()
    origins.pop(OVERRIDE, None)
    older = (part.strip() for part in values.get(OLDER, "").split(","))
    return KeySources(values.get(CURRENT, ""), tuple(part for part in older if part), origins)


def keys_in(path: Path) -> KeySources:
    """The keys that ``path`` alone holds. Raises as :func:`key_sources`."""
    return key_sources({}, path)


def read_lines(path: Path) -> list[str]:
    """The lines of a file of variables; none if it is missing.

    Raises ConfigurationError if it cannot be read.
    """
    try:
        # Not splitlines(), which also ends a line at U+2028 and others: they may be part of a value.
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8 text.") from None
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    return text.removesuffix("\n").split("\n") if text else []


def assignments(path: Path) -> list[tuple[str, str]]:
    """``(name, value)`` of each line of ``path``, as Asok reads them.

    Raises ConfigurationError if it cannot be read.
    """
    found = []
    for line in read_lines(path):
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            text = value.strip()
            quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
            found.append((name.strip(), text[1:-1] if quoted else text))
    return found


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1")
