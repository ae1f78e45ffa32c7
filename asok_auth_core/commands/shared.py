"""What several commands need: finding a user, and printing times and text."""

from __future__ import annotations

from datetime import datetime, timezone

from ..auth import Auth
from ..errors import ConfigurationError
from ..types import User


def find_user(auth: Auth, text: str) -> User:
    """Look up a user by id or email address.

    Raises ConfigurationError if there is none, or several; StoreUnavailable.
    """
    user = auth.users.by_email(text) if "@" in text else auth.users.by_id(text)
    alike = auth.users.ids_alike(text) if user is None and "@" in text else ()
    if user is None and alike:
        raise ConfigurationError(
            f"Several users have the email address {text!r} in different spellings. Give an id instead: "
            f"{', '.join(alike)}."
        )
    if user is None:
        raise ConfigurationError(f"There is no user {text!r}. Give an id or an email address.")
    return user


def utc(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def printable(text: str) -> str:
    """``text`` without control characters, which a terminal would obey."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
