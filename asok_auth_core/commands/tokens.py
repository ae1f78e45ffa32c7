"""``asok-auth token``: make, list, look at and revoke API tokens."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import datetime, timezone

import typer

from ..errors import ConfigurationError
from ..flows.api_tokens import ApiToken, ApiTokens
from . import current_auth
from .permissions import find_user

app = typer.Typer(help="Make, list, look at and revoke API tokens.", no_args_is_help=True)

USER = typer.Argument(help="The user's id or mail address.")
TOKEN = typer.Argument(help='The token, or "-" to read it from standard input.')


@app.command("create")
def create(
    context: typer.Context,
    user: str = USER,
    expires_in: int | None = typer.Option(None, min=1, help="Seconds; left out: permanent."),
    scope: list[str] = typer.Option([], help="A permission pattern; may be given more than once."),
    name: str | None = typer.Option(None, help="What it is for."),
) -> None:
    """Make a token for USER and print it, this once, on standard output."""
    auth = current_auth(context)
    owner = find_user(auth, user)
    try:
        token, made = ApiTokens(auth).create(str(owner.id), expires_in, scope or None, name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    typer.echo(f"Token {made.id}, {_lifetime(made)}. It is shown only now:", err=True)
    typer.echo(token)


@app.command("list")
def list_tokens(
    context: typer.Context,
    user: str = USER,
    as_json: bool = typer.Option(False, "--json", help="For programs: a list of objects."),
) -> None:
    """List USER's tokens that are in force; never the tokens themselves."""
    auth = current_auth(context)
    tokens = ApiTokens(auth).list(str(find_user(auth, user).id))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(token) for token in tokens], indent=2))
        return
    for token in tokens:
        may = "all its owner may" if token.scopes is None else " ".join(token.scopes) or "nothing"
        used = "never used" if token.last_used_at is None else f"last used {_time(token.last_used_at)}"
        typer.echo(f"{token.id}  {token.name or '-'}  may do: {may}  {_lifetime(token)}  {used}")
    if not tokens:
        typer.echo("No tokens.")


@app.command("revoke")
def revoke(
    context: typer.Context,
    token: str | None = typer.Argument(None, help='The token, or "-" to read it from standard input.'),
    user: str | None = typer.Option(None, help="Whose token, with --id or --all: id or mail address."),
    token_id: str | None = typer.Option(None, "--id", help="The token's id, as list shows it."),
    every: bool = typer.Option(False, "--all", help="All tokens of the user."),
) -> None:
    """Revoke a token by itself or by its id, or all of a user's. Every worker refuses it at once."""
    if sum((token is not None, token_id is not None, every)) != 1 or (user is None) != (token is not None):
        raise typer.BadParameter("Say which: TOKEN, or --user USER with --id ID or --all.")
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
    """Say what a token is good for, as one JSON object; or why it is refused, with status 1."""
    verified = ApiTokens(current_auth(context)).verify(_read(token))
    typer.echo(json.dumps(dataclasses.asdict(verified), indent=2))


def _read(token: str) -> str:
    return sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 - means standard input


def _lifetime(token: ApiToken) -> str:
    return "permanent" if token.expires_at is None else f"expires {_time(token.expires_at)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
