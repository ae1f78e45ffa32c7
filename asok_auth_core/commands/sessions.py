"""``asok-auth sessions``: list and end a user's sessions."""

from __future__ import annotations

import json

import typer

from ..engine.user_agent import browser_name
from ..errors import ConfigurationError
from ..flows.sessions import client_ip_of, end_session_of, end_sessions, sessions_of
from ..types import JSON, SessionRecord
from . import current_auth
from .shared import find_user, printable, utc

app = typer.Typer(help="List and end a user's sessions.", no_args_is_help=True)

USER = typer.Argument(metavar="USER", help="The user's id or email address.")


@app.command("list")
def list_sessions(
    context: typer.Context,
    user_id: str = USER,
    as_json: bool = typer.Option(False, "--json", help="Output JSON."),
) -> None:
    """List USER's sessions with browser, client IP, login method and times."""
    auth = current_auth(context)
    found = [(one, client_ip_of(auth, one)) for one in sessions_of(auth, find_user(auth, user_id))]
    if as_json:
        typer.echo(json.dumps([_for_programs(one, ip) for one, ip in found], indent=2))
        return
    for one, ip in found:
        typer.echo(_line(one, ip))
    if not found:
        typer.echo("No sessions.")


@app.command("end")
def end(
    context: typer.Context,
    user_id: str = USER,
    session_id: str | None = typer.Option(None, "--id", help="One session's id, as shown by list."),
) -> None:
    """End all of USER's sessions, or one, from the next request in every worker.

    Without --id, logins in progress and mailed links are void too. API tokens and trusted browsers stay.
    """
    auth = current_auth(context)
    user = find_user(auth, user_id)
    if session_id is None:
        ended = end_sessions(auth, user)
        auth.events.emit("sessions.ended", user=user)
        typer.echo(f"{ended} session{'' if ended == 1 else 's'} ended.")
    elif end_session_of(auth, session_id, user_id=str(user.id)):
        typer.echo("1 session ended.")
    else:
        raise ConfigurationError(
            f"User {user.id} has no session {session_id!r}. See: asok-auth sessions list {user.id}"
        )


def _for_programs(record: SessionRecord, client_ip: str | None) -> dict[str, JSON]:
    return {
        "id": record.id,
        "browser": browser_name(record.user_agent) or None,
        "client_ip": client_ip,
        "method": record.method,
        "factors": [*record.factors],
        "first_seen": record.logged_in_at,
        "last_seen": record.last_seen,
        "remember": record.remember,
        "impersonates": record.impersonates,
    }


def _line(record: SessionRecord, client_ip: str | None) -> str:
    parts = [
        record.id,
        browser_name(record.user_agent) or "unknown browser",
        printable(client_ip or "client IP not kept"),
        " + ".join((record.method, *record.factors)),
        f"first seen {utc(record.logged_in_at)}",
        f"last seen {utc(record.last_seen)}",
    ]
    if record.impersonates is not None:
        parts.append(f"impersonates user {record.impersonates}")
    return "  ".join(parts)
