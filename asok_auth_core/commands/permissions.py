"""``asok-auth permissions``: may somebody do something, and why."""

from __future__ import annotations

import dataclasses
import json

import typer

from ..auth import Auth
from ..errors import ConfigurationError
from ..flows.permissions import explain as explain_permission
from ..flows.permissions import permissions_of
from ..types import User
from . import current_auth

DENIED = 3
"""Exit status of a "no", so that scripts can tell it from an error (1) and misuse (2)."""

app = typer.Typer(help="Look at permissions.", no_args_is_help=True)


@app.command("explain")
def explain(
    context: typer.Context,
    user: str = typer.Argument(help="The user's id or mail address."),
    permission: str = typer.Argument(help="For example posts.edit"),
    as_json: bool = typer.Option(False, "--json", help="For programs: one object."),
) -> None:
    """Say whether USER may do PERMISSION, by which grant of which role and plugin, or what is missing.

    Ends with status 0 if it is allowed and 3 if it is denied. Plugins that look at the resource are
    asked without one.
    """
    auth = current_auth(context)
    found = explain_permission(auth, find_user(auth, user), permission)
    typer.echo(json.dumps(dataclasses.asdict(found), indent=2) if as_json else str(found))
    if not found.allowed:
        raise typer.Exit(DENIED)


@app.command("list")
def list_permissions(
    context: typer.Context,
    user: str = typer.Argument(help="The user's id or mail address."),
) -> None:
    """List what USER is granted, and by whom; refusals come on top when something is asked for."""
    auth = current_auth(context)
    held = permissions_of(auth, find_user(auth, user))
    rows = [(grant.pattern, grant.source, plugin) for plugin, part in held.parts for grant in part]
    for pattern, source, plugin in sorted(rows):
        typer.echo(f"{pattern}  {source or '-'}  (plugin {plugin})")
    for grant in held.permissions.malformed:
        typer.echo(f"{grant.pattern[:80]!r}  {grant.source or '-'}  is not well formed and grants nothing")
    for plugin in held.failed:
        typer.echo(f"Plugin {plugin} raised an error and granted nothing; see the log.")


def find_user(auth: Auth, text: str) -> User:
    """The user with this id or mail address. Raises ConfigurationError if there is none."""
    user = auth.users.by_email(text) if "@" in text else auth.users.by_id(text)
    if user is None:
        raise ConfigurationError(f"There is no user {text!r}; give an id or a mail address.")
    return user
