"""``asok-auth plugins``: list the plugins, and why one is not loaded."""

from __future__ import annotations

import dataclasses
import json
import sys

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ConfigurationError
from ..registry import PluginRegistry
from ..types import PluginInfo
from . import command_line

KINDS = {
    "asok_auth_providers": "provider",
    "asok_auth_signers": "signer",
    "asok_auth_mail_transports": "mail",
    "asok_auth_state_stores": "store",
    "asok_auth_login_methods": "login",
    "asok_auth_second_factors": "factor",
    "asok_auth_sign_up_steps": "policy",
    "asok_auth_routes": "pages",
    "asok_auth_account_sections": "pages",
    "asok_auth_start": "lifetime",
    "asok_auth_stop": "lifetime",
    "asok_auth_permissions": "permissions",
    "asok_auth_denies": "permissions",
    "asok_auth_before_login": "policy",
    "asok_auth_event": "events",
    "asok_auth_export_user": "user data",
    "asok_auth_remove_user": "user data",
    "asok_auth_checks": "checks",
    "asok_auth_sealed_values": "keys",
    "asok_auth_commands": "commands",
}
"""Hook to the kind of plugin that implements it."""

UNLIMITED = 1_000_000

STYLES = {"loaded": "green", "disabled": "yellow", "quarantined": "bold red"}


def kinds(info: PluginInfo) -> tuple[str, ...]:
    """The kinds of the plugin, in the order of :data:`KINDS`."""
    return tuple(dict.fromkeys(kind for hook, kind in KINDS.items() if hook in info.hooks))


def plugins(
    context: typer.Context,
    as_json: bool = typer.Option(False, "--json", help="Output JSON."),
) -> None:
    """List the plugins with version, kinds, hooks, state and problems.

    Exits with status 1 if a plugin is quarantined or stops the app. Without an app, lists the installed
    plugins.
    """
    line = command_line(context)
    stopped = False
    try:
        infos, note = line.auth().plugins.infos, ""
    except ConfigurationError as error:
        stopped = error.code == "plugin"
        if line.is_chosen and not stopped:
            raise
        infos, note = _installed(), f"These are the installed plugins; no app was loaded. {error.message}"
    if as_json:
        typer.echo(json.dumps([{**dataclasses.asdict(i), "kinds": kinds(i)} for i in infos], indent=2))
        typer.echo(note, err=True, nl=bool(note))
    else:
        _show(infos, note)
    if stopped or any(info.state == "quarantined" for info in infos):
        raise typer.Exit(1)


def _installed() -> tuple[PluginInfo, ...]:
    registry = PluginRegistry(inventory=True)
    registry.discover()
    return registry.infos


def _show(infos: tuple[PluginInfo, ...], note: str) -> None:
    is_terminal = sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "version", "kinds", "hooks", "state"):
        table.add_column(title, overflow="fold")
    for info in infos:
        state = Text(info.state, style=STYLES[info.state])
        if info.reason:
            state.append(f": {info.reason}", style="")
        hooks = ("\n" if is_terminal else ", ").join(hook.removeprefix("asok_auth_") for hook in info.hooks)
        table.add_row(info.name, info.version or "-", ", ".join(kinds(info)) or "-", hooks or "-", state)
    # A pipe has no width: one line for each plugin, for grep and for logs.
    console = Console(width=None if is_terminal else UNLIMITED)
    if infos:
        console.print(table)
    else:
        console.print("No plugin is installed. Try: pip install asok-magic-link")
    if note:
        console.print(Text(note, style="dim"), soft_wrap=True)
