"""Invite people by mail: single use, for a time, with a name and roles.

Name and roles apply once they have logged in. An invitation is a row under the invited address, which no
user owns. The mailed link opens the account and logs in; any other login method that proves the address
counts too. It is consumed when a login has verified the address for an account.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import msgspec

from asok_auth_core.plugin import (
    JSON,
    AccountExists,
    Auth,
    ConfigurationError,
    Credential,
    CredentialRejected,
    Delivery,
    EmailInvalid,
    Newcomer,
    Proof,
    Receipt,
    RedactedStruct,
    SecondFactorRequired,
    User,
    WebRequest,
    account_key,
    change_row,
    complete_login,
    digest,
    is_email_verified,
    log_in_once,
    parse_email,
)

from .emails import is_reserved
from .links import LinkToken, with_token
from .mails import compose, link_to
from .settings import AccountSettings

METHOD = "account"
INVITATION = "account_invitation"
"""Kind of credentials: one row per invited address."""
NOBODY = "-"
"""The owner of rows that belong to no account yet; no user has this id."""
INVITATION_PATH = "/auth/account/invitation"
LONGEST_NAME = 200
SHORTEST, LONGEST = 60, 365 * 86_400
"""Seconds for which an invitation can be valid."""
SENDS_PER_ADDRESS, WINDOW = 5, 3600
"""Invitations to one address in an hour: a page of an app may let every user invite."""
IN_USE = 60
"""Seconds for which a link counts as used while its account is being opened."""
REJECTED = "This invitation has expired, was already used, or was withdrawn."


class InvitationRow(RedactedStruct, frozen=True):
    """What is kept. ``secret`` is a digest.

    ``at`` and ``until`` are seconds since the epoch.
    """

    shown = ("roles", "at", "until")

    secret: str
    name: str | None
    roles: tuple[str, ...]
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that is open until ``until`` (seconds since the epoch)."""

    email: str
    name: str | None
    roles: tuple[str, ...]
    at: float
    until: float


