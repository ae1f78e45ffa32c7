"""Log out on other devices, effective in every worker from the next request on.

Each login writes the user's session generation into its session. Ending the other sessions raises
the generation in the app's database: from then on they are void, wherever the framework keeps them,
even if a request of theirs is still running. The session that ended the others gets the new one.
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
    """True if ``session`` was ended from another session, or was not started by our login pipeline."""
    record = session.get(LOGIN_KEY)
    if not isinstance(record, dict):
        return True
    number = record.get(GENERATION, 0)
    return type(number) is not int or number != generation(auth, str(record.get("user")))


def lacks_factor(auth: Auth, session: Session, user: User) -> bool:
    """True if ``session`` was started with one factor, but its owner now needs two.

    ``user`` is the session's current user; during impersonation the owner is the impersonator.
    """
    record = session.get(LOGIN_KEY)
    if not isinstance(record, dict) or record.get("factor") is not None:
        return False
    owner = user if record.get("user") == str(user.id) else auth.users.by_id(str(record.get("user")))
    return owner is None or second_factor_required(auth, owner)


def end_other_sessions(auth: Auth, request: WebRequest) -> User:
    """Log the current user out of all sessions but this one.

    Raises LoginRequired, RecentLoginRequired (OWASP ASVS 5.0, 7.5.2), StoreUnavailable.
    """
    user = require_recent_login(auth, request)
    amend_login(request.session, GENERATION, raise_generation(auth, str(user.id)))
    request.session.end_other_sessions()
    auth.events.emit("sessions.ended", user=user, client_ip=request.client_ip)
    return user
