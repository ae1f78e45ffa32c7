"""Make Asok's session store list and revoke our sessions, for the Admin.

Asok's own entries log no user in. The lists show the sessions in force, and revoking one removes its record.
"""

from __future__ import annotations

from collections.abc import Iterator

from asok import Asok
from asok.admin import Admin
from asok.request import Request

from ....auth import Auth
from ....flows.sessions import all_sessions, client_ip_of, end_session_of, end_sessions, sessions_of
from ....types import SessionRecord
from ..app_auth import AppAuth, app_auth_on
from ..asok_names import original

_ASOK_RENDER = original(Admin, "_render")

PREFIX = "auth-"
"""Marks the ids of our sessions; Asok's own are hexadecimal."""
SHOWN = 500
"""As many as Asok's screen shows."""


def install_on_sessions(app: Asok, app_auth: AppAuth) -> None:
    """Replace what the Admin asks the app's session store; requests use it as before."""
    auth, store = app_auth.auth, app._session_store
    asok_delete = store.delete

    def of_user(user_id: object) -> list[dict[str, object]]:
        user = auth.users.by_id(str(user_id))
        return [] if user is None else list(_shown(auth, sessions_of(auth, user)))

    def of_all(max_age: float | None = None) -> list[dict[str, object]]:
        return list(_shown(auth, all_sessions(auth, SHOWN)))

    def delete(sid: str) -> bool:
        if sid.startswith(PREFIX):
            return end_session_of(auth, sid.removeprefix(PREFIX))
        return bool(asok_delete(sid))

    def revoke(user_id: object, sid: str) -> bool:
        return end_session_of(auth, sid.removeprefix(PREFIX), user_id=str(user_id))

    def revoke_all(user_id: object) -> int:
        user = auth.users.by_id(str(user_id))
        if user is None:
            return 0
        number = end_sessions(auth, user)
        auth.events.emit("sessions.ended", user=user)
        return number

    store.delete = delete
    store.get_user_sessions = of_user
    store.get_all_active_sessions = of_all
    store.revoke_user_session = revoke
    store.revoke_all_user_sessions = revoke_all


def install_on_session_screens() -> None:
    """Mark the current session in the Admin's lists. Idempotent."""
    Admin._render = _render


def _render(self: Admin, request: Request, name: str, **context: object) -> object:
    app_auth = app_auth_on(self.app)
    record = None if app_auth is None else app_auth.current(request).record
    if record is not None and "current_sid" in context:
        context["current_sid"] = PREFIX + record.id
    return _ASOK_RENDER(self, request, name, **context)


def _shown(auth: Auth, records: list[SessionRecord]) -> Iterator[dict[str, object]]:
    for record in records:
        user_id = record.user_id
        yield {
            "sid": PREFIX + record.id,
            "user_id": int(user_id) if user_id.isdecimal() else user_id,
            "ip": client_ip_of(auth, record) or "Unknown",
            "user_agent": record.user_agent,
            "created_at": record.logged_in_at,
            "last_seen": record.last_seen,
            "is_active": True,
        }
