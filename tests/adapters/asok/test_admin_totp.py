"""What Asok's Admin kept of second factors, as an import reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY

from asok_auth_core.auth import Auth
from asok_auth_core.testing.apps import USER_MODEL, asok_app

COLUMNS = """    totp_secret = Field.String(nullable=True)
    totp_enabled = Field.Boolean(default=False)
    backup_codes = Field.String(nullable=True)
"""


def test_another_framework_keeps_no_second_factors(auth: Auth) -> None:
    assert auth.users.framework_factors() is None


def test_a_model_without_the_columns_keeps_none(tmp_path: Path) -> None:
    with asok_app(tmp_path) as app:
        assert app.extensions["AuthExtension"].auth.users.framework_factors() is None


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (None, ()),
        ("[]", ()),
        ('["salt$hash", "salt$other"]', ("salt$hash", "salt$other")),
        ('["salt$hash", "plaintext"]', None),
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
        kept = app.extensions["AuthExtension"].auth.users.framework_factors()
        assert kept.count() == 1
        [found] = kept.all()
        assert (found.user_id, found.sealed, found.backup_codes) == (str(user.id), "sealed", read)
