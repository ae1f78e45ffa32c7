"""What a new account, a login that is complete, and another address change."""

from __future__ import annotations

from contextlib import ExitStack

from asok_auth_core.plugin import Auth, Event, current_request

from .deletion import Deletions, forget_order
from .invitations import welcome
from .profiles import forget_browsers
from .recovery import Recoveries

MOVED = frozenset({"email.changed", "email.restored"})
DOUBTFUL = frozenset({"email.restored", "account.voided"})
"""An attacker may have used the account until now: a login with a browser of theirs is told again."""


def arrive(auth: Auth, event: Event) -> None:
    """Apply the user's invitation.

    An account that is in use is neither deleted nor recovered, and one with another address is not recovered.
    """
    user_id, request = str(event.user_id), current_request(auth)
    if event.name == "account.created":
        forget_order(auth, user_id, is_new=True)
    if event.name in DOUBTFUL:
        forget_browsers(auth, user_id)
    if event.name in MOVED:
        # Its link is void, and who waits for it is told. One that moves the address itself is not stopped.
        Recoveries(auth).stop(user_id, "email", request)
    if event.name == "login.succeeded":
        with ExitStack() as each:  # one that fails does not keep the others from it
            each.callback(welcome, auth, user_id)
            each.callback(Recoveries(auth).stop_by_login, user_id, request)
            each.callback(Deletions(auth).keep_by_login, user_id, request)
