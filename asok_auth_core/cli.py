"""``asok-auth``: look at, check and extend an app's authentication from the command line."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from . import __version__
from .commands import DEFAULT_APP, CommandLine, doctor, keys, new_plugin, permissions, plugins, tokens
from .errors import AuthError
from .plugins import Plugins
from .registry import PluginRegistry

GROUPS = {"token": tokens, "keys": keys, "permissions": permissions}
"""Name on the command line to the module with its commands."""


def build(found: Plugins) -> typer.Typer:
    """The whole command line, with the subcommands that the plugins in ``found`` add."""
    cli = typer.Typer(
        name="asok-auth",
        help="Authentication of an Asok app: plugins, checks, tokens, keys, permissions.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    cli.callback()(_options)
    cli.command("plugins")(plugins.plugins)
    cli.command("doctor")(doctor.doctor)
    cli.command("new-plugin")(new_plugin.new_plugin)
    for name, module in GROUPS.items():
        cli.add_typer(module.app, name=name)

    def missing(plugin: str, error: Exception) -> None:
        _say(f"Plugin {plugin!r} could not add its command: {type(error).__name__}: {error}")

    found.commands(cli, missing)
    return cli


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"asok-auth {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    app: str | None = typer.Option(
        None, help=f"The app, as module:attribute, seen from this folder.  [default: {DEFAULT_APP}]"
    ),
    # Eager, or click misses a command before it looks at this.
    version: bool = typer.Option(
        False, "--version", help="Show the version and stop.", callback=_show_version, is_eager=True
    ),
) -> None:
    context.obj = CommandLine(app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``asok-auth``. Ends with status 1 if something failed, 2 if it was misused."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        build(_installed())(args=_app_first(given), prog_name="asok-auth")
    except AuthError as error:
        _say(error.message)
        sys.exit(1)


def _installed() -> Plugins:
    """The installed plugins, for their commands; one that is broken is `asok-auth plugins`' to show."""
    registry = PluginRegistry(inventory=True)
    registry.discover()
    return Plugins(registry)


def _app_first(arguments: list[str]) -> list[str]:
    """``--app`` may stand anywhere; it belongs before the command's name."""
    rest: list[str] = []
    first: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*first, *rest, word, *words]
        if word == "--app":
            first += [word, *[value for value in [next(words, None)] if value is not None]]
        elif word.startswith("--app="):
            first.append(word)
        else:
            rest.append(word)
    return first + rest


def _say(message: str) -> None:
    Console(stderr=True).print(Text("asok-auth: ", style="bold red") + Text(message), soft_wrap=True)
