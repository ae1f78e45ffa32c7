"""``asok-auth user``: show, disable and enable a user's account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import typer

from ..auth import Auth
from ..errors import AuthError, StoreError
from ..flows.account_status import disable_account, enable_account
from ..flows.api_tokens import ApiTokens
from ..flows.factor_index import kept_names
from ..flows.linking import LinkedIdentity, linked
from ..flows.plugin_faults import Part, verdict
from ..flows.recovery_codes import recovery_codes_left
from ..flows.sessions import sessions_of
from ..flows.trusted_devices import trusted_devices
from ..flows.verified_emails import is_email_verified, verified_emails
from ..types import User
from . import current_auth
from .shared import find_user, printable, utc

app = typer.Typer(help="Show, disable and enable a user's account.", no_args_is_help=True)

USER = typer.Argument(metavar="USER", help="The user's id or email address.")

AVAILABLE, MISSING, UNKNOWN = "available", "missing", "unknown"
SAID = {
    AVAILABLE: "",
    MISSING: " (no loaded plugin provides it)",
    UNKNOWN: " (unknown, because its plugin failed; see the log)",
}
"""State of a login method or second factor to what is printed after its name."""


@dataclass(frozen=True, slots=True)
class Account:
    """What support staff ask about an account; nothing in it is a secret.

    ``login_methods`` and ``second_factors`` map names to a key of :data:`SAID`.
    """

    id: str
    email: str | None
    active: bool
    email_verified: bool
    verified_emails: list[str]
    login_methods: dict[str, str]
    identities: list[LinkedIdentity]
    second_factors: dict[str, str]
    recovery_codes_left: int
    api_tokens: int
    sessions: int
    trusted_browsers: int


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
    account = _account(auth, find_user(auth, user_id))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(account), indent=2))
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


def _account(auth: Auth, user: User) -> Account:
    email, verified = auth.users.email_of(user), verified_emails(auth, user)
    return Account(
        id=str(user.id),
        email=email,
        active=auth.users.is_active(user),
        email_verified=email is not None and is_email_verified(auth, user, email),
        verified_emails=verified,
        login_methods=_login_methods(auth, user),
        identities=linked(auth, user),
        second_factors=_second_factors(auth, user),
        recovery_codes_left=recovery_codes_left(auth, user),
        api_tokens=len(ApiTokens(auth).list(str(user.id))),
        sessions=len(sessions_of(auth, user)),
        trusted_browsers=len(trusted_devices(auth, user)),
    )


def _login_methods(auth: Auth, user: User) -> dict[str, str]:
    asked = {name: _asked(auth, one, one.can_log_in, user) for name, one in auth.login_methods.items()}
    return {name: state for name, state in asked.items() if state is not None}


def _second_factors(auth: Auth, user: User) -> dict[str, str]:
    """The user's second factors, by the index or their own answers; no backups."""
    kept = kept_names(auth, str(user.id))
    asked = {
        name: AVAILABLE if name in kept else _asked(auth, one, one.is_enrolled, user)
        for name, one in auth.second_factors.items()
        if not one.backup
    }
    states = {name: state for name, state in asked.items() if state is not None}
    return states | dict.fromkeys(sorted(kept - auth.second_factors.keys()), MISSING)


def _asked(auth: Auth, part: Part, call: Callable[[User], bool], user: User) -> str | None:
    """The state to show; None if the answer is no."""
    try:
        answer = verdict(auth, part, call, user)
    except StoreError:
        raise
    except AuthError:
        answer = None
    return {True: AVAILABLE, False: None, None: UNKNOWN}[answer]


def _lines(account: Account) -> Iterator[tuple[str, str]]:
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
    yield "API tokens", str(account.api_tokens)
    yield "sessions", str(account.sessions)
    yield "trusted browsers", str(account.trusted_browsers)


def _named(states: dict[str, str]) -> str:
    return ", ".join(name + SAID[state] for name, state in states.items()) or "none"


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
