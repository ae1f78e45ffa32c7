"""The core names no second factor, except for Asok's Admin."""

from __future__ import annotations

from pathlib import Path

import asok_auth_core

ROOT = Path(asok_auth_core.__file__).parent
KNOWS = {
    "adapters/asok/admin_totp.py",
    "adapters/asok/asok_names.py",
    "adapters/asok/extension.py",
    "adapters/asok/patches/admin_totp.py",
    "adapters/asok/users.py",
    "checks/second_factor.py",
    "contracts.py",
}


def test_no_flow_page_or_template_names_a_second_factor() -> None:
    files = [path for suffix in ("*.py", "*.html") for path in ROOT.rglob(suffix)]
    naming = {
        path.relative_to(ROOT).as_posix() for path in files if "totp" in path.read_text("utf-8").lower()
    }
    assert len(files) > 100
    assert naming == KNOWS
