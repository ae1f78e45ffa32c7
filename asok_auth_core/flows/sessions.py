"""Sessions are records, in force while their row exists and within limits.

The browser has a cookie of our own, ``<id>.<secret>``. The row, in the app's database, is found by the id and
holds a digest of the secret, so whatever the framework keeps about the browser, and whichever worker keeps
it, a row that is gone stays gone. Pages, sockets and the Admin all ask :func:`find_session`.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from ..auth import Auth
from ..engine.encoding import b64url_encode
from ..engine.keys import digest, new_handle
from ..errors import StoreUnavailable
from ..settings import Settings
from ..stores.rows import change_row
from ..types import JSON, Credential, RedactedStruct, SessionRecord, StateOperation, User
from ..web import WebRequest
from .epoch import raise_epoch
from .factor_policy import second_factor_required
from .recent_login import require_recent_login

logger = logging.getLogger("asok_auth")

KIND = "session"
COOKIE = "asok_auth_session"
DAY = 86_400
SEEN_EVERY = 60
"""Seconds; the precision of "last seen"."""
SHOWN_AGENT = 200


class SessionRow(RedactedStruct, frozen=True):
    """What the row holds. ``secret`` is a digest."""

    shown = ("method", "factors", "at", "remember")

    secret: str
    method: str
    factors: tuple[str, ...]
    at: float
    remember: bool
    agent: str
    acts_as: str | None = None
    acts_since: float = 0.0
    confirmed: float = 0.0


def session_cookie(*, secure: bool) -> str:
    """The cookie's name. ``__Host-`` keeps other hosts of the domain from setting it."""
    return f"__Host-{COOKIE}" if secure else COOKIE


def begin_session(
    auth: Auth,
    request: WebRequest,
    user: User,
    *,
    method: str,
    factors: Sequence[str],
    remember: bool,
    secret: str | None = None,
) -> SessionRecord:
    """Start a session of ``user`` here, ending the browser's other one.

    Raises StoreUnavailable. ``secret`` is the secret half of the cookie; by default a random one.
    """
    for row in auth.credentials.list(str(user.id), KIND):
        if _is_over(auth, _read(row)):
            auth.credentials.remove(row)
    session_id = b64url_encode(auth.random(16)).decode()
    secret = secret or new_handle(auth.random)
    kept = SessionRow(
        digest(secret),
        method,
        tuple(factors),
        auth.clock(),
        remember,
        request.headers.get("User-Agent", "")[:SHOWN_AGENT],
    )
    if auth.settings.session_ip_days and request.client_ip:
        # In the state store, which forgets it by itself.
        ip = request.client_ip.encode()
        auth.state.put(_ip_key(session_id), ip, auth.settings.session_ip_days * DAY)
    record = _read(auth.credentials.add(str(user.id), KIND, session_id, msgspec.to_builtins(kept)))
    try:
        _enter(auth, request, user, record, secret)
    except StoreUnavailable:
        abandon_session(auth, request, record)
        raise
    return record


def resume_session(auth: Auth, request: WebRequest, session_id: str, secret: str) -> bool:
    """Send the cookie of ``session_id`` again; False if that session has ended."""
    found = find_session(auth, f"{session_id}.{secret}")
    if found is None:
        return False
    record, user = found
    _enter(auth, request, user, record, secret)
    return True


def _enter(auth: Auth, request: WebRequest, user: User, record: SessionRecord, secret: str) -> None:
    """Send the cookie of ``record``; another session that this browser was in ends."""
    before = _row_of(auth, _handle_in(request))
    if before is not None and before.identifier != record.id:
        auth.credentials.remove(before)
    _, lifetime = limits(auth.settings, remember=record.remember)
    request.set_cookie(session_cookie(secure=request.secure), f"{record.id}.{secret}", max_age=lifetime)
    request.session.begin(user, record)


