"""``asok-auth token``: create, list, inspect and revoke API tokens."""

from __future__ import annotations

import dataclasses
import json
import sys

import typer

from ..errors import ConfigurationError
from ..flows.api_tokens import ApiToken, ApiTokens
from . import current_auth
from .shared import find_user, utc

app = typer.Typer(help="Create, list, inspect and revoke API tokens.", no_args_is_help=True)

USER = typer.Argument(help="The user's id or email address.")
TOKEN = typer.Argument(help='The token, or "-" to read it from standard input.')


@app.command("create")
def create(
    context: typer.Context,
    user: str = USER,
    expires_in: int | None = typer.Option(None, min=1, help="Lifetime in seconds (default: permanent)."),
    scope: list[str] = typer.Option([], help="A permission pattern; repeat for more."),
    name: str | None = typer.Option(None, help="What the token is for."),
) -> None:
    """Create a token for USER and print it to standard output.

    It cannot be shown again.
    """
    auth = current_auth(context)
    owner = find_user(auth, user)
    try:
        token, created = ApiTokens(auth).create(str(owner.id), expires_in, scope or None, name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    typer.echo(f"Token {created.id}, {_lifetime(created)}. Copy it now; it cannot be shown again:", err=True)
    typer.echo(token)


@app.command("list")
def list_tokens(
    context: typer.Context,
    user: str = USER,
    as_json: bool = typer.Option(False, "--json", help="Output JSON."),
) -> None:
    """List USER's valid tokens, without their secrets."""
    auth = current_auth(context)
    tokens = ApiTokens(auth).list(str(find_user(auth, user).id))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(token) for token in tokens], indent=2))
        return
    for token in tokens:
        scopes = "all" if token.scopes is None else " ".join(token.scopes) or "none"
        used = "never used" if token.last_used_at is None else f"last used {utc(token.last_used_at)}"
        typer.echo(f"{token.id}  {token.name or '-'}  scopes: {scopes}  {_lifetime(token)}  {used}")
    if not tokens:
        typer.echo("No tokens.")


@app.command("revoke")
def revoke(
    context: typer.Context,
    token: str | None = typer.Argument(None, help='The token, or "-" to read it from standard input.'),
    user: str | None = typer.Option(None, help="The owner's id or email address, for --id and --all."),
    token_id: str | None = typer.Option(None, "--id", help="The token's id, as shown by list."),
    every: bool = typer.Option(False, "--all", help="Revoke all of the user's tokens."),
) -> None:
    """Revoke one token or all of a user's tokens, at once in every worker."""
    if sum((token is not None, token_id is not None, every)) != 1 or (user is None) != (token is not None):
        raise typer.BadParameter("Give either TOKEN, or --user USER with --id ID or --all.")
    auth = current_auth(context)
    tokens = ApiTokens(auth)
    if token is not None:
        revoked = int(tokens.revoke(_read(token)))
    else:
        owner = str(find_user(auth, user or "").id)
        revoked = tokens.revoke_all(owner) if every else int(tokens.revoke_id(owner, token_id or ""))
    typer.echo(f"{revoked} token{'' if revoked == 1 else 's'} revoked.")
    if not revoked and not every:
        raise typer.Exit(1)


@app.command("inspect")
def inspect(context: typer.Context, token: str = TOKEN) -> None:
    """Print a token's contents as JSON, or why it is rejected, with exit status 1."""
    verified = ApiTokens(current_auth(context)).verify(_read(token))
    typer.echo(json.dumps(dataclasses.asdict(verified), indent=2))


def _read(token: str) -> str:
    return sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 - means standard input


def _lifetime(token: ApiToken) -> str:
    return "permanent" if token.expires_at is None else f"expires {utc(token.expires_at)}"
