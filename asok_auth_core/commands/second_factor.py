"""``asok-auth second-factor``: reset second factors that a user has lost."""

from __future__ import annotations

import typer

from ..flows.second_factor import reset_factors
from . import current_auth
from .shared import find_user

app = typer.Typer(help="Reset the second factors of a user who has lost them.", no_args_is_help=True)


@app.callback()
def second_factor() -> None:
    """Reset the second factors of a user who has lost them."""


@app.command()
def reset(
    context: typer.Context,
    user_id: str = typer.Argument(metavar="USER", help="The user's id or email address."),
    name: str | None = typer.Argument(None, help="One factor, by name.  [default: all]"),
) -> None:
    """Remove the second factors of a user, and with the last one the recovery codes.

    Verify the user's identity first. Also resets a factor whose plugin is gone.
    """
    auth = current_auth(context)
    user = find_user(auth, user_id)
    removed = reset_factors(auth, user, name)
    if not removed:
        typer.echo(f"This user has no second factor{'' if name is None else f' {name!r}'}.")
        return
    typer.echo(f"Removed: {', '.join(sorted(removed))}. The next login does not ask for it.")
    if gone := sorted(removed - auth.second_factors.keys()):
        typer.echo(
            f"No loaded plugin provides {', '.join(gone)}: its data stays, and counts again once the plugin "
            "is loaded."
        )