def find_session(auth: Auth, handle: str | None, *, is_use: bool = True) -> tuple[SessionRecord, User] | None:
    """The session in force with the cookie ``handle``, and its user; or None.

    Not in force: a session that was ended, has passed its idle or absolute limit, whose user is gone or
    disabled, or was logged in with one factor and now needs two. ``is_use``: the user is doing something,
    so the idle limit starts again. Raises StoreUnavailable.
    """
    name, _, secret = (handle or "").partition(".")
    found = auth.credentials.find_with_user(KIND, name, auth.users) if name and secret else None
    if found is None or not _is_secret_of(found[0], secret):
        return None
    row, user = found
    record = _read(row)
    if user is None or _is_over(auth, record) or not auth.users.is_active(user):
        return None
    if not record.factors and second_factor_required(auth, user):
        return None
    now = auth.clock()
    if is_use and record.last_seen + SEEN_EVERY <= now:
        try:
            auth.credentials.touch(row, now)
        except StoreUnavailable:
            # The row was read, so the session is in force; only "last seen" is not up to date.
            logger.warning("The last use of a session could not be stored.", exc_info=True)
    return record, user


def end_session(auth: Auth, request: WebRequest, started: SessionRecord | None = None) -> None:
    """End this browser's session for good, also for requests still running.

    ``started`` is one that this request itself started.
    """
    _remove(auth, _row_of(auth, _handle_in(request)))
    if started is not None:
        _remove(auth, auth.credentials.find(KIND, started.id))
    _leave(request)


def abandon_session(auth: Auth, request: WebRequest, started: SessionRecord) -> None:
    """Keep this browser out of the session that a failed login started."""
    _leave(request)
    try:
        _remove(auth, auth.credentials.find(KIND, started.id))
    except StoreUnavailable:
        # No browser has its cookie.
        logger.warning("The record of a session that no browser has stays until it expires.", exc_info=True)


def _leave(request: WebRequest) -> None:
    request.set_cookie(session_cookie(secure=request.secure), "", max_age=0)
    request.session.end()


def sessions_of(auth: Auth, user: User) -> list[SessionRecord]:
    """The user's sessions that have not passed their limits, the last seen first."""
    found = [_read(row) for row in auth.credentials.list(str(user.id), KIND)]
    found = [record for record in found if not _is_over(auth, record)]
    return sorted(found, key=lambda record: record.last_seen, reverse=True)


def all_sessions(auth: Auth, limit: int) -> list[SessionRecord]:
    """Up to ``limit`` sessions in force of all users, the last seen first."""
    found = [_read(row) for row in auth.credentials.newest(KIND, limit)]
    return [record for record in found if not _is_over(auth, record)]


def end_session_of(
    auth: Auth, session_id: str, *, user_id: str | None = None, client_ip: str | None = None
) -> bool:
    """End the session with this id; False if there is none, or not of that user.

    ``client_ip`` is that of the user who ended it; None: an operator did.
    """
    row = auth.credentials.find(KIND, session_id)
    if row is None or user_id not in (None, row.user_id) or not auth.credentials.remove(row):
        return False
    auth.events.emit("sessions.ended", user=auth.users.by_id(row.user_id), client_ip=client_ip)
    return True


def client_ip_of(auth: Auth, record: SessionRecord) -> str | None:
    """The client IP that started the session; None after ``SESSION_IP_DAYS``."""
    raw = auth.state.get(_ip_key(record.id))
    return None if raw is None else raw.decode()


def forget_client_ips(auth: Auth, user: User) -> None:
    """Delete the client IPs of the user's sessions."""
    for row in auth.credentials.list(str(user.id), KIND):
        auth.state.delete(_ip_key(row.identifier))


def end_sessions(auth: Auth, user: User, *, keep: str | None = None, since: int | None = None) -> int:
    """End the user's sessions except ``keep``, and all logins in progress.

    Returns their number. ``since``: see ``raise_epoch``. Raises StoreUnavailable.
    """
    # First, so that a login that is completed meanwhile notices: see login.finish_login.
    raise_epoch(auth, str(user.id), since=since)
    rows = auth.credentials.list(str(user.id), KIND)
    ended = [row for row in rows if row.identifier != keep and auth.credentials.remove(row)]
    if ended:
        try:
            # Nothing finds them any more, not even what removes the account.
            auth.state.batch([StateOperation("delete", _ip_key(row.identifier)) for row in ended])
        except StoreUnavailable:
            logger.warning("The client IPs of ended sessions remain until they expire.", exc_info=True)
    return len(ended)


