"""Read the second factors that Asok's Admin keeps in the user table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from asok.admin import utils as asok_admin_utils
from asok.orm import Model

from ...contracts import FrameworkFactor, FrameworkFactors
from ...settings import secrets
from ...types import User

COLUMNS = ("totp_secret", "totp_enabled", "backup_codes")
PAGE = 200


class AdminTotp(FrameworkFactors):
    """The second factors of one app's users, whose model ``model`` returns."""

    def __init__(self, model: Callable[[], type[Model]], config: Mapping[str, object]) -> None:
        self._model = model
        self._config = config

    def count(self) -> int:
        table = self._model()._table
        sql = f"SELECT COUNT(*) AS n FROM {table} WHERE totp_secret IS NOT NULL AND totp_enabled = ?"  # noqa: S608
        return int(self._engine.execute(sql, (True,))[0]["n"])

    def all(self) -> Iterator[FrameworkFactor]:
        last = -1
        sql = (
            f"SELECT id, totp_secret, backup_codes FROM {self._model()._table} "  # noqa: S608
            "WHERE totp_secret IS NOT NULL AND totp_enabled = ? AND id > ? ORDER BY id LIMIT ?"
        )
        while rows := self._engine.execute(sql, (True, last, PAGE)):
            for row in rows:
                yield FrameworkFactor(str(row["id"]), row["totp_secret"], _codes(row["backup_codes"]))
            last = rows[-1]["id"]

    def of(self, user: User) -> FrameworkFactor | None:
        if not getattr(user, "totp_enabled", False):
            return None
        sealed = getattr(user, "totp_secret", None) or ""
        return FrameworkFactor(str(user.id), sealed, _codes(getattr(user, "backup_codes", None)))

    def secret(self, factor: FrameworkFactor) -> str | None:
        config = self._config
        own = os.environ.get("TOTP_ENCRYPTION_KEY") or config.get("TOTP_ENCRYPTION_KEY")
        # Older keys too, which the Admin itself does not try: SECRET_KEY may have been rotated.
        for key in (own, *(raw.decode() for raw in secrets(config, os.environ, debug=True))):
            if key and (secret := asok_admin_utils._decrypt_totp_secret(factor.sealed, str(key))):
                return str(secret)
        return None

    def clear(self, factor: FrameworkFactor) -> None:
        sql = (
            f"UPDATE {self._model()._table} "  # noqa: S608
            "SET totp_secret = NULL, totp_enabled = ?, backup_codes = NULL "
            "WHERE id = ? AND COALESCE(totp_secret, '') = ?"
        )
        self._engine.execute(sql, (False, int(factor.user_id), factor.sealed))

    @property
    def _engine(self) -> Any:
        return self._model().get_engine(op="write")


def _codes(stored: str | None) -> tuple[str, ...] | None:
    try:
        codes = json.loads(stored or "[]")
    except ValueError:
        return None
    if not isinstance(codes, list) or not all(isinstance(code, str) and "$" in code for code in codes):
        return None
    return tuple(codes)
