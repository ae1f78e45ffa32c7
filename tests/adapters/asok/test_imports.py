"""The adapter's modules import each other in one direction."""

from __future__ import annotations

from pathlib import Path

from asok_auth_core.adapters import asok


def test_no_module_imports_for_type_checkers_only() -> None:
    """import-linter leaves such imports out, so a circle could hide there."""
    modules = sorted(Path(asok.__file__).parent.rglob("*.py"))
    assert len(modules) > 15
    assert [path.name for path in modules if "TYPE_CHECKING" in path.read_text(encoding="utf-8")] == []
