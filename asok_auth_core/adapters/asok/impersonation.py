"""Impersonation: an administrator acts as another user, for at most an hour.

The administrator's session record says so, never Asok's session: a request or socket that saves an older
copy of that cannot bring back an impersonation that has ended.
"""

from __future__ import annotations

from ...auth import Auth
from ...types import SessionRecord, User

LIMIT = 3600
"""Seconds, as in Asok's Admin."""


def impersonated_by(auth: Auth, record: SessionRecord, owner: User) -> User | None:
    """The user that the session's ``owner`` impersonates; None without one."""
    if record.impersonates is None or not is_admin(owner):
        return None
    if not 0 <= auth.clock() - record.impersonates_since <= LIMIT:
        return None
    target = auth.users.by_id(record.impersonates)
    return target if target is not None and auth.users.is_active(target) else None


def is_admin(user: object) -> bool:
    """True only for True or a database's 1; a method or a string does not count."""
    flag = getattr(user, "is_admin", False)
    return flag is True or (isinstance(flag, int) and flag == 1)
