"""What docs/permissions.md shows is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from asok_auth_core.adapters.asok import roles
from asok_auth_core.auth import Auth
from asok_auth_core.flows.permissions import user_can, user_explain

PAGE = (Path(__file__).parent.parent / "docs" / "permissions.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def documented_plugin() -> ModuleType:
    plugin = ModuleType("locks")
    [source] = [block for block in blocks("python") if "asok_auth_denies" in block]
    exec(compile(source, "docs/permissions.md", "exec"), plugin.__dict__)
    return plugin


def test_the_documented_plugin_and_its_explanation(make_auth: Callable[..., Auth]) -> None:
    auth = make_auth(plugins=(roles, documented_plugin()))
    role = SimpleNamespace(name="editor", permissions="posts.*")
    team = SimpleNamespace(name="blue", is_finance=True)
    user: Any = SimpleNamespace(id=1, roles=[role], teams=[team])
    assert user_can(auth, user, "reports.june")
    assert "of team blue (plugin locks)" in str(user_explain(auth, user, "reports.june"))
    assert user_can(auth, user, "posts.edit", SimpleNamespace(locked=False))
    shown = str(user_explain(auth, user, "posts.edit", SimpleNamespace(locked=True)))
    assert shown.replace("plugin asok_auth_core.adapters.asok.roles", "plugin roles") in blocks("text")[0]


def test_the_documented_table_of_patterns(make_auth: Callable[..., Auth]) -> None:
    auth = make_auth(plugins=(roles,))
    editor: Any = SimpleNamespace(id=1, permissions=["posts.*"])
    assert user_can(auth, editor, "posts.edit")
    assert user_can(auth, editor, "posts.comments.edit")
    assert not user_can(auth, editor, "posts")
    for pattern in ("posts.", ".edit", "**", "posts edit"):
        everyone: Any = SimpleNamespace(id=1, is_admin=True)
        assert f"`{pattern}`" in PAGE
        assert not user_can(auth, everyone, pattern)


def test_a_denial_lists_what_is_missing(make_auth: Callable[..., Auth]) -> None:
    user: Any = SimpleNamespace(id=1)
    [console] = blocks("console")
    assert str(user_explain(make_auth(plugins=(roles,)), user, "posts.delete")) in console


def test_the_documented_large_set_is_used_unchanged() -> None:
    [source] = [block for block in blocks("python") if "EVERY_REPORT" in block]
    made: dict[str, Any] = {}
    exec(source, made)
    assert made["EVERY_REPORT"].allows("reports.r9999")
