"""Give an account back to a user who has lost mailbox and second factor.

Support staff start it for a new email address, after they have verified who the user is. Nothing changes
for some days, in which everybody who still reads a mailbox of the account, or can log in to it, stops it
with one click. Then the link that was mailed to the new address completes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
from msgspec.structs import replace

from asok_auth_core.plugin import (
    JSON,
    AccountExists,
    Auth,
    ConfigurationError,
    Credential,
    CredentialRejected,
    Delivery,
    RedactedStruct,
    User,
    WebRequest,
    account_key,
    change_row,
    end_sessions,
    parse_email,
    reset_factors,
    restore_email,
)

from .emails import addresses_of, forget_undos, forget_waiting, is_reserved
from .exclusive import moving
from .links import LinkToken, with_token
from .mails import Where, compose, link_to, post
from .profiles import language_of
from .settings import AccountSettings

RECOVERY = "account_recovery"
"""Kind of credentials: one row per user whose account is being recovered."""
RECOVER_PATH = "/auth/account/recover"
STOP_PATH = f"{RECOVER_PATH}/stop"
REJECTED = "This link has expired, was already used, or the recovery was stopped."
TAKEN = "Another account has this email address."


class RecoveryRow(RedactedStruct, frozen=True):
    """What is kept. ``secret`` and ``stop_secret`` are digests.

    ``at`` and ``due`` are in seconds. ``former`` is the email address of the account when it began.
    """

    shown = ("at", "due", "state")

    secret: str
    stop_secret: str
    former: str | None
    email: str
    at: float
    due: float
    state: Literal["waiting", "completing", "stopped"] = "waiting"


SecretOf = Callable[[RecoveryRow], str]


@dataclass(frozen=True, slots=True)
class Recovery:
    """A recovery: of whom, to which address, and when it can be completed.

    ``warnings``: the mails to the addresses of the account, None for one that could not be posted.
    """

    user: User
    email: str
    due: float
    row: Credential
    warnings: tuple[Delivery | None, ...] = ()


class Recoveries:
    """Starts, stops and completes the recovery of accounts."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(AccountSettings)

    def start(self, user: User, text: str) -> tuple[Recovery, Delivery]:
        """Begin to move the account to the address ``text``.

        It gets the link that completes the recovery. All sessions end, an earlier recovery of the account
        is void, and all of its addresses get a link that stops this one. The caller has verified who asks.
        Raises EmailInvalid, AccountExists, ConfigurationError without APP_URL, MailTemporary.
        """
        auth, user_id = self._auth, str(user.id)
        email = account_key(parse_email(text, allow_localhost=auth.settings.app.debug))
        if any(one != user_id for one in auth.users.ids_alike(email)) or is_reserved(auth, email, user_id):
            raise AccountExists(TAKEN)
        token, stop, now = LinkToken.new(auth, user_id), LinkToken.new(auth, user_id), auth.clock()
        link = link_to(auth, None, with_token(RECOVER_PATH, token.text))
        if link is None:
            raise ConfigurationError("APP_URL is not set. The links in the emails are built from it.")
        due, former = now + self._settings.recovery_delay, auth.users.email_of(user)
        data = _data(RecoveryRow(token.digest, stop.digest, former, email, now, due))
        changed = change_row(auth.credentials, RECOVERY, user_id, lambda before: data, owner=user_id)
        if changed is None:
            raise CredentialRejected(REJECTED)
        end_sessions(auth, user)
        language = language_of(auth, user_id)
        words = "auth/account/recovery_started.txt"
        ends = link_to(auth, None, with_token(STOP_PATH, stop.text))
        warnings = [
            post(auth, compose(auth, to, language, words, where=Where(now), link=ends, due=due))
            for to in addresses_of(auth, user)
        ]
        until = due + self._settings.recovery_lifetime
        words = "auth/account/recovery_link.txt"
        delivery = auth.outbox.post(
            compose(auth, email, language, words, where=Where(now), link=link, due=due, until=until)
        )
        auth.events.emit("account.recovery_started", user=user, due=due)
        return Recovery(user, email, due, changed.row, tuple(warnings)), delivery

    def find(self, token: str) -> Recovery:
        """The recovery that the link ``token`` completes. Raises CredentialRejected."""
        return self._find(token, lambda kept: kept.secret)

    def find_to_stop(self, token: str) -> Recovery:
        """The recovery that the link ``token`` stops.

        Raises CredentialRejected once it is completed.
        """
        found = self._find(token, lambda kept: kept.stop_secret)
        if _row(found.row).state != "waiting":
            raise CredentialRejected(REJECTED)
        return found

    def complete(self, request: WebRequest, token: str) -> bool:
        """Move the account to the new address by the link ``token``, once.

        False before its time. Second factors, recovery codes, trusted browsers, linked identities, API
        tokens and links to undo a change of the address are removed: a finder of the old mailbox or phone
        must not get in with any of them. Nobody is logged in. After an interruption the link works again
        some minutes later. Raises CredentialRejected, and AccountExists or StoreUnavailable, after which the
        link still works.
        """
        found = self.find(token)
        if self._auth.clock() < found.due:
            return False
        with moving(self._auth, str(found.user.id)):
            self._complete(request, self.find(token))
        return True

    def _complete(self, request: WebRequest, found: Recovery) -> None:
        auth, user, kept = self._auth, found.user, _row(found.row)
        begun = auth.credentials.replace(found.row, _data(replace(kept, state="completing")))
        if begun is None:
            raise CredentialRejected(REJECTED)
        told = addresses_of(auth, user)
        try:
            if is_reserved(auth, found.email, str(user.id)):
                raise AccountExists(TAKEN)
            restore_email(auth, user, found.email, since=0)
        except AccountExists:
            auth.credentials.replace(begun, _data(kept))
            raise
        # Before the factors: an undo would give the account, without them, to a finder of the old mailbox.
        forget_undos(auth, str(user.id))
        forget_waiting(auth, str(user.id))
        reset_factors(auth, user)
        auth.credentials.remove(begun)
        auth.events.emit("account.recovered", user=user, client_ip=request.client_ip)
        where, language = Where.of(auth, request), language_of(auth, str(user.id))
        for to in told:
            if to != found.email:
                post(auth, compose(auth, to, language, "auth/account/recovery_done.txt", where=where))

    def stop_by_link(self, request: WebRequest, token: str) -> None:
        """Stop the recovery by the link ``token``, once. Raises CredentialRejected."""
        if not self._stop(self.find_to_stop(token), "link", request):
            raise CredentialRejected(REJECTED)

    def stop_by_login(self, user_id: str, request: WebRequest | None) -> None:
        """Stop the recovery of a user who has logged in: nothing is lost."""
        self.stop(user_id, "login", request)

    def stop(self, user_id: str, way: str, request: WebRequest | None = None) -> bool:
        """Stop the recovery of the user.

        False if there is none, it has expired, or it is being completed.
        """
        row = self._auth.credentials.find(RECOVERY, user_id)
        user = None if row is None else self._auth.users.by_id(user_id)
        if row is None or user is None:
            return False
        kept = _row(row)
        return self._stop(Recovery(user, kept.email, kept.due, row), way, request)

    def _stop(self, found: Recovery, way: str, request: WebRequest | None) -> bool:
        auth, kept = self._auth, _row(found.row)
        if kept.state != "waiting":
            return False
        # By compare and swap, as it is completed: of the two, one wins.
        stopped = auth.credentials.replace(found.row, _data(replace(kept, state="stopped")))
        if stopped is None or not auth.credentials.remove(stopped) or _is_over(auth, kept):
            return False
        ip = None if request is None else request.client_ip
        auth.events.emit("account.recovery_stopped", user=found.user, client_ip=ip, way=way)
        language = language_of(auth, str(found.user.id), request)
        for to in dict.fromkeys((*addresses_of(auth, found.user), found.email)):
            # Where it was stopped is not told to the new address: it may be an attacker's.
            where = Where(auth.clock())
            post(auth, compose(auth, to, language, "auth/account/recovery_stopped.txt", where=where))
        return True

    def _find(self, token: str, secret_of: SecretOf) -> Recovery:
        read = LinkToken.read(token)
        row = None if read is None else self._auth.credentials.find(RECOVERY, read.owner)
        user = None if row is None else self._auth.users.by_id(row.user_id)
        if read is None or row is None or user is None or not read.matches(secret_of(_row(row))):
            raise CredentialRejected(REJECTED)
        kept = _row(row)
        moved = kept.state == "waiting" and self._auth.users.email_of(user) != kept.former
        if kept.state == "stopped" or moved or _is_over(self._auth, kept):
            raise CredentialRejected(REJECTED)
        return Recovery(user, kept.email, kept.due, row)


def is_being_recovered(auth: Auth, user_id: str) -> bool:
    """True if the account is being recovered, and that can still be completed."""
    row = auth.credentials.find(RECOVERY, user_id)
    return row is not None and _row(row).state != "stopped" and not _is_over(auth, _row(row))


def export_recovery(auth: Auth, user_id: str) -> JSON:
    """The recovery of the user's account that has not ended, without its links."""
    row = auth.credentials.find(RECOVERY, user_id) if is_being_recovered(auth, user_id) else None
    return None if row is None else {"email": _row(row).email, "due": _row(row).due}


def _row(row: Credential) -> RecoveryRow:
    return msgspec.json.decode(row.data, type=RecoveryRow)


def _is_over(auth: Auth, row: RecoveryRow) -> bool:
    """True if the link that completes it no longer works."""
    return row.due + auth.settings.section(AccountSettings).recovery_lifetime <= auth.clock()


def _data(row: RecoveryRow) -> JSON:
    return cast("JSON", msgspec.to_builtins(row))