def end_own_session(auth: Auth, request: WebRequest, session_id: str) -> bool:
    """End another session of the current user; False if it is gone.

    Raises LoginRequired, RecentLoginRequired, StoreUnavailable.
    """
    user = require_recent_login(auth, request)
    record = request.session_record
    if record is not None and record.id == session_id:
        return False
    return end_session_of(auth, session_id, user_id=str(user.id), client_ip=request.client_ip)


def end_other_sessions(auth: Auth, request: WebRequest) -> User:
    """Log the current user out of all sessions but this one.

    Raises LoginRequired, RecentLoginRequired (OWASP ASVS 5.0, 7.5.2), StoreUnavailable.
    """
    user = require_recent_login(auth, request)
    record = request.session_record
    end_sessions(auth, user, keep=None if record is None else record.id)
    auth.events.emit("sessions.ended", user=user, client_ip=request.client_ip)
    return user


def add_factor(auth: Auth, record: SessionRecord, name: str) -> None:
    """Note that the user of ``record`` has now given the second factor ``name``."""
    _change(auth, record, lambda row: replace(row, factors=tuple(dict.fromkeys((*row.factors, name)))))


def confirm_session(auth: Auth, record: SessionRecord, name: str) -> None:
    """Note that the second factor ``name`` was just given in the session ``record``."""
    now = auth.clock()

    def confirmed(row: SessionRow) -> SessionRow:
        return replace(row, factors=tuple(dict.fromkeys((*row.factors, name))), confirmed=now)

    _change(auth, record, confirmed)


def impersonate(auth: Auth, record: SessionRecord, user_id: str | None) -> None:
    """Let the user of ``record`` act as another from now on; None ends that.

    The caller has checked that they may. Raises StoreUnavailable.
    """
    _change(auth, record, lambda row: replace(row, acts_as=user_id, acts_since=auth.clock()))


def limits(settings: Settings, *, remember: bool) -> tuple[int | None, int]:
    """The idle and the absolute limit of a session, in seconds (OWASP ASVS 5.0, 7.3)."""
    if remember:
        return None, settings.session_remember
    return settings.session_idle, settings.session_lifetime


def _is_over(auth: Auth, record: SessionRecord) -> bool:
    idle, lifetime = limits(auth.settings, remember=record.remember)
    now = auth.clock()
    return record.logged_in_at + lifetime <= now or (idle is not None and record.last_seen + idle <= now)


def _handle_in(request: WebRequest) -> str | None:
    return request.cookies.get(session_cookie(secure=request.secure))


def _row_of(auth: Auth, handle: str | None) -> Credential | None:
    """The row of the cookie ``handle``, if its secret is the row's."""
    name, _, secret = (handle or "").partition(".")
    row = auth.credentials.find(KIND, name) if name and secret else None
    return row if row is not None and _is_secret_of(row, secret) else None


def _is_secret_of(row: Credential, secret: str) -> bool:
    return hmac.compare_digest(_stored(row).secret, digest(secret))


def _stored(row: Credential) -> SessionRow:
    return msgspec.json.decode(row.data, type=SessionRow)


def _change(auth: Auth, record: SessionRecord, change: Callable[[SessionRow], SessionRow]) -> None:
    """Change the row of ``record``; a session that was ended meanwhile stays ended."""

    def changed(row: Credential | None) -> JSON:
        return None if row is None else msgspec.to_builtins(change(_stored(row)))

    change_row(auth.credentials, KIND, record.id, changed)


def _ip_key(session_id: str) -> str:
    return f"session-ip:{session_id}"


def _remove(auth: Auth, row: Credential | None) -> None:
    if row is not None:
        auth.credentials.remove(row)


def _read(row: Credential) -> SessionRecord:
    kept = _stored(row)
    return SessionRecord(
        id=row.identifier,
        user_id=row.user_id,
        method=kept.method,
        factors=kept.factors,
        logged_in_at=kept.at,
        last_seen=row.created_at if row.last_used_at is None else row.last_used_at,
        remember=kept.remember,
        user_agent=kept.agent,
        impersonates=kept.acts_as,
        impersonates_since=kept.acts_since,
        confirmed_at=kept.confirmed,
    )
