"""What is remembered for the mails: a user's language and known browsers."""

from __future__ import annotations

import re

import msgspec

from asok_auth_core.plugin import (
    JSON,
    Auth,
    Credential,
    CredentialExists,
    WebRequest,
    change_row,
    digest,
)

PROFILE = "account_profile"
BROWSER = "account_browser"
"""Kinds of credentials: one row per user, and one per user and browser."""

COOKIE = "asok_auth_known"
COOKIE_LIFETIME = 400 * 86_400
"""The longest that browsers keep a cookie (RFC 6265bis, section 5.6)."""
HANDLE_BYTES = 16
HANDLE = re.compile("[0-9a-f]{32}")
BROWSERS = 20
"""Known browsers of a user; the one that was not used for the longest time is forgotten."""


class Profile(msgspec.Struct, frozen=True):
    """A user's language.

    ``settled`` is False for a new account, before its first login is complete.
    """

    language: str
    settled: bool = True


def profile_of(auth: Auth, user_id: str) -> Profile | None:
    """The user's profile, or None."""
    row = auth.credentials.find(PROFILE, user_id)
    return None if row is None else msgspec.json.decode(row.data, type=Profile)


def keep_profile(auth: Auth, user_id: str, profile: Profile) -> None:
    """Replace the user's profile."""

    def changed(row: Credential | None) -> JSON:
        if row is not None and msgspec.json.decode(row.data, type=Profile) == profile:
            return None
        return {"language": profile.language, "settled": profile.settled}

    change_row(auth.credentials, PROFILE, user_id, changed, owner=user_id)


def language_of(auth: Auth, user_id: str, request: WebRequest | None = None, fallback: str = "en") -> str:
    """The user's language; of one who has none yet, that of ``request``."""
    profile = profile_of(auth, user_id)
    if profile is not None:
        return profile.language
    return fallback if request is None else request.locale


def knows_browser(auth: Auth, request: WebRequest, user_id: str) -> bool:
    """True if the user has logged in with this browser before.

    From now on, it is known. The browser has a cookie with a random handle, which logs nobody in.
    """
    name = f"__Host-{COOKIE}" if request.secure else COOKIE
    handle = request.cookies.get(name, "")
    if not HANDLE.fullmatch(handle):  # it is sent back
        handle = auth.random(HANDLE_BYTES).hex()
    request.set_cookie(name, handle, max_age=COOKIE_LIFETIME)
    identifier = digest(f"{handle}:{user_id}")
    row = auth.credentials.find(BROWSER, identifier)
    if row is not None:
        auth.credentials.touch(row, auth.clock())
        return True
    known = sorted(
        auth.credentials.list(user_id, BROWSER), key=lambda one: one.last_used_at or one.created_at
    )
    for row in known[: max(0, len(known) - BROWSERS + 1)]:
        auth.credentials.remove(row)
    try:
        auth.credentials.add(user_id, BROWSER, identifier, {})
    except CredentialExists:
        return True  # another login with this browser, at the same time
    return False


def forget_browsers(auth: Auth, user_id: str) -> None:
    """Know no browser of the user any more: some may be an attacker's."""
    for row in auth.credentials.list(user_id, BROWSER):
        auth.credentials.remove(row)
