"""What a new account, and a login that is complete, change."""

from __future__ import annotations

from contextlib import ExitStack

from asok_auth_core.plugin import Auth, Event, current_request

from .deletion import Deletions, forget_order
from .invitations import welcome
from .recovery import Recoveries


def arrive(auth: Auth, event: Event) -> None:
    """Apply the user's invitation.

    An account that is in use is neither deleted nor recovered.
    """
    user_id = str(event.user_id)
    if event.name == "account.created":
        forget_order(auth, user_id, is_new=True)
        return
    request = current_request(auth)
    with ExitStack() as each:  # one that fails does not keep the others from it
        each.callback(welcome, auth, user_id)
        each.callback(Recoveries(auth).stop_by_login, user_id, request)
        each.callback(Deletions(auth).keep_by_login, user_id, request)
