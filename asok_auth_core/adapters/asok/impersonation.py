"""Impersonation: Asok's Admin lets an administrator act as another user, for at most an hour."""

from __future__ import annotations

from asok.request import Request

from ...auth import Auth
from ...types import User
from .request import IMPERSONATOR_KEY, STARTED_KEY

LIMIT = 3600
"""Seconds, as in Asok's Admin."""


def impersonated_by(auth: Auth, request: Request, owner: User) -> User | None:
    """The user that ``owner``, whose session it is, acts as; None if nobody, or no longer allowed."""
    session = request.session
    started = session.get(STARTED_KEY)
    if str(session.get(IMPERSONATOR_KEY)) != str(owner.id) or not is_admin(owner):
        return None
    if not isinstance(started, (int, float)) or not 0 <= auth.clock() - started <= LIMIT:
        return None
    target = auth.users.by_id(str(session.get("user_id")))
    return target if target is not None and auth.users.is_active(target) else None


def forget_impersonation(request: Request) -> None:
    """Remove what Asok's session keeps about an impersonation that has ended or never was this user's."""
    for name in (IMPERSONATOR_KEY, STARTED_KEY):
        if name in request.session:
            request.session.pop(name)


def forget_user(request: Request) -> None:
    """Remove the user from Asok's session: no session of ours is in force."""
    forget_impersonation(request)
    if "user_id" in request.session:
        request.session.pop("user_id")


def is_admin(user: object) -> bool:
    """True only for True or a database's 1; a method or a string does not count."""
    flag = getattr(user, "is_admin", False)
    return flag is True or (isinstance(flag, int) and flag == 1)
