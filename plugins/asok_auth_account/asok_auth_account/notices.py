"""Tell users by mail what happened to their accounts.

OWASP ASVS 5.0, 6.3.5 and 6.3.7.
"""

from __future__ import annotations

from typing import cast

from asok_auth_core.plugin import (
    Auth,
    Event,
    StateOperation,
    User,
    WebRequest,
    current_request,
    recovery_codes_left,
)

from .emails import addresses_of
from .mails import Where, compose, link_to, post
from .profiles import Profile, keep_profile, knows_browser, language_of, profile_of
from .settings import AccountSettings, Notice

WORDS = "auth/account/notice.txt"
HOUR, DAY = 3600, 86_400
NEW_ACCOUNT = 900
"""Seconds for which an account that has no profile may be new: longer than a login takes."""

EVENTS: dict[str, Notice] = {
    "login.succeeded": "login",
    "second_factor.enrolled": "second_factor",
    "second_factor.disabled": "second_factor",
    "second_factor.reset": "second_factor",
    "second_factor.succeeded": "recovery_codes",
    "recovery_codes.issued": "recovery_codes",
    "identity.linked": "login_method",
    "identity.unlinked": "login_method",
    "token.created": "api_token",
    "device.trusted": "trusted_browser",
    "account.disabled": "account",
    "account.enabled": "account",
}
BY_OPERATORS = frozenset({"second_factor.reset", "account.disabled", "account.enabled"})
"""Their users are not told from where: it is not where they are."""


def observe(auth: Auth, event: Event) -> None:
    """Mail what ``event`` says to its user, if that is a notice."""
    if event.user_id is None:
        return
    request = current_request(auth)
    if event.name == "account.created":
        language = "en" if request is None else request.locale
        keep_profile(auth, event.user_id, Profile(language, settled=False))
    elif event.name in EVENTS and _concerns_the_user(auth, request, event):
        _tell(auth, request, event)


def _concerns_the_user(auth: Auth, request: WebRequest | None, event: Event) -> bool:
    """True if the user may not know of ``event``.

    What belongs to opening an account, they do.
    """
    user_id = str(event.user_id)
    if event.name == "second_factor.succeeded":
        factor = auth.second_factors.get(event.method or "")
        return factor is not None and factor.backup
    profile = profile_of(auth, user_id)
    if event.name != "login.succeeded":
        return profile is None or profile.settled
    known = request is not None and knows_browser(auth, request, user_id)
    first = _is_first_login(auth, user_id) if profile is None else not profile.settled
    if request is not None and (known or first):
        # Not from a new browser, which may be another person's.
        keep_profile(auth, user_id, Profile(request.locale))
    return not known and not first


def _is_first_login(auth: Auth, user_id: str) -> bool:
    """True if nothing is kept about the user that is older than this login."""
    since = auth.clock() - NEW_ACCOUNT
    rows = (row for row in auth.credentials.list(user_id) if row.kind != "epoch")  # an earlier user's
    return all(row.created_at > since for row in rows)


def _tell(auth: Auth, request: WebRequest | None, event: Event) -> None:
    settings, notice = auth.settings.section(AccountSettings), EVENTS[event.name]
    user = auth.users.by_id(str(event.user_id))
    if notice not in settings.notices or user is None or not auth.outbox.can_send:
        return
    left = _left(auth, user, notice, settings)
    if left == -1:
        auth.events.emit("notice.limited", user=user, notice=notice)
    addresses = addresses_of(auth, user)
    if left < 0 or not addresses:
        return
    for to in addresses:
        mail = compose(
            auth,
            to,
            language_of(auth, str(user.id), request),
            WORDS,
            where=_where(request, event),
            link=link_to(auth, request),
            about=event.name,
            label=_label(auth, event),
            codes_left=recovery_codes_left(auth, user) if notice == "recovery_codes" else 0,
            is_last=left == 0,
            by_operators=event.name in BY_OPERATORS,
        )
        post(auth, mail)
    auth.events.emit("notice.sent", user=user, notice=notice, about=event.name)


def _left(auth: Auth, user: User, notice: Notice, settings: AccountSettings) -> int:
    """How many mails of this kind may follow this one.

    Below 0 if this one may not be sent. Each kind is counted by itself, so that many of one kind hide none
    of another.
    """
    key = f"account-notice:{notice}:{user.id}"
    hour, day = auth.state.batch(
        [StateOperation("incr", f"{key}:hour", ttl=HOUR), StateOperation("incr", f"{key}:day", ttl=DAY)]
    )
    return min(settings.notices_per_hour - cast("int", hour), settings.notices_per_day - cast("int", day))


def _where(request: WebRequest | None, event: Event) -> Where:
    if event.name in BY_OPERATORS:
        return Where(event.at)
    if request is None:
        return Where(event.at, event.client_ip)
    if event.name == "token.created" and not _is_of(request, event):
        return Where(event.at)  # a page of the app made it, for another user
    return Where(event.at, event.client_ip or request.client_ip, request.headers.get("User-Agent", ""))


def _is_of(request: WebRequest, event: Event) -> bool:
    return request.user is not None and str(request.user.id) == event.user_id


def _label(auth: Auth, event: Event) -> str:
    """The name of the second factor or provider, as users know it."""
    name = event.method or ""
    if name in auth.second_factors:
        return auth.second_factors[name].label
    return auth.providers[name].label if name in auth.providers else name
