"""Make Asok's WebSockets ask for the current user before each message.

Messages that the app pushes do not reach users who logged out more than a few seconds ago.

Asok looks the user up once, in its own session. ``WebSocketServer`` and its live components are patched
once per process; for an app without the extension, each patch does what Asok does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from asok.context import request_context
from asok.request import Request
from asok.ws import WebSocketServer, live
from asok.ws.connection import Connection

from ....errors import AuthError
from ....types import User
from ..app_auth import AppAuth, app_auth_on
from ..asok_names import original
from ..request import Current

logger = logging.getLogger("asok_auth")

_ASOK_DISPATCH = original(WebSocketServer, "_dispatch_text_frame")
_ASOK_MAY_JOIN = original(WebSocketServer, "check_room_authorization")
_ASOK_ON_CONNECT = original(WebSocketServer, "_fire_on_connect")
_ASOK_ON_DISCONNECT = original(WebSocketServer, "_fire_on_disconnect")
_ASOK_REGISTER = original(WebSocketServer, "_register")
_ASOK_REQUEST = original(live, "_build_pseudo_request")
_ASOK_SEND = original(Connection, "send")
_ASOK_USER = original(WebSocketServer, "_resolve_user")

Handler = Callable[[Connection, str], object]

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
"""Close codes (RFC 6455, section 7.4.1, and IANA's registry)."""
PUSH_RECHECK = 10
"""Seconds after which a user is looked up again before the app pushes a message to their socket."""


def install_on_websockets() -> None:
    """Put our checks into ``WebSocketServer``. Idempotent."""
    WebSocketServer._resolve_user = _resolve_user
    WebSocketServer._register = _register
    WebSocketServer._dispatch_text_frame = staticmethod(_dispatch)
    WebSocketServer._fire_on_connect = staticmethod(_on_connect)
    WebSocketServer._fire_on_disconnect = staticmethod(_on_disconnect)
    WebSocketServer.check_room_authorization = _may_join
    live._build_pseudo_request = _request_of
    Connection.send = _send


def _resolve_user(self: WebSocketServer, headers: dict[str, str]) -> User | None:
    """No user yet: :func:`_register` looks it up, with the connection's request."""
    return None if app_auth_on(self.app) is not None else _ASOK_USER(self, headers)


def _register(self: WebSocketServer, conn: Connection) -> None:
    """Complete the handshake. An error closes the socket."""
    app_auth = app_auth_on(self.app)
    if app_auth is not None:
        conn.user = conn.request.user
        conn._asok_auth_looked_up = app_auth.auth.clock()
    _ASOK_REGISTER(self, conn)


def _request_of(server: WebSocketServer, conn: Connection) -> Request:
    """The request that handlers and live components see, until the next message."""
    if app_auth_on(getattr(server, "app", None)) is None:
        return _ASOK_REQUEST(server, conn)
    return getattr(conn, "request", None) or _new_request(server, conn)


def _new_request(server: WebSocketServer, conn: Connection) -> Request:
    """The handshake's request, whose user is looked up when it is first asked for."""
    request = _ASOK_REQUEST(server, conn)
    request._user_instance, request._auth_resolved = None, False
    request.environ["REMOTE_ADDR"] = conn.addr[0]
    if conn.headers.get("origin", "").lower().startswith("https:"):
        # Without APP_URL, the scheme of the page that opened the socket decides which cookie counts.
        request.environ["wsgi.url_scheme"] = "https"
    return request


def _dispatch(conn: Connection, payload: bytes, handler: Handler | None) -> None:
    """Deliver a message, unless the handshake's user is no longer logged in here."""
    app_auth = app_auth_on(getattr(conn.server, "app", None))
    if app_auth is None:
        _ASOK_DISPATCH(conn, payload, handler)
    elif _is_current(app_auth, conn):
        with request_context(conn.request):
            _ASOK_DISPATCH(conn, payload, handler)


class _Ended(Exception):
    """The handshake's user is no longer logged in here: close the socket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def _is_current(app_auth: AppAuth, conn: Connection) -> bool:
    """Look the user up again; close the socket if it is another one or none."""
    if conn.user is None:
        return True
    try:
        request = _looked_up(app_auth, conn, is_use=True)
    except _Ended as ended:
        _drop(app_auth, conn, ended.code, ended.reason)
        return False
    conn.user, conn.request = request.user, request
    return True


def _looked_up(app_auth: AppAuth, conn: Connection, *, is_use: bool) -> Request:
    """The handshake's request with its user, who is still logged in. Raises _Ended.

    ``is_use`` is False if only the app does something, which does not keep an idle session alive.
    """
    conn._asok_auth_looked_up = app_auth.auth.clock()
    try:
        request = _new_request(conn.server, conn)
        app_auth.web_request(request).is_use = is_use
        user = request.user
    except AuthError:
        logger.warning("A socket was closed: its user could not be looked up.", exc_info=True)
        raise _Ended(TRY_AGAIN_LATER, "Please try again later.") from None
    if user is None or user.id != conn.user.id:
        raise _Ended(POLICY_VIOLATION, "This session has ended.")
    return request


def _send(self: Connection, message: str | bytes) -> bool:
    """Send the app's pushes only to a logged-in user, looked up every few seconds."""
    app_auth = app_auth_on(getattr(self.server, "app", None))
    if app_auth is not None and self.user is not None:
        looked_up = getattr(self, "_asok_auth_looked_up", None)
        if looked_up is not None and not 0 <= app_auth.auth.clock() - looked_up < PUSH_RECHECK:
            try:
                _looked_up(app_auth, self, is_use=False)
            except _Ended as ended:
                # The socket's own thread notices and cleans up; here other sockets wait for their message.
                self.close(ended.code, ended.reason)
                return True
    return bool(_ASOK_SEND(self, message))


def _drop(app_auth: AppAuth, conn: Connection, code: int, reason: str) -> None:
    if conn.server._decrement_presence(conn.user.id):
        conn.server._broadcast_presence(conn.user.id, "offline")
    conn._rooms.clear()
    conn.user = conn.session = conn.request.user = None
    app_auth.web_request(conn.request).current = Current()
    conn.close(code, reason)


def _on_connect(route: Any, conn: Connection) -> None:
    _with_request(_ASOK_ON_CONNECT, route, conn)


def _on_disconnect(route: Any, conn: Connection) -> None:
    _with_request(_ASOK_ON_DISCONNECT, route, conn)


def _with_request(fire: Callable[[Any, Connection], None], route: Any, conn: Connection) -> None:
    """Call the app's handler as in a message, so that a token's scopes hold there."""
    if app_auth_on(getattr(conn.server, "app", None)) is None:
        fire(route, conn)
        return
    with request_context(conn.request):
        fire(route, conn)


def _may_join(self: WebSocketServer, conn: Connection, room: str) -> bool:
    """Keep scoped API tokens out of rooms of models; Asok checks only ``is_admin``."""
    app_auth = app_auth_on(self.app)
    if app_auth is not None and room.startswith("model:") and _is_scoped(app_auth, conn):
        return False
    return bool(_ASOK_MAY_JOIN(self, conn, room))


def _is_scoped(app_auth: AppAuth, conn: Connection) -> bool:
    return app_auth.web_request(conn.request).scopes is not None
