"""The ``asok-auth`` command: inspect, check and manage an app's authentication."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from . import __version__
from .auth import PluginHooks
from .commands import (
    DEFAULT_APP,
    CommandLine,
    doctor,
    keys,
    new_plugin,
    permissions,
    plugins,
    second_factor,
    sessions,
    tokens,
    users,
)
from .errors import AuthError
from .plugins import Plugins
from .registry import PluginRegistry

GROUPS = {
    "user": users,
    "sessions": sessions,
    "second-factor": second_factor,
    "token": tokens,
    "permissions": permissions,
    "keys": keys,
}
"""Command group to the module with its commands."""


def build(found: PluginHooks) -> typer.Typer:
    """Build the command line, with the commands that the plugins in ``found`` add."""
    cli = typer.Typer(
        name="asok-auth",
        help="Manage the authentication of an Asok app: plugins, checks, users, tokens, keys.",
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

    def report(plugin: str, error: BaseException) -> None:
        _print_error(f"Plugin {plugin!r} could not add its commands: {type(error).__name__}: {error}")

    found.commands(cli, report)
    return cli


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"asok-auth {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    app: str | None = typer.Option(
        None, help=f"The app as module:attribute, imported from this folder.  [default: {DEFAULT_APP}]"
    ),
    # Eager, or click complains about a missing command first.
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
    ),
) -> None:
    context.obj = CommandLine(app)


def main(arguments: list[str] | None = None) -> None:
    """Run ``asok-auth``. The exit status is 1 for a failure, 2 for wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        build(_installed())(args=_app_first(given), prog_name="asok-auth")
    except AuthError as error:
        _print_error(error.message)
        sys.exit(1)


def _installed() -> Plugins:
    """The installed plugins, for their commands; broken ones are left out."""
    registry = PluginRegistry(inventory=True)
    registry.discover()
    return Plugins(registry)


def _app_first(arguments: list[str]) -> list[str]:
    """Move ``--app``, which users may type anywhere, before the command's name."""
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


def _print_error(message: str) -> None:
    Console(stderr=True).print(Text("asok-auth: ", style="bold red") + Text(message), soft_wrap=True)
