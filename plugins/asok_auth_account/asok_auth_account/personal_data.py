"""What the plugin keeps about a user: export it, and forget it with the account."""

from __future__ import annotations

from typing import cast

import msgspec

from asok_auth_core.plugin import JSON, Auth, User

from .deletion import ORDER, forget_order, order_row
from .emails import export_undos, forget_waiting
from .invitations import forget_invitation
from .profiles import BROWSER, profile_of
from .recovery import export_recovery
from .terms import agreement


def exported(auth: Auth, user: User) -> dict[str, JSON]:
    """See ``asok_auth_export_user``."""
    user_id = str(user.id)
    profile, order = profile_of(auth, user_id), auth.credentials.find(ORDER, user_id)
    return {
        "language": None if profile is None else profile.language,
        "known_browsers": [
            {"since": row.created_at, "last_used_at": row.last_used_at}
            for row in auth.credentials.list(user_id, BROWSER)
        ],
        "former_email_addresses": list(export_undos(auth, user_id)),
        "deletion_due": None if order is None else order_row(order).due,
        "recovery": export_recovery(auth, user_id),
        "terms": cast("JSON", msgspec.to_builtins(agreement(auth, user_id))),
    }


def forget(auth: Auth, user: User) -> None:
    """See ``asok_auth_remove_user``.

    The core removes the user's rows; this is what else there is.
    """
    forget_waiting(auth, str(user.id))
    forget_invitation(auth, user)
    forget_order(auth, str(user.id))
