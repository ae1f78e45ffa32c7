"""Delete an account some time after its user asked for that.

Until then, the user can come back. An order is a row that belongs to no user, so that what removes a user's
rows does not remove it: it goes last. Its state changes by compare and swap, so of a user who comes back
and a deletion that begins, one wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
from msgspec.structs import replace

from asok_auth_core.plugin import (
    JSON,
    Auth,
    AuthError,
    Credential,
    CredentialRejected,
    LoginRejected,
    RedactedStruct,
    User,
    WebRequest,
    change_row,
    end_sessions,
    remove_user,
)

from .emails import addresses_of
from .exclusive import alone
from .invitations import NOBODY
from .links import LinkToken, with_token
from .mails import Where, compose, link_to, post
from .profiles import language_of
from .recovery import is_being_recovered
from .settings import AccountSettings

ORDER = "account_deletion"
"""Kind of credentials: one row per user whose account is to be deleted."""
KEEP_PATH = "/auth/account/keep"
REJECTED = "This link has expired or was already used."

State = Literal["waiting", "kept", "removing"]


class OrderRow(RedactedStruct, frozen=True):
    """What is kept. ``secret`` is a digest.

    ``at`` and ``due`` are seconds since the epoch. ``email`` tells the account from a later one with the
    same id.
    """

    shown = ("at", "due", "state")

    secret: str
    email: str | None
    at: float
    due: float
    state: State = "waiting"


@dataclass(frozen=True, slots=True)
class Hidden:
    """An account that no lookup finds: gone, or deleted softly."""

    id: int | str
    email: str | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of an account that was due.

    ``failed``: what could not be removed, and is tried again.
    """

    user_id: str
    failed: tuple[str, ...] = ()


