"""``asok-auth invite`` and ``asok-auth account``."""

from __future__ import annotations

import time

import typer

from asok_auth_core.plugin import ConfigurationError, current_auth

from .invitations import Invitations

DAY = 86_400
DELIVERY = 30.0
"""Seconds that a command waits for the mail server."""

account = typer.Typer(help="Invitations and accounts.", no_args_is_help=True)


def invite(
    context: typer.Context,
    email: str,
    role: list[str] = typer.Option([], "--role", help="A role of the new account; repeat it for several."),
    name: str | None = typer.Option(None, help="The person's name."),
    language: str = typer.Option("en", help="The language of the mail, such as fr."),
    days: float | None = typer.Option(None, min=0.01, help="For how long it is valid.  [default: a setting]"),
) -> None:
    """Invite a person by mail to open an account.

    An earlier invitation to the same address is void.
    """
    auth = current_auth(context)
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


def utc(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
