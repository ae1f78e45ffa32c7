"""``asok-auth totp``: import second factors from Asok's Admin."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asok_auth_core.plugin import Auth, ConfigurationError, current_auth

from .api import NAME
from .factor import TotpFactor

SHOWN = 20

app = typer.Typer(help="Import authenticator apps from Asok's Admin.", no_args_is_help=True)


@app.command("import")
def import_(
    context: typer.Context,
    apply: bool = typer.Option(False, "--apply", help="Apply the changes (default: dry run)."),
    keep: bool = typer.Option(False, "--keep", help="Keep the Admin's copies in the user table."),
) -> None:
    """Import authenticator apps and backup codes from Asok's Admin.

    Users keep their apps.

    Can be interrupted and run again at any time.
    """
    from .importing import move

    auth = current_auth(context)
    factor = _factor(auth)
    admin = auth.users.framework_factors()
    if admin is None:
        raise ConfigurationError(
            "The user model lacks totp_secret, totp_enabled or backup_codes: Asok's Admin stored no second "
            "factors here."
        )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Users", total=admin.count())
        report = move(
            auth,
            admin,
            factor.authenticators,
            apply=apply,
            keep=keep,
            advance=lambda: progress.advance(task),
        )
    typer.echo(f"{'Imported' if apply else 'To import'}: {report.moved}")
    typer.echo(f"Already have an authenticator app here: {report.already}")
    if report.without_codes:
        typer.echo(f"Backup codes are unreadable and left out: users {_some(report.without_codes)}")
    if not apply and report.moved:
        typer.echo("Nothing was changed. Back up the database, then run this with --apply.")
    if report.unreadable:
        typer.echo(
            f"Not readable with the current TOTP_ENCRYPTION_KEY or SECRET_KEY: users "
            f"{_some(report.unreadable)}. Run this again with the key they were encrypted with.",
            err=True,
        )
        raise typer.Exit(1)


def _factor(auth: Auth) -> TotpFactor:
    factor = auth.second_factors.get(NAME)
    if not isinstance(factor, TotpFactor):
        raise ConfigurationError("The app does not use asok-totp. To see why, run asok-auth plugins.")
    return factor


def _some(users: list[str]) -> str:
    more = len(users) - SHOWN
    return ", ".join(users[:SHOWN]) + (f" and {more} more" if more > 0 else "")
