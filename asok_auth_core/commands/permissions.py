"""``asok-auth permissions``: list and explain a user's permissions."""

from __future__ import annotations

import dataclasses
import json

import typer

from ..flows.permissions import permissions_of, user_explain
from . import current_auth
from .shared import find_user

DENIED = 3
"""Exit status for a denied permission, distinct from an error (1) and wrong usage (2)."""

app = typer.Typer(help="List and explain permissions.", no_args_is_help=True)


@app.command("explain")
def explain(
    context: typer.Context,
    user: str = typer.Argument(help="The user's id or email address."),
    permission: str = typer.Argument(help="A permission, such as posts.edit."),
    as_json: bool = typer.Option(False, "--json", help="Output JSON."),
) -> None:
    """Show whether USER has PERMISSION and which grant, role and plugin decide it.

    Exits with status 0 if it is granted and 3 if it is denied. Plugins that decide by resource are
    called without one.
    """
    auth = current_auth(context)
    found = user_explain(auth, find_user(auth, user), permission)
    typer.echo(json.dumps(dataclasses.asdict(found), indent=2) if as_json else str(found))
    if not found.allowed:
        raise typer.Exit(DENIED)


@app.command("list")
def list_permissions(
    context: typer.Context,
    user: str = typer.Argument(help="The user's id or email address."),
) -> None:
    """List USER's grants and their sources.

    A plugin may still deny a permission when it is checked.
    """
    auth = current_auth(context)
    held = permissions_of(auth, find_user(auth, user))
    rows = [(grant.pattern, grant.source, plugin) for plugin, part in held.parts for grant in part]
    for pattern, source, plugin in sorted(rows):
        typer.echo(f"{pattern}  {source or '-'}  (plugin {plugin})")
    for grant in held.permissions.malformed:
        typer.echo(f"{grant.pattern[:80]!r}  {grant.source or '-'}  is malformed and grants nothing")
    for plugin in held.failed:
        typer.echo(f"Plugin {plugin} raised an error and granted nothing; see the log.")
