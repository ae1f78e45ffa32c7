"""``asok-auth invite`` and ``asok-auth account``."""

from __future__ import annotations

import json
import math
import time
from typing import cast

import typer

from asok_auth_core.plugin import ConfigurationError, current_auth, export_user, find_user

from .deletion import Deletions
from .invitations import Invitations
from .recovery import Recoveries

DAY = 86_400
DELIVERY = 30.0
"""Seconds that a command waits for the mail server."""

USER = typer.Argument(metavar="USER", help="The user's id or email address.")

account = typer.Typer(help="Invitations and accounts.", no_args_is_help=True)


def invite(
    context: typer.Context,
    email: str,
    role: list[str] = typer.Option([], "--role", help="A role of the new account; repeat it for several."),
    name: str | None = typer.Option(None, help="The person's name."),
    language: str = typer.Option("en", help="The language of the mail, such as fr."),
    days: float | None = typer.Option(
        None, min=0.01, max=365, help="For how long it is valid.  [default: a setting]"
    ),
) -> None:
    """Invite a person by mail to open an account.

    An earlier invitation to the same address is void.
    """
    auth = current_auth(context)
    if days is not None and math.isnan(days):
        raise typer.BadParameter("'nan' is not a number of days.", param_hint="'--days'")
    lifetime = None if days is None else int(days * DAY)
    invitation, delivery = Invitations(auth).invite(
        email, name=name, roles=role, lifetime=lifetime, language=language
    )
    state = delivery.wait(DELIVERY)
    if state == "failed" and delivery.error is not None:
        Invitations(auth).withdraw(invitation.email)
        raise delivery.error
    roles = f" with {', '.join(invitation.roles)}" if invitation.roles else ""
    typer.echo(f"Invited: {invitation.email}{roles}, until {utc(invitation.until)}.")
    if state != "sent":
        typer.echo("The mail server did not accept the mail yet. It is tried again until this command ends.")


@account.command("invitations")
def invitations(context: typer.Context) -> None:
    """List the open invitations."""
    found = Invitations(current_auth(context)).open()
    for one in found:
        roles = ", ".join(one.roles) or "no roles"
        typer.echo(f"{one.email}  {roles}  invited {utc(one.at)}, until {utc(one.until)}")
    if not found:
        typer.echo("There is no open invitation.")


@account.command("uninvite")
def uninvite(context: typer.Context, email: str) -> None:
    """Withdraw the invitation to EMAIL."""
    if not Invitations(current_auth(context)).withdraw(email):
        raise ConfigurationError(f"There is no invitation to {email!r}.")
    typer.echo("The invitation is void.")


@account.command("purge")
def purge(
    context: typer.Context,
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what is due, and delete nothing."),
) -> None:
    """Delete the accounts whose grace period is over. Run it once an hour, by cron.

    Can be interrupted and run again at any time.
    """
    deletions = Deletions(current_auth(context))
    if dry_run:
        typer.echo(f"Due: {len(deletions.due())}. Waiting: {deletions.waiting()}.")
        return
    results = list(deletions.run())
    failed = [one for one in results if one.failed]
    typer.echo(f"Deleted: {len(results) - len(failed)}. Waiting: {deletions.waiting()}.")
    for one in failed:
        typer.echo(f"User {one.user_id} is not deleted yet: {', '.join(one.failed)}", err=True)
    if failed:
        raise typer.Exit(1)


@account.command("export")
def export(context: typer.Context, user_id: str = USER) -> None:
    """Print all that is kept about USER as JSON, without secrets.

    The status is 1 if a plugin could not say what it keeps.
    """
    auth = current_auth(context)
    found = export_user(auth, find_user(auth, user_id))
    text = json.dumps(found, indent=2, ensure_ascii=False)
    # A terminal would obey what a browser has sent as its name, for example.
    typer.echo(
        "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)
    )
    if failed := cast("list[str]", found["failed"]):
        typer.echo(f"Incomplete, without what these plugins keep: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


@account.command("delete")
def delete(context: typer.Context, user_id: str = USER) -> None:
    """Delete USER's account after the grace period, for a user who asked for that.

    The user is told by mail and can keep the account, by a link or by logging in.
    """
    auth = current_auth(context)
    user = find_user(auth, user_id)
    due = Deletions(auth).ask(user)
    typer.echo(f"User {user.id} will be deleted by the first `asok-auth account purge` after {utc(due)}.")


@account.command("recover")
def recover(
    context: typer.Context,
    user_id: str = USER,
    email: str = typer.Argument(help="The new email address, which gets the link."),
) -> None:
    """Give USER, who lost mailbox and second factor, the account back.

    It takes effect after a delay. Verify who asks first. All addresses of the account are told by mail, and
    can stop it.
    """
    auth = current_auth(context)
    user = find_user(auth, user_id)
    found, delivery = Recoveries(auth).start(user, email)
    state = delivery.wait(DELIVERY)
    if state == "failed" and delivery.error is not None:
        Recoveries(auth).stop(str(user.id), "operator")
        raise delivery.error
    typer.echo(f"The link in the mail to {found.email} recovers user {user.id} after {utc(found.due)}.")
    typer.echo(f"To stop it: asok-auth account stop-recovery {user.id}")
    until = time.monotonic() + DELIVERY
    told = [None if one is None else one.wait(max(0.0, until - time.monotonic())) for one in found.warnings]
    missed = sum(one != "sent" for one in told)
    if missed:
        typer.echo(
            f"{missed} of the account's {len(told)} email addresses could not be told, so nobody "
            "there can stop it. If a mailbox may still be read, stop the recovery, and start it again later.",
            err=True,
        )
    if state != "sent":
        typer.echo("The mail server did not accept the mail yet. It is tried again until this command ends.")


@account.command("stop-recovery")
def stop_recovery(context: typer.Context, user_id: str = USER) -> None:
    """Stop the recovery of USER's account."""
    auth = current_auth(context)
    user = find_user(auth, user_id)
    if not Recoveries(auth).stop(str(user.id), "operator"):
        raise ConfigurationError(f"There is no recovery of user {user.id} that could be stopped.")
    typer.echo("The recovery is stopped. The addresses of the account and the new one are told by mail.")


def utc(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
