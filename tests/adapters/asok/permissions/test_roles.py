"""What counts as a grant on a user object, without any database."""

from __future__ import annotations

from typing import Any

import pytest
from asok.orm import MODELS_REGISTRY

from asok_auth_core.adapters.asok import roles


class TestReading:
    """What counts as a grant on a user object, without any database."""

    @pytest.fixture(autouse=True)
    def no_roles_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(MODELS_REGISTRY, "Role", raising=False)

    def allows(self, permission: str, **attributes: object) -> bool:
        user = type("Anyone", (), {"id": 1, **attributes})()
        granted: Any = roles.asok_auth_permissions(user)
        return bool(granted.allows(permission))

    def role(self, permissions: object) -> object:
        return type("TheirRole", (), {"name": "theirs", "permissions": permissions})()

    @pytest.mark.parametrize(
        "permissions",
        ["a.b, c.d", ["a.b", "c.d"], ("a.b", "c.d"), {"a.b", "c.d"}],
        ids=["text", "list", "tuple", "set"],
    )
    def test_lists_and_texts(self, permissions: object) -> None:
        assert self.allows("c.d", roles=[self.role(permissions)])
        assert self.allows("c.d", role=self.role(permissions))
        assert self.allows("c.d", permissions=permissions)
        assert not self.allows("c", roles=[self.role(permissions)])

    @pytest.mark.parametrize("flag", ["yes", "0", "false", 2, b"1", [1], object(), lambda self: False])
    @pytest.mark.requirement("SECURITY-28")
    def test_only_true_makes_a_superuser(self, flag: object) -> None:
        assert not self.allows("a.b", is_admin=flag)

    def test_true_and_one_make_a_superuser(self) -> None:
        assert self.allows("a.b", is_admin=True)
        assert self.allows("a.b", is_admin=1)

    @pytest.mark.parametrize(
        "permissions", [None, "", [], {}, {"a.b": True}, 7, b"a.b", lambda self: ["a.b"]]
    )
    @pytest.mark.requirement("SECURITY-28")
    def test_anything_else_grants_nothing(self, permissions: object) -> None:
        assert not self.allows("a.b", permissions=permissions)
        assert not self.allows("a.b", roles=[self.role(permissions)])

    def test_roles_as_text_are_names_and_not_letters(self) -> None:
        assert self.allows("a.b", roles="reader, administrator")
        assert not self.allows("a.b", roles="reader")
        assert not self.allows("a.b", roles=lambda: ["admin"])

    def test_a_relation_that_raises_is_an_error_and_no_grant(self) -> None:
        def broken(self: object) -> list[object]:
            raise LookupError("no such table")

        with pytest.raises(LookupError):
            self.allows("a.b", roles=property(broken), role="admin")
