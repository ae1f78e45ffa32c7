"""``asok-auth user``: show, disable and enable a user's account."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import typer

from ..flows.account_overview import AVAILABLE, MISSING, UNKNOWN, AccountOverview, account_overview
from ..flows.account_status import disable_account, enable_account
from ..flows.api_tokens import ApiTokens
from . import current_auth
from .shared import find_user, printable, utc

app = typer.Typer(help="Show, disable and enable a user's account.", no_args_is_help=True)

USER = typer.Argument(metavar="USER", help="The user's id or email address.")

SAID = {
    AVAILABLE: "",
    MISSING: " (no loaded plugin provides it)",
    UNKNOWN: " (unknown, because its plugin failed; see the log)",
}
"""State of a login method or second factor to what is printed after its name."""


@app.command()
def show(
    context: typer.Context,
    user_id: str = USER,
    as_json: bool = typer.Option(False, "--json", help="Output JSON."),
) -> None:
    """Show how USER can log in and what the account has, without secrets.

    A second factor is listed even if no loaded plugin provides it.
    """
    auth = current_auth(context)
    account = account_overview(auth, find_user(auth, user_id))
    if as_json:
        counted = {"api_tokens": len(account.api_tokens), "sessions": len(account.sessions)}
        typer.echo(json.dumps(msgspec.to_builtins(account) | counted, indent=2))
        return
    for title, text in _lines(account):
        typer.echo(f"{title:17} {printable(text)}")


@app.command()
def disable(context: typer.Context, user_id: str = USER) -> None:
    """Disable USER's account; sessions, pending logins and mailed links end for good.

    API tokens are suspended until the account is enabled again.
    """
    auth = current_auth(context)
    user = find_user(auth, user_id)
    ended = disable_account(auth, user)
    typer.echo(f"User {user.id} is disabled. {ended} session{'' if ended == 1 else 's'} ended.")
    if tokens := len(ApiTokens(auth).list(str(user.id))):
        typer.echo(
            f"API tokens: {tokens}, suspended until the account is enabled again. To revoke them: "
            f"asok-auth token revoke --user {user.id} --all"
        )


@app.command()
def enable(context: typer.Context, user_id: str = USER) -> None:
    """Enable USER's account again. The user has to log in; API tokens work again."""
    auth = current_auth(context)
    user = find_user(auth, user_id)
    enable_account(auth, user)
    typer.echo(f"User {user.id} is enabled.")


def _lines(account: AccountOverview) -> Iterator[tuple[str, str]]:
    yield "user", account.id
    yield "email", account.email or "none"
    yield "active", _yes(account.active)
    yield "email verified", _yes(account.email_verified)
    if others := [one for one in account.verified_emails if one != account.email]:
        yield "other verified", ", ".join(others)
    yield "login methods", _named(account.login_methods)
    for identity in account.identities:
        used = "" if identity.last_used_at is None else f", last used {utc(identity.last_used_at)}"
        address = f" ({identity.address})" if identity.address else ""
        yield "identity", f"{identity.label}{address}, linked {utc(identity.since)}{used}"
    yield "second factors", _named(account.second_factors)
    yield "recovery codes", f"{account.recovery_codes_left} left"
    yield "API tokens", str(len(account.api_tokens))
    yield "sessions", str(len(account.sessions))
    yield "trusted browsers", str(account.trusted_browsers)


def _named(states: dict[str, str]) -> str:
    return ", ".join(name + SAID[state] for name, state in states.items()) or "none"


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
