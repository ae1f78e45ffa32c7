"""The commands of ``asok-auth``, and the options they share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..auth import Auth
from ..errors import ConfigurationError

if TYPE_CHECKING:
    import typer

DEFAULT_APP = "wsgi:app"


@dataclass(slots=True)
class CommandLine:
    """The options before the command's name.

    ``app`` is ``module:attribute``, or None.
    """

    app: str | None = None
    _auth: Auth | None = field(default=None, repr=False)

    @property
    def is_chosen(self) -> bool:
        """True if the user named an app; otherwise ``wsgi:app`` is tried."""
        return self.app is not None

    def auth(self) -> Auth:
        """Import the app, the first time this is called, and return its Auth.

        Raises ConfigurationError if the app does not exist or has no AuthExtension, and any
        exception that the app raises while it starts.
        """
        if self._auth is None:
            self._auth = _load(self.app or DEFAULT_APP)
        return self._auth


def current_auth(context: typer.Context) -> Auth:
    """The Auth of the app that ``asok-auth --app`` names. Raises ConfigurationError."""
    return command_line(context).auth()


def command_line(context: typer.Context) -> CommandLine:
    """The options before the command's name."""
    return context.ensure_object(CommandLine)


def _load(spec: str) -> Auth:
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute.isidentifier():
        raise ConfigurationError(f"--app must be module:attribute, such as {DEFAULT_APP}; got {spec!r}.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f"There is no module {error.name!r} in {Path.cwd()}. Change to the app's folder, or name "
            "the app: asok-auth --app module:attribute."
        ) from None
    app = getattr(module, attribute, None)
    if app is None:
        raise ConfigurationError(
            f"Module {module_name!r} has no attribute {attribute!r}. Name the app with --app."
        )
    extensions = getattr(app, "extensions", {})
    found = [auth for ext in extensions.values() if isinstance(auth := getattr(ext, "auth", None), Auth)]
    if not found:
        raise ConfigurationError(
            f"{spec} has no AuthExtension. Add app.register_extension(AuthExtension()) "
            f"to module {module_name!r}."
        )
    return found[0]
