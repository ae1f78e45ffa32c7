"""Read the second factors that Asok's Admin keeps in the user table, to import them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from asok.admin import utils as asok_admin_utils

from ...auth import Auth
from ...errors import ConfigurationError
from ...types import User
from .users import AsokUsers

COLUMNS = ("totp_secret", "totp_enabled", "backup_codes")
PAGE = 200


@dataclass(frozen=True, slots=True)
class AdminEnrolment:
    """One user's second factor as the Admin stores it.

    ``sealed`` is in Asok's own encrypted format; ``backup_codes`` are its ``salt$hash`` lines, None if
    they are unreadable.
    """

    user_id: str
    sealed: str = field(repr=False)
    backup_codes: tuple[str, ...] | None = field(repr=False)


class AdminTotp:
    """The second factors of one app's users.

    Raises ConfigurationError if the user model lacks their columns.
    """

    def __init__(self, auth: Auth) -> None:
        if not isinstance(auth.users, AsokUsers):
            raise ConfigurationError("Only the users of an Asok app can be imported.")
        self._users = auth.users
        missing = [name for name in COLUMNS if name not in self._users.model._fields]
        if missing:
            raise ConfigurationError(
                f"The user model has no {', '.join(missing)}: Asok's Admin stored no second factors here."
            )

    def count(self) -> int:
        """The number of users with a second factor."""
        table = self._users.model._table
        sql = f"SELECT COUNT(*) AS n FROM {table} WHERE totp_secret IS NOT NULL AND totp_enabled = ?"  # noqa: S608
        return int(self._engine.execute(sql, (True,))[0]["n"])

    def enrolments(self) -> Iterator[AdminEnrolment]:
        """One record per user, ordered by user id. Rows may change during the iteration."""
        last = -1
        sql = (
            f"SELECT id, totp_secret, backup_codes FROM {self._users.model._table} "  # noqa: S608
            "WHERE totp_secret IS NOT NULL AND totp_enabled = ? AND id > ? ORDER BY id LIMIT ?"
        )
        while rows := self._engine.execute(sql, (True, last, PAGE)):
            for row in rows:
                yield AdminEnrolment(str(row["id"]), row["totp_secret"], _codes(row["backup_codes"]))
            last = rows[-1]["id"]

    def of(self, user: User) -> AdminEnrolment | None:
        """The user's second factor as their row says, or None. Asks no database."""
        if not getattr(user, "totp_enabled", False):
            return None
        sealed = getattr(user, "totp_secret", None) or ""
        return AdminEnrolment(str(user.id), sealed, _codes(getattr(user, "backup_codes", None)))

    def secret(self, enrolment: AdminEnrolment) -> str | None:
        """The secret in base32, or None if none of Asok's keys decrypts it. Takes 0.2 s of CPU."""
        config = self._users.config
        own = os.environ.get("TOTP_ENCRYPTION_KEY") or config.get("TOTP_ENCRYPTION_KEY")
        for key in (own, config.get("SECRET_KEY")):
            if key and (secret := asok_admin_utils._decrypt_totp_secret(enrolment.sealed, str(key))):
                return str(secret)
        return None

    def clear(self, enrolment: AdminEnrolment) -> None:
        """Remove a second factor from the user table, unless it changed since it was read."""
        sql = (
            f"UPDATE {self._users.model._table} "  # noqa: S608
            "SET totp_secret = NULL, totp_enabled = ?, backup_codes = NULL "
            "WHERE id = ? AND COALESCE(totp_secret, '') = ?"
        )
        self._engine.execute(sql, (False, int(enrolment.user_id), enrolment.sealed))

    @property
    def _engine(self) -> Any:
        return self._users.model.get_engine(op="write")


def _codes(stored: str | None) -> tuple[str, ...] | None:
    try:
        codes = json.loads(stored or "[]")
    except ValueError:
        return None
    if not isinstance(codes, list) or not all(isinstance(code, str) and "$" in code for code in codes):
        return None
    return tuple(codes)
