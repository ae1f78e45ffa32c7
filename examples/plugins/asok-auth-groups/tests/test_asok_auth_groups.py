"""Run the permission resolver's contract suite, and test how the file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asok_auth_core.plugin import Auth, User
from asok_auth_core.testing import FakeUser, PermissionResolverContract

from asok_auth_groups import Groups, parse

LDIF = "cn: staff\nmember: ada@example.com\nmember: bob@example.com\n\ncn: guests\nmember: eve@example.com\n"


class TestGroups(PermissionResolverContract):
    @pytest.fixture(autouse=True)
    def _app(self, tmp_path: Path, make_auth: Callable[..., Auth]) -> None:
        self._file = tmp_path / "groups.ldif"
        self._file.write_text(LDIF)
        self._plugin = Groups()
        settings = {"GROUPS": {"GRANTS": {"staff": ["posts.edit"], "guests": ["posts.view"]}}}
        self._auth = make_auth(plugins=[self._plugin], settings=settings)

    def resolver(self) -> object:
        return self._plugin

    def granted(self) -> tuple[User, str]:
        return FakeUser("1", "ada@example.com"), "posts.edit"

    def take_away(self, user: User, permission: str) -> None:
        self._file.write_text(LDIF.replace("member: ada@example.com\n", ""))

    def unavailable(self) -> object | None:
        self._file.unlink()
        return self._plugin

    def test_doctor_misses_the_file(self) -> None:
        assert [
            finding for finding in self._auth.plugins.checks(self._auth) if finding.check == "groups"
        ] == []
        self._file.unlink()
        [found] = [f for f in self._auth.plugins.checks(self._auth) if f.check == "groups"]
        assert "groups.ldif" in found.message


def test_lines_between_groups_belong_to_none() -> None:
    assert parse("member: eve@example.com\ncn: staff\n\nmember: eve@example.com\ndn: x\n") == {"staff": set()}
