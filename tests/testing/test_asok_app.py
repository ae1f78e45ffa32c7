"""Apps of one folder in several processes: none sees a file that another is just writing."""

from __future__ import annotations

from pathlib import Path

from asok_auth_core.testing.asok_app import HOME_PAGE, asok_app


def test_a_file_that_somebody_reads_is_never_cut_short(tmp_path: Path) -> None:
    with asok_app(tmp_path):
        pass
    with (tmp_path / "src" / "pages" / "page.py").open() as reader:
        with asok_app(tmp_path, pages={"page.py": "def get(request):\n    return 'another'\n"}):
            pass
        assert reader.read() == HOME_PAGE
    assert not list(tmp_path.rglob("*.tmp"))