class Deletions:
    """The accounts that are to be deleted."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(AccountSettings)

    @property
    def days(self) -> int:
        """The grace period in whole days, at least one."""
        return max(1, self._settings.deletion_grace // 86_400)

    def ask(self, user: User, request: WebRequest | None = None) -> float:
        """Let the account of ``user`` be deleted after the grace period.

        Return when (seconds). All sessions end. The user gets a mail with a link that keeps the account. An
        order that waits already keeps its time. Raises LoginRejected if the deletion has begun.
        """
        auth, user_id = self._auth, str(user.id)
        token, now = LinkToken.new(auth, user_id), auth.clock()
        email = auth.users.email_of(user)
        due = now + self._settings.deletion_grace
        link = link_to(auth, request, with_token(KEEP_PATH, token.text))  # first: it fails without APP_URL

        def change(row: Credential | None) -> JSON:
            nonlocal due
            kept = None if row is None else order_row(row)
            if kept is not None and kept.state == "removing":
                raise LoginRejected("This account is being deleted.")
            if kept is not None and kept.state == "waiting" and kept.email == email:
                due = kept.due
            return _data(OrderRow(token.digest, email, now, due))

        change_row(auth.credentials, ORDER, user_id, change, owner=NOBODY)
        end_sessions(auth, user)
        for to in addresses_of(auth, user):
            mail = compose(
                auth,
                to,
                language_of(auth, user_id, request),
                "auth/account/deletion_asked.txt",
                where=Where(now) if request is None else Where.of(auth, request),
                link=link,
                due=due,
            )
            post(auth, mail)
        ip = None if request is None else request.client_ip
        auth.events.emit("account.deletion_requested", user=user, client_ip=ip)
        return due

    def find(self, token: str) -> tuple[Credential, User]:
        """The order that the link ``token`` ends, and its user.

        Raises CredentialRejected.
        """
        read = LinkToken.read(token)
        row = None if read is None else self._auth.credentials.find(ORDER, read.owner)
        user = None if row is None else self._auth.users.by_id(row.identifier)
        if read is None or row is None or user is None or not _is_about(self._auth, row, user):
            raise CredentialRejected(REJECTED)
        if order_row(row).state != "waiting" or not read.matches(order_row(row).secret):
            raise CredentialRejected(REJECTED)
        return row, user

    def keep_by_link(self, request: WebRequest, token: str) -> None:
        """Keep the account by the link ``token``, once. Raises CredentialRejected."""
        row, user = self.find(token)
        if not self._keep(row, user, "link", request):
            raise CredentialRejected(REJECTED)

    def keep_by_login(self, user_id: str, request: WebRequest | None) -> None:
        """Keep the account of a user who has logged in; tell them by mail."""
        row = self._auth.credentials.find(ORDER, user_id)
        user = None if row is None else self._auth.users.by_id(user_id)
        if row is not None and user is not None:
            self._keep(row, user, "login", request)

    def _keep(self, row: Credential, user: User, way: str, request: WebRequest | None) -> bool:
        auth, kept = self._auth, order_row(row)
        if kept.state != "waiting":
            return False
        marked = auth.credentials.replace(row, _data(replace(kept, state="kept")))
        if marked is None:
            return False
        auth.credentials.remove(marked)
        ip = None if request is None else request.client_ip
        auth.events.emit("account.deletion_canceled", user=user, client_ip=ip, way=way)
        email = auth.users.email_of(user)
        if email is not None:
            language = language_of(auth, str(user.id), request)
            where = Where(auth.clock()) if request is None else Where.of(auth, request)
            words = "auth/account/deletion_canceled.txt"
            link = link_to(auth, request)
            post(auth, compose(auth, email, language, words, where=where, link=link))
        return True

    # -- deleting --------------------------------------------------------------------------------

    def due(self) -> list[Credential]:
        """The orders whose time has come, or that were interrupted, oldest first.

        One waits while support staff recover the account: a thief may have asked for it, and the owner cannot
        log in to keep the account.
        """
        return [row for row in self._auth.credentials.list(NOBODY, ORDER) if self._is_due(row)]

    def _is_due(self, row: Credential) -> bool:
        order = order_row(row)
        if order.state != "waiting":
            return True
        return order.due <= self._auth.clock() and not is_being_recovered(self._auth, row.identifier)

    def waiting(self) -> int:
        """The number of accounts that are to be deleted later."""
        return len(self._auth.credentials.list(NOBODY, ORDER)) - len(self.due())

    def run(self) -> Iterator[Deleted]:
        """Delete the accounts that are due.

        Can be interrupted and run again, in several processes too.
        """
        for row in self.due():
            deleted = self._delete(row)
            if deleted is not None:
                yield deleted

    def _delete(self, row: Credential) -> Deleted | None:
        """Delete the account of one order; None if there is nothing to delete any more."""
        auth, user_id = self._auth, row.identifier
        user = auth.users.by_id(user_id)
        if order_row(row).state == "kept" or (user is not None and not _is_about(auth, row, user)):
            auth.credentials.remove(row)
            return None
        with alone(auth, f"deletion:{user_id}") as is_alone:
            if not is_alone:
                return None
            begun = auth.credentials.replace(row, _data(replace(order_row(row), state="removing")))
            # None: the user came back.
            return None if begun is None else self._remove(begun, user)

    def _remove(self, row: Credential, user: User | None) -> Deleted:
        """Remove what is kept about the user, then the account, then the order.

        ``user`` is None if the app has hidden the account, or an earlier run was interrupted after it was
        deleted: what is left goes all the same.
        """
        auth, user_id = self._auth, row.identifier
        email, language = order_row(row).email, language_of(auth, user_id)
        user = user or Hidden(int(user_id) if user_id.isdecimal() else user_id, email)
        try:
            failed = remove_user(auth, user).failed
            if failed:
                return Deleted(user_id, failed)
            auth.users.remove(user)
        except AuthError as error:
            return Deleted(user_id, (error.message,))
        auth.credentials.remove(row)
        auth.events.emit("account.deleted", user=user)
        if email is not None:
            where = Where(auth.clock())
            post(auth, compose(auth, email, language, "auth/account/deletion_done.txt", where=where))
        return Deleted(user_id)


def is_being_deleted(auth: Auth, user: User) -> bool:
    """True if the deletion of the account has begun."""
    row = auth.credentials.find(ORDER, str(user.id))
    return row is not None and order_row(row).state == "removing" and _is_about(auth, row, user)


def forget_order(auth: Auth, user_id: str, *, is_new: bool = False) -> None:
    """Remove the order of an account that ``is_new`` or that the app has deleted."""
    row = auth.credentials.find(ORDER, user_id)
    if row is not None and (is_new or order_row(row).state != "removing"):
        auth.credentials.remove(row)


def _is_about(auth: Auth, row: Credential, user: User) -> bool:
    """False if the account is a later one that got the same id."""
    return order_row(row).email == auth.users.email_of(user)


def order_row(row: Credential) -> OrderRow:
    """What ``row`` holds."""
    return msgspec.json.decode(row.data, type=OrderRow)


def _data(row: OrderRow) -> JSON:
    return cast("JSON", msgspec.to_builtins(row))
