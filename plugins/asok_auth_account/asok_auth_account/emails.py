"""Change an email address: the new one is proved, the old one can undo it.

A change that waits lies in the state store, one per user. Each change that was made leaves a row for the
old address, with a digest of the link that was mailed there; consuming the row restores the address.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from asok_auth_core.plugin import (
    JSON,
    AccountExists,
    Auth,
    Credential,
    CredentialExists,
    CredentialRejected,
    Delivery,
    EmailInvalid,
    EmailProofs,
    LoginRejected,
    RateLimited,
    RedactedStruct,
    User,
    WebRequest,
    account_key,
    change_email,
    change_row,
    digest,
    is_email_verified,
    parse_email,
    restore_email,
)

from .exclusive import moving
from .links import LinkToken, with_token
from .mails import Where, compose, link_to, post
from .profiles import language_of
from .settings import AccountSettings

PURPOSE = "account-email"
UNDO = "account_undo"
"""Kind of credentials: one row per former address."""

EMAIL_PATH = "/auth/account/email"
CODE_PATH = f"{EMAIL_PATH}/code"
CONFIRM_PATH = f"{EMAIL_PATH}/confirm"
UNDO_PATH = f"{EMAIL_PATH}/undo"

WINDOW = 900
"""Seconds in which mails and codes are counted."""
SENDS, SENDS_PER_ADDRESS, SENDS_PER_CLIENT = 5, 5, 30
CODES, CODES_PER_CLIENT = 10, 50
FORMER = 10
"""Changes of a user's address that can be undone at a time."""
STALE = "This link or code has expired, was already used, or is incomplete. Request a new one."
UNDONE = "This link has expired or was already used."


class Waiting(RedactedStruct, frozen=True):
    """A change that waits for the link or code that was mailed to ``email``."""

    shown = ("user_id",)

    user_id: str
    former: str
    email: str
    token: str


class UndoRow(RedactedStruct, frozen=True):
    """What is kept about a former address.

    ``secret`` is a digest, ``at`` and ``until`` are times. ``verified``: whether the account had verified it.
    """

    shown = ("at", "until", "verified")

    secret: str
    at: float
    until: float
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Undo:
    """A change that can be undone: the account, its former address, and when.

    ``verified``: whether the account had verified that address.
    """

    row: Credential
    user: User
    at: float
    verified: bool

    @property
    def email(self) -> str:
        """The former address."""
        return self.row.identifier


