"""Apps of one folder in several processes: none sees a file that another is just writing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from asok_auth_core.testing.asok_app import HOME_PAGE, asok_app


def test_a_file_that_somebody_reads_is_never_cut_short(tmp_path: Path) -> None:
    with asok_app(tmp_path):
        pass
    with (tmp_path / "src" / "pages" / "page.py").open() as reader:
        with asok_app(tmp_path, pages={"page.py": "def get(request):\n    return 'another'\n"}):
            pass
        assert reader.read() == HOME_PAGE
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_scales_the_tests_is_no_setting_of_their_apps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASOK_AUTH_KILLS", "200")
    monkeypatch.setenv("ASOK_AUTH_APP_NAME", "of the shell")
    with asok_app(tmp_path, environ={"ASOK_AUTH_LOGIN_REDIRECT": "/in"}) as app:
        settings = app.extensions["AuthExtension"].auth.settings
        assert (settings.app_name, settings.login_redirect) == ("this app", "/in")
    assert os.environ["ASOK_AUTH_KILLS"] == "200"


def test_an_app_that_cannot_be_made_leaves_everything_as_it_was(tmp_path: Path) -> None:
    before = dict(os.environ), list(sys.path)
    with (
        pytest.raises(RuntimeError, match="SECRET_KEY"),
        asok_app(tmp_path, environ={"SECRET_KEY": "", "DEBUG": "false"}),
    ):
        pass
    assert (dict(os.environ), sys.path) == before
