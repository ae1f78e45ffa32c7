"""Run the event observer's contract suite, and end an app with queued lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asok_auth_core.plugin import Auth
from asok_auth_core.testing import EventObserverContract, raises_code

from asok_auth_journal import Journal


class TestJournal(EventObserverContract):
    @pytest.fixture(autouse=True)
    def _app(self, tmp_path: Path, make_auth: Callable[..., Auth]) -> None:
        self._file = tmp_path / "journal.jsonl"
        self._plugin = Journal()
        self._auth = make_auth(plugins=[self._plugin])

    def observer(self) -> object:
        return self._plugin

    def written(self) -> str | None:
        self._plugin.flush()
        return self._file.read_text("utf-8")

    def test_the_end_of_the_app_loses_nothing(self) -> None:
        for number in range(1000):
            self._auth.events.emit("magic.sent", number=number)
        self._auth.plugins.stop(self._auth)
        lines = [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]
        assert [line["detail"]["number"] for line in lines] == list(range(1000))
        assert {line["event"] for line in lines} == {"magic.sent"}


def test_a_file_that_cannot_be_written_stops_the_start(
    tmp_path: Path, make_auth: Callable[..., Auth]
) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with raises_code("plugin", match="IsADirectoryError"):
        make_auth(plugins=[Journal()])
