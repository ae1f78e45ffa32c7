"""``asok-auth totp``: take over the Admin's second factors; let somebody in who lost theirs."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asok_auth_core.auth import Auth
from asok_auth_core.commands import current_auth
from asok_auth_core.errors import ConfigurationError

from .api import NAME
from .factor import TotpFactor

SHOWN = 20

app = typer.Typer(help="Authenticator apps: import them from Asok's Admin, reset one.", no_args_is_help=True)


@app.command("import")
def import_(
    context: typer.Context,
    apply: bool = typer.Option(
        False, "--apply", help="Do it. Without this, only what would be done is shown."
    ),
    keep: bool = typer.Option(False, "--keep", help="Leave the Admin's own copies in the user table."),
) -> None:
    """Take over authenticator apps and backup codes from Asok's Admin; nobody scans a code again.

    Can be stopped and run again at any time.
    """
    from asok_auth_core.adapters.asok.admin_totp import AdminTotp

    from .importing import move

    auth = current_auth(context)
    factor = _factor(auth)
    admin = AdminTotp(auth)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Users", total=admin.count())
        report = move(
            auth,
            admin,
            factor.authenticators,
            factor.codes,
            apply=apply,
            keep=keep,
            advance=lambda: progress.advance(task),
        )
    typer.echo(f"{'Moved' if apply else 'Would be moved'}: {report.moved}")
    typer.echo(f"Have an authenticator app here already: {report.already}")
    if report.without_codes:
        typer.echo(f"Moved without backup codes, which cannot be read: users {_some(report.without_codes)}")
    if not apply and report.moved:
        typer.echo("Nothing was changed. Make a backup of the database, then run this with --apply.")
    if report.unreadable:
        typer.echo(
            f"Not readable with TOTP_ENCRYPTION_KEY or SECRET_KEY as they are set now: users "
            f"{_some(report.unreadable)}. Run this again with the key they were made with.",
            err=True,
        )
        raise typer.Exit(1)


@app.command()
def reset(context: typer.Context, user_id: str = typer.Argument(help="The user's id.")) -> None:
    """Take a user's authenticator app and recovery codes away: they have lost both.

    Make sure that it is really they who ask.
    """
    auth = current_auth(context)
    user = auth.users.by_id(user_id)
    if user is None:
        raise ConfigurationError(f"There is no user with id {user_id!r}.")
    factor = _factor(auth)
    removed = factor.forget(user)
    typer.echo("Done: the next login asks for no code." if removed else "This user has no authenticator app.")


def _factor(auth: Auth) -> TotpFactor:
    factor = auth.second_factors.get(NAME)
    if not isinstance(factor, TotpFactor):
        raise ConfigurationError("This app does not use asok-totp; see asok-auth plugins.")
    return factor


def _some(users: list[str]) -> str:
    more = len(users) - SHOWN
    return ", ".join(users[:SHOWN]) + (f" and {more} more" if more > 0 else "")
