"""Logging out on other devices, for every worker at once and from the next request on.

Each login writes the user's session generation into its session. Ending the other sessions raises
the generation in the app's database: from then on they are void, wherever the framework keeps them
and whatever request of theirs is still running, and the one that asked for it gets the new number.
"""

from __future__ import annotations

from ..auth import Auth
from ..types import User
from ..web import Session, WebRequest
from .factor_policy import second_factor_required
from .generation import GENERATION, generation, raise_generation
from .login import LOGIN_KEY, amend_login
from .recent_login import require_recent_login


def is_ended(auth: Auth, session: Session) -> bool:
    """True if ``session`` was logged in before its user ended the other sessions, or not by us at all."""
    record = session.get(LOGIN_KEY)
    if not isinstance(record, dict):
        return True
    number = record.get(GENERATION, 0)
    return type(number) is not int or number != generation(auth, str(record.get("user")))


def lacks_factor(auth: Auth, session: Session, user: User) -> bool:
    """True if ``session`` was begun with one factor, but who began it must have two by now.

    ``user`` is whose session it is; somebody who lends an account has begun it as another.
    """
    record = session.get(LOGIN_KEY)
    if not isinstance(record, dict) or record.get("factor") is not None:
        return False
    began = user if record.get("user") == str(user.id) else auth.users.by_id(str(record.get("user")))
    return began is None or second_factor_required(auth, began)


def end_other_sessions(auth: Auth, request: WebRequest) -> User:
    """Log who is logged in out everywhere but here.

    Raises LoginRequired, RecentLoginRequired (OWASP ASVS 5.0, 7.5.2), StoreUnavailable.
    """
    user = require_recent_login(auth, request)
    amend_login(request.session, GENERATION, raise_generation(auth, str(user.id)))
    request.session.end_other_sessions()
    auth.events.emit("sessions.ended", user=user, client_ip=request.client_ip)
    return user