class Invitations:
    """The invitations of an app."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(AccountSettings)

    def invite(
        self,
        email: str,
        *,
        name: str | None = None,
        roles: Sequence[str] = (),
        lifetime: int | None = None,
        language: str = "en",
        request: WebRequest | None = None,
    ) -> tuple[Invitation, Delivery]:
        """Mail an invitation in ``language``; an earlier one to the same address is void.

        ``lifetime`` is in seconds. Raises EmailInvalid, AccountExists if the address has an account,
        ConfigurationError for an unknown role, a name of several lines, a lifetime that is too short or too
        long, or without APP_URL, RateLimited, MailTemporary.
        """
        auth = self._auth
        email = account_key(parse_email(email, allow_localhost=auth.settings.app.debug))
        if auth.users.ids_alike(email) or is_reserved(auth, email):
            raise AccountExists("An account with this email address exists already.")
        if name is not None and (not 0 < len(name) <= LONGEST_NAME or _has_control(name)):
            raise ConfigurationError(
                f"The name of an invitation has 1 to {LONGEST_NAME} characters, in one line."
            )
        lifetime = self._settings.invitation_lifetime if lifetime is None else lifetime
        if not SHORTEST <= lifetime <= LONGEST:
            raise ConfigurationError(f"An invitation is valid for {SHORTEST} seconds to 365 days.")
        if any(not role or _has_control(role) for role in roles):
            raise ConfigurationError("The name of a role is text in one line.")
        known = auth.users.known_roles()
        if unknown := [role for role in roles if known is not None and role not in known]:
            raise ConfigurationError(
                f"There is no role {unknown[0]!r}. Known roles: {', '.join(sorted(known or ())) or 'none'}."
            )
        now, token = auth.clock(), LinkToken.new(auth, email)
        until = now + lifetime
        row = InvitationRow(token.digest, name, tuple(dict.fromkeys(roles)), now, until)
        link = link_to(auth, request, with_token(INVITATION_PATH, token.text))
        if link is None:
            raise ConfigurationError("APP_URL is not set. The link in the invitation is built from it.")
        auth.limits.hit("invitation:to", email, limit=SENDS_PER_ADDRESS, window=WINDOW)
        self._forget_expired()
        data = cast("JSON", msgspec.to_builtins(row))
        change_row(auth.credentials, INVITATION, email, lambda before: data, owner=NOBODY)
        mail = compose(
            auth,
            email,
            language,
            "auth/account/invitation.txt",
            link=link,
            name=name,
            until=until,
        )
        delivery = auth.outbox.post(mail)
        auth.events.emit("invitation.sent", client_ip=None if request is None else request.client_ip)
        return _described(email, row), delivery

    def open(self) -> list[Invitation]:
        """All open invitations, the oldest first."""
        self._forget_expired()
        rows = self._auth.credentials.list(NOBODY, INVITATION)
        return [_described(row.identifier, _row(row)) for row in rows]

    def withdraw(self, email: str) -> bool:
        """Void the invitation to ``email``. False if there is none."""
        with suppress(EmailInvalid):
            row = self._auth.credentials.find(INVITATION, account_key(email))
            if row is not None and self._auth.credentials.remove(row):
                self._auth.events.emit("invitation.withdrawn")
                return True
        return False

    def find(self, token: str) -> Invitation:
        """The open invitation of the link ``token``. Raises CredentialRejected."""
        read = LinkToken.read(token)
        found = None if read is None else find_invitation(self._auth, read.owner)
        if read is None or found is None or not read.matches(_row(found).secret):
            raise CredentialRejected(REJECTED)
        return _described(found.identifier, _row(found))

    def accept(self, request: WebRequest, token: str) -> str:
        """Open the account by the link ``token``, once, and log in.

        Return the URL to go to next. Raises CredentialRejected, and what ``complete_login`` raises, after
        which the link still works.
        """
        auth, key = self._auth, f"account-invitation:{digest(token)}"

        def take() -> Invitation:
            found = self.find(token)
            if auth.users.ids_alike(found.email):
                raise CredentialRejected("An account with this email address exists already. Please log in.")
            if not auth.state.add(key, b"", IN_USE):
                raise CredentialRejected(REJECTED)
            return found

        def log_in(found: Invitation, receipt: Receipt | None) -> str:
            newcomer = Newcomer(found.email, found.name)
            try:
                return complete_login(auth, request, newcomer, Proof(METHOD, found.email), receipt=receipt)
            except SecondFactorRequired:
                raise
            except BaseException:
                auth.state.delete(key)
                raise

        return log_in_once(auth, request, f"invitation:{token}", take, log_in)

    def _forget_expired(self) -> None:
        for row in self._auth.credentials.list(NOBODY, INVITATION):
            if _row(row).until <= self._auth.clock():
                self._auth.credentials.remove(row)


def find_invitation(auth: Auth, email: str) -> Credential | None:
    """The row of the open invitation to ``email``, or None."""
    row = auth.credentials.find(INVITATION, account_key(email)) if email.isascii() and email else None
    return row if row is not None and auth.clock() < _row(row).until else None


def welcome(auth: Auth, user_id: str) -> None:
    """Apply the invitation of a user who has logged in, and consume it.

    Only once a login has verified the address that it was mailed to. Raises ConfigurationError if a role is
    gone by now; the next login tries again.
    """
    user = auth.users.by_id(user_id)
    email = None if user is None else auth.users.email_of(user)
    row = None if email is None else find_invitation(auth, email)
    if user is None or email is None or row is None or not is_email_verified(auth, user, email):
        return
    kept = _row(row)
    auth.users.set_up(user, name=kept.name, roles=kept.roles)
    if auth.credentials.remove(row):
        auth.events.emit("invitation.accepted", user=user, roles=", ".join(kept.roles) or None)


def forget_invitation(auth: Auth, user: User) -> None:
    """Remove the invitation to the address of ``user``."""
    email = auth.users.email_of(user) if auth.users.by_id(str(user.id)) is not None else None
    row = None if email is None else find_invitation(auth, email)
    if row is not None:
        auth.credentials.remove(row)


def _has_control(text: str) -> bool:
    """True for line breaks: in a mail, they would make paragraphs of a name."""
    return any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def _row(row: Credential) -> InvitationRow:
    return msgspec.json.decode(row.data, type=InvitationRow)


def _described(email: str, row: InvitationRow) -> Invitation:
    return Invitation(email, row.name, row.roles, row.at, row.until)
