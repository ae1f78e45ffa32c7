"""Grant permissions by group, from a file that a directory service writes.

``AUTH["GROUPS"] = {"FILE": "groups.ldif", "GRANTS": {"staff": ["posts.*"]}}``. The file has entries of the form
``cn: staff`` followed by ``member: ada@example.com`` lines, with an empty line between groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from asok_auth_core.plugin import Auth, Finding, Grant, PluginManifest, User, hookimpl


class GroupSettings(msgspec.Struct, frozen=True, rename=str.upper):
    file: str = "groups.ldif"
    grants: dict[str, tuple[str, ...]] = {}


class Groups:
    """The plugin; an object, so that each app can have its own file."""

    asok_auth_plugin = PluginManifest(api=">=1.0,<2", section="GROUPS", settings=GroupSettings)

    def __init__(self) -> None:
        self._path = Path("groups.ldif")
        self._grants: dict[str, tuple[str, ...]] = {}
        self._members: dict[str, set[str]] = {}
        self._read: tuple[int, int, int] | None = None

    @hookimpl
    def asok_auth_start(self, auth: Auth) -> None:
        own = auth.settings.section(GroupSettings)
        self._path = auth.settings.app.root / own.file
        self._grants = own.grants

    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[Grant]:
        email = getattr(user, "email", None)
        groups = self._groups()
        held = [name for name, members in groups.items() if email and email in members]
        return [Grant(pattern, f"group {name}") for name in held for pattern in self._grants.get(name, ())]

    @hookimpl
    def asok_auth_checks(self, auth: Auth) -> Iterable[Finding]:
        if not self._path.is_file():
            remedy = 'Let your directory service write it, or change AUTH["GROUPS"]["FILE"].'
            yield Finding("groups", "error", f"There is no file {self._path}.", remedy)

    def _groups(self) -> dict[str, set[str]]:
        """Members by group, read again when the file changes.

        Raises OSError if it is missing.
        """
        found = self._path.stat()
        version = (found.st_mtime_ns, found.st_size, found.st_ino)
        if version != self._read:
            self._members = parse(self._path.read_text("utf-8"))
            self._read = version
        return self._members


def parse(text: str) -> dict[str, set[str]]:
    """Parse members by group name; ignore lines other than ``cn:`` and ``member:``."""
    groups: dict[str, set[str]] = {}
    current: set[str] | None = None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if not line.strip():
            current = None
        elif key == "cn":
            current = groups.setdefault(value.strip(), set())
        elif key == "member" and current is not None:
            current.add(value.strip())
    return groups


plugin = Groups()
