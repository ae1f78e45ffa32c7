"""What Asok's Admin kept of second factors, as an import reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY

from asok_auth_core.adapters.asok.admin_totp import AdminTotp
from asok_auth_core.auth import Auth
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.testing.asok_app import USER_MODEL, asok_app

COLUMNS = """    totp_secret = Field.String(nullable=True)
    totp_enabled = Field.Boolean(default=False)
    backup_codes = Field.String(nullable=True)
"""


def test_ignores_users_outside_an_asok_app(auth: Auth) -> None:
    with pytest.raises(ConfigurationError, match="Only the users of an Asok app"):
        AdminTotp(auth)


def test_an_app_whose_admin_stored_no_second_factor_is_reported(tmp_path: Path) -> None:
    with asok_app(tmp_path) as app, pytest.raises(ConfigurationError, match="totp_secret"):
        AdminTotp(app.extensions["AuthExtension"].auth)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (None, ()),
        ("[]", ()),
        ('["salt$hash", "salt$other"]', ("salt$hash", "salt$other")),
        ('["salt$hash", "in clear"]', None),
        ('["salt$hash", 7]', None),
        ('{"salt$hash": 1}', None),
        ("salt$hash", None),
    ],
)
def test_unreadable_backup_codes_differ_from_none(
    tmp_path: Path, stored: str | None, read: tuple[str, ...] | None
) -> None:
    """None: the user has codes that cannot be imported, and needs new ones."""
    with asok_app(tmp_path, models={"user.py": USER_MODEL + COLUMNS}) as app:
        User = MODELS_REGISTRY["User"]
        User.create(email="none@example.org")
        user = User.create(email="ada@example.org")
        User.get_engine().execute(
            f"UPDATE {User._table} SET totp_secret = ?, totp_enabled = ?, backup_codes = ? WHERE id = ?",
            ("sealed", True, stored, user.id),
        )
        kept = AdminTotp(app.extensions["AuthExtension"].auth)
        assert kept.count() == 1
        [found] = kept.enrolments()
        assert (found.user_id, found.sealed, found.backup_codes) == (str(user.id), "sealed", read)
