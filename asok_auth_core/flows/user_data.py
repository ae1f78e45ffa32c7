"""Everything kept about one user: export it, and remove it with the account."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from typing import cast

from ..auth import Auth
from ..errors import AuthError
from ..types import JSON, User
from .api_tokens import KIND as TOKEN_KIND
from .api_tokens import ApiTokens
from .epoch import KIND as EPOCH_KIND
from .epoch import raise_epoch
from .linking import linked
from .plugin_faults import ask
from .sessions import client_ip_of, end_sessions, forget_client_ips, sessions_of
from .trusted_devices import trusted_devices
from .verified_emails import verified_emails

logger = logging.getLogger("asok_auth")

CORE = "asok_auth_core"


@dataclass(frozen=True, slots=True)
class Removed:
    """How many rows were removed, and which plugins and factors failed."""

    rows: int
    failed: tuple[str, ...]


def export_user(auth: Auth, user: User) -> dict[str, JSON]:
    """What the core and each plugin keep about ``user``, without secrets.

    ``failed`` lists the plugins that could not say. Raises StoreUnavailable.
    """
    failed: list[JSON] = []

    def note(plugin: str, error: Exception) -> None:
        logger.error("Plugin %r raised in asok_auth_export_user.", plugin, exc_info=error)
        failed.append(plugin)

    own: dict[str, object] = {
        "email": auth.users.email_of(user),
        "verified_emails": verified_emails(auth, user),
        "sessions": [
            {**asdict(record), "client_ip": client_ip_of(auth, record)} for record in sessions_of(auth, user)
        ],
        "identities": [
            {
                "provider": one.provider,
                "email": one.address,
                "since": one.since,
                "last_used_at": one.last_used_at,
            }
            for one in linked(auth, user)
        ],
        "api_tokens": [asdict(token) for token in ApiTokens(auth).list(str(user.id))],
        "trusted_browsers": [device.created_at for device in trusted_devices(auth, user)],
    }
    given = auth.plugins.export_user(auth, user, on_error=note)
    return {**cast("dict[str, JSON]", given), CORE: cast("JSON", own), "failed": failed}


def remove_user(auth: Auth, user: User) -> Removed:
    """Remove everything kept about ``user``, before or after the account.

    Can be repeated. Raises StoreUnavailable; then repeat it.
    """
    failed: list[str] = []

    def note(plugin: str, error: Exception) -> None:
        logger.error("Plugin %r raised in asok_auth_remove_user: its data remains.", plugin, exc_info=error)
        failed.append(plugin)

    forget_client_ips(auth, user)
    # First, so that nothing is added while the rest is removed.
    sessions = end_sessions(auth, user)
    auth.plugins.remove_user(auth, user, on_error=note)
    for name, factor in auth.second_factors.items():
        try:
            ask(auth, factor, factor.reset, user)
        except AuthError as error:
            note(name, error)
    rows = sessions + remove_rows(auth, str(user.id))
    auth.events.emit("account.removed", user=user, rows=rows, failed=", ".join(failed) or None)
    return Removed(rows, tuple(failed))


def remove_rows(auth: Auth, user_id: str, *, older_than: float = math.inf) -> int:
    """Remove all credentials of ``user_id`` and void its logins; return the number.

    ``older_than``: only those that were made before this time (seconds since the epoch).
    The epoch's row stays: a database may give the id of a deleted account to a new one, and what was
    issued to the old one must not count for that.
    """
    kept = auth.credentials.list(user_id)
    rows = [row for row in kept if row.kind != EPOCH_KIND and row.created_at < older_than]
    if not rows:
        return 0
    raise_epoch(auth, user_id)
    if any(row.kind == TOKEN_KIND for row in rows):
        tokens = ApiTokens(auth)
        if tokens.checked:
            tokens.revoke_all(user_id)
    for row in rows:
        auth.credentials.remove(row)
    return len(rows)