class EmailChanges:
    """Asks for, confirms and undoes changes of email addresses."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(AccountSettings)
        self._proofs = EmailProofs(auth, PURPOSE)

    # -- asking ----------------------------------------------------------------------------------

    def ask(self, request: WebRequest, user: User, text: str) -> tuple[str, Delivery]:
        """Mail a link and a code to the address ``text``.

        Return it, and the state of the mail. An earlier change of ``user`` that waits is void. The answer
        is the same if another account has the address; only the mail differs. Raises EmailInvalid,
        RateLimited, MailTemporary, LoginRejected.
        """
        auth, user_id = self._auth, str(user.id)
        email = account_key(parse_email(text, allow_localhost=auth.settings.app.debug))
        former = auth.users.email_of(user)
        if former is None:
            raise LoginRejected("Your account has no email address that could be changed.")
        if email == former.lower():
            raise EmailInvalid("This is your email address already.")
        if not self._settings.admits(email):
            raise EmailInvalid("Email addresses of this domain cannot be used here.")
        self._check_number(user_id)
        auth.limits.hit_client(PURPOSE, request.client_ip, limit=SENDS_PER_CLIENT, window=WINDOW)
        auth.limits.hit(PURPOSE, user_id, limit=SENDS, window=WINDOW)
        auth.limits.hit(f"{PURPOSE}:to", email, limit=SENDS_PER_ADDRESS, window=WINDOW)
        self.forget(user_id)
        lifetime, taken = self._settings.email_lifetime, self._is_taken(email, user_id)
        owner = auth.users.by_email(email)
        issued = self._proofs.issue(email, lifetime, user=owner, usable=not taken)
        waiting = Waiting(user_id, former, email, issued.token)
        auth.state.put(_waiting_key(user_id), msgspec.json.encode(waiting), lifetime)
        mail = compose(
            auth,
            email,
            request.locale,
            "auth/account/email_taken.txt" if taken else "auth/account/email_confirm.txt",
            where=Where.of(auth, request),
            link=None if taken else link_to(auth, request, with_token(CONFIRM_PATH, issued.token)),
            code=None if taken else f"{issued.code[:4]}-{issued.code[4:]}",
            minutes=max(1, lifetime // 60),
        )
        delivery = auth.outbox.post(mail)
        auth.events.emit("email.change_started", user=user, client_ip=request.client_ip, taken=taken)
        return email, delivery

    def _check_number(self, user_id: str) -> None:
        """Raise RateLimited if the user has too many former addresses.

        All of them get each mail about the account.
        """
        untils = [_undo_row(row).until for row in self._auth.credentials.list(user_id, UNDO)]
        waits = sorted(until - self._auth.clock() for until in untils if self._auth.clock() < until)
        if len(waits) >= FORMER:
            wait = math.ceil(waits[0])
            raise RateLimited(
                "You have changed your email address too often. Try again in {days} days.",
                wait,
                days=math.ceil(wait / 86_400),
            )

    def forget(self, user_id: str) -> None:
        """Void the change of the user that waits, with its link and code."""
        raw = self._auth.state.take(_waiting_key(user_id))
        if raw is not None:
            with suppress(CredentialRejected):
                self._proofs.take_link(msgspec.json.decode(raw, type=Waiting).token)

    def waiting(self, user: User) -> str | None:
        """The address that a change of ``user`` waits for, or None."""
        waiting = self._waiting(str(user.id))
        return None if waiting is None else waiting.email

    # -- confirming ------------------------------------------------------------------------------

    def look(self, user: User, token: str) -> str:
        """The address that the link ``token`` would give ``user``.

        Raises CredentialRejected.
        """
        waiting = self._waiting(str(user.id))
        if waiting is None or not hmac.compare_digest(digest(waiting.token), digest(token)):
            raise CredentialRejected(STALE)
        return self._proofs.look(token).email

    def confirm_link(self, request: WebRequest, user: User, token: str) -> str:
        """Change the address by a link, once; return the new one.

        Raises CredentialRejected for a link that was used, is older than another one or is another user's,
        and AccountExists.
        """
        with self._reporting(request, user, "link"), moving(self._auth, str(user.id)):
            self.look(user, token)
            return self._change(request, user, self._proofs.take_link(token).email)

    def confirm_code(self, request: WebRequest, user: User, code: str) -> str:
        """As :meth:`confirm_link`, by a code as the user typed it.

        Raises RateLimited too.
        """
        limits, user_id = self._auth.limits, str(user.id)
        limits.hit_client(f"{PURPOSE}-code", request.client_ip, limit=CODES_PER_CLIENT, window=WINDOW)
        limits.hit(f"{PURPOSE}-code", user_id, limit=CODES, window=WINDOW)
        with self._reporting(request, user, "code"), moving(self._auth, user_id):
            waiting = self._waiting(user_id)
            if waiting is None:
                raise CredentialRejected(STALE)
            return self._change(request, user, self._proofs.take_code(waiting.email, code).email)

    def _change(self, request: WebRequest, user: User, email: str) -> str:
        """Give ``user`` the proved ``email`` address that a change waits for."""
        auth, user_id = self._auth, str(user.id)
        raw = auth.state.take(_waiting_key(user_id))
        waiting = None if raw is None else msgspec.json.decode(raw, type=Waiting)
        stored = auth.users.by_id(user_id)  # another request may have changed it since this one began
        former = None if stored is None else auth.users.email_of(stored)
        if waiting is None or waiting.email != email or former != waiting.former:
            raise CredentialRejected(STALE)
        if self._is_taken(email, user_id):
            raise AccountExists("Another account has this email address.")
        record = request.session_record
        self.replace(request, user, email, keep=None if record is None else record.id)
        return email

    def replace(self, request: WebRequest | None, user: User, email: str, *, keep: str | None = None) -> None:
        """Give ``user`` the proved address ``email``; tell the former one.

        The former one can undo it. Sessions but ``keep`` end. Raises AccountExists.
        """
        auth, user_id, former = self._auth, str(user.id), self._auth.users.email_of(user)
        undo = None if former is None else self._keep_undo(user, former)
        try:
            change_email(auth, user, email, keep=keep)
        except BaseException:
            if undo is not None:
                auth.credentials.remove(undo[0])
            raise
        returned = auth.credentials.find(UNDO, email)
        if returned is not None and returned.user_id == user_id:
            auth.credentials.remove(returned)
        if former is not None:
            link = None if undo is None else link_to(auth, request, with_token(UNDO_PATH, undo[1]))
            mail = compose(
                auth,
                former,
                language_of(auth, user_id, request),
                "auth/account/email_changed.txt",
                where=Where(auth.clock()) if request is None else Where.of(auth, request),
                link=link,
                email=email,
                days=max(1, self._settings.email_undo // 86_400),
            )
            post(auth, mail)

    # -- undoing ---------------------------------------------------------------------------------

    def find_undo(self, token: str) -> Undo:
        """The change that the link ``token`` undoes. Raises CredentialRejected."""
        read = LinkToken.read(token)
        for row in () if read is None else self._auth.credentials.list(read.owner, UNDO):
            kept = _undo_row(row)
            if read is not None and read.matches(kept.secret) and self._auth.clock() < kept.until:
                user = self._auth.users.by_id(row.user_id)
                if user is not None:
                    return Undo(row, user, kept.at, kept.verified)
        raise CredentialRejected(UNDONE)

    def undo(self, request: WebRequest, token: str) -> str:
        """Restore the address to which the link ``token`` was mailed, once; return it.

        Everything that was added to the account since ends, and so do later changes and their links.
        Raises CredentialRejected, and AccountExists or StoreUnavailable, after which the link still works.
        """
        with moving(self._auth, str(self.find_undo(token).user.id)):
            return self._undo(request, self.find_undo(token))

    def _undo(self, request: WebRequest, found: Undo) -> str:
        auth = self._auth
        replaced = auth.users.email_of(found.user)
        if not auth.credentials.remove(found.row):
            raise CredentialRejected(UNDONE)
        try:
            restore_email(auth, found.user, found.email, since=found.at, verified=found.verified)
        except BaseException:
            kept: JSON = msgspec.json.decode(found.row.data)
            with suppress(CredentialExists):
                auth.credentials.add(found.row.user_id, UNDO, found.email, kept)
            raise
        self.forget(found.row.user_id)
        for row in auth.credentials.list(found.row.user_id, UNDO):
            if _undo_row(row).at >= found.at:
                auth.credentials.remove(row)
        if replaced is not None:
            language = language_of(auth, found.row.user_id, request)
            where = Where.of(auth, request)
            post(auth, compose(auth, replaced, language, "auth/account/email_restored.txt", where=where))
        return found.email

    def _is_taken(self, email: str, user_id: str) -> bool:
        owners = [one for one in self._auth.users.ids_alike(email) if one != user_id]
        return bool(owners) or is_reserved(self._auth, email, user_id)

    def _keep_undo(self, user: User, former: str) -> tuple[Credential, str] | None:
        """Keep the row of the address ``former``.

        Return it, and the token of the link to mail there; None if another account can have it back.
        """
        auth, user_id = self._auth, str(user.id)
        for row in auth.credentials.list(user_id, UNDO):
            if _undo_row(row).until <= auth.clock():
                auth.credentials.remove(row)
        if not self._settings.email_undo or not former.isascii():
            return None
        token, now = LinkToken.new(auth, user_id), auth.clock()
        data: JSON = {
            "secret": token.digest,
            "at": now,
            "until": now + self._settings.email_undo,
            "verified": is_email_verified(auth, user, former),
        }

        def change(row: Credential | None) -> JSON:
            if row is not None and row.user_id != user_id:
                if now < _undo_row(row).until and auth.users.by_id(row.user_id) is not None:
                    return None  # an attacker could void the owner's link with another account
                auth.credentials.remove(row)  # of an account that had the address before
            return data

        changed = change_row(auth.credentials, UNDO, account_key(former), change, owner=user_id)
        return None if changed is None else (changed.row, token.text)

    def _waiting(self, user_id: str) -> Waiting | None:
        raw = self._auth.state.get(_waiting_key(user_id))
        return None if raw is None else msgspec.json.decode(raw, type=Waiting)

    def _reporting(self, request: WebRequest, user: User, way: str) -> _Reporting:
        return _Reporting(self._auth, request, user, way)


@dataclass(frozen=True, slots=True)
class _Reporting:
    """Emits an event for a link or code that is rejected in its block."""

    auth: Auth
    request: WebRequest
    user: User
    way: str

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, CredentialRejected | AccountExists):
            self.auth.events.emit(
                "email.change_rejected", user=self.user, client_ip=self.request.client_ip, way=self.way
            )


def former_addresses(auth: Auth, user_id: str) -> list[str]:
    """The former addresses of the user that can still undo a change, oldest first."""
    rows = auth.credentials.list(user_id, UNDO)
    return [row.identifier for row in rows if auth.clock() < _undo_row(row).until]


def addresses_of(auth: Auth, user: User) -> list[str]:
    """The user's address and former ones, since an attacker may have changed it."""
    email = auth.users.email_of(user)
    former = former_addresses(auth, str(user.id))
    return former if email is None else [email, *(one for one in former if one != email)]


def is_reserved(auth: Auth, email: str, user_id: str | None = None) -> bool:
    """True if another account than the user's can have ``email`` back."""
    row = auth.credentials.find(UNDO, account_key(email))
    return row is not None and row.user_id != user_id and auth.clock() < _undo_row(row).until


def forget_undos(auth: Auth, user_id: str) -> None:
    """Void the links that would undo changes of the user's address."""
    for row in auth.credentials.list(user_id, UNDO):
        auth.credentials.remove(row)


def forget_waiting(auth: Auth, user_id: str) -> None:
    """Void the change of the user that waits, if there is one."""
    auth.state.delete(_waiting_key(user_id))


def export_undos(auth: Auth, user_id: str) -> Iterator[JSON]:
    """The former addresses of the user, without their links."""
    for row in auth.credentials.list(user_id, UNDO):
        kept = _undo_row(row)
        yield {"email": row.identifier, "changed_at": kept.at, "can_be_undone_until": kept.until}


def _undo_row(row: Credential) -> UndoRow:
    return msgspec.json.decode(row.data, type=UndoRow)


def _waiting_key(user_id: str) -> str:
    return f"{PURPOSE}:of:{user_id}"
