"""``user.can`` outside of a request: only the user's own app answers."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asok import Asok, Field, Model
from asok.orm import MODELS_REGISTRY

from asok_auth_core import AuthExtension
from asok_auth_core.adapters.asok.patches.models import install_on_class
from asok_auth_core.plugin import Grant, hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.types import User

from ..apps import in_thread

pytestmark = pytest.mark.requirement("SECURITY-38")


class Grants:
    """Grants one permission to every user."""

    def __init__(self, permission: str) -> None:
        self.__name__ = f"grants {permission}"
        self.permission = permission

    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[Grant]:
        return [Grant(self.permission)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(stack: ExitStack, root: Path, model: str = "User") -> tuple[Asok, type[Model]]:
    """An app whose plugin grants ``<root's name>.view``, and its user model."""
    source = f"from asok import Field, Model\n\n\nclass {model}(Model):\n    email = Field.String()\n"
    app = stack.enter_context(
        asok_app(
            root,
            models={"user.py": source},
            config={"AUTH_MODEL": model},
            plugins=[Grants(f"{root.name}.view")],
        )
    )
    return app, MODELS_REGISTRY[model]


def may(user: User) -> list[bool]:
    """Whether each app's permission is granted, asked in a thread."""
    return in_thread(lambda: [user.can("first.view"), user.can("second.view")])  # type: ignore[attr-defined]


def test_each_apps_users_are_answered_by_their_own_app(stack: ExitStack, tmp_path: Path) -> None:
    _, first = started(stack, tmp_path / "first")
    _, second = started(stack, tmp_path / "second")
    assert first.__name__ == second.__name__ == "User"
    assert may(first(id=1)) == [True, False]
    assert may(second(id=1)) == [False, True]
    assert in_thread(lambda: first(id=1).explain("second.view").allowed) is False
    assert in_thread(lambda: asyncio.run(first(id=1).acan("first.view"))) is True


def test_a_class_that_a_page_imports_belongs_to_the_app_whose_file_it_is(
    stack: ExitStack, tmp_path: Path
) -> None:
    started(stack, tmp_path / "first")
    _, second = started(stack, tmp_path / "second")
    imported = importlib.import_module("models.user").User
    assert imported is not second
    assert may(imported(id=1)) == [False, True]


def test_a_class_of_unknown_origin_belongs_to_the_only_app_with_that_user_model(
    stack: ExitStack, tmp_path: Path
) -> None:
    started(stack, tmp_path / "first", "Member")
    started(stack, tmp_path / "second", "Customer")
    for name, expected in (("Member", [True, False]), ("Customer", [False, True])):
        new = type(name, (Model,), {"email": Field.String()})
        install_on_class(new)
        assert may(new(id=1)) == expected


@pytest.mark.parametrize("name", ["User", "Other"])
def test_a_user_of_more_than_one_app_or_of_none_has_no_permission(
    stack: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Never those of the app that was started last."""
    started(stack, tmp_path / "first")
    started(stack, tmp_path / "second")
    shared = type(name, (Model,), {"email": Field.String(), "is_admin": True})
    install_on_class(shared)
    with caplog.at_level(logging.ERROR, "asok_auth"):
        assert may(shared(id=1)) == [False, False]
    assert f"Several apps of this process may have the user model {name}" in caplog.text
    explanation = in_thread(lambda: shared(id=1).explain("second.view"))
    assert explanation.allowed is False
    assert "Name their user models differently" in str(explanation)


def test_two_apps_with_one_and_the_same_class_are_not_told_apart(stack: ExitStack, tmp_path: Path) -> None:
    """The second app replaced the first one's class before any registration."""
    shared = None
    for name in ("first", "second"):
        app = stack.enter_context(asok_app(tmp_path / name, extension=False))
        shared = shared or MODELS_REGISTRY["User"]
        MODELS_REGISTRY["User"] = shared
        extension = AuthExtension(plugins=[Grants(f"{name}.view")])
        app.register_extension(extension)
        stack.callback(extension.close)
    assert shared is not None
    assert may(shared(id=1)) == [False, False]


def test_one_app_alone_answers_for_every_class_of_its_users(stack: ExitStack, tmp_path: Path) -> None:
    _, first = started(stack, tmp_path / "first")
    assert may(first(id=1)) == [True, False]
