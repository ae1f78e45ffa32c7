"""The table of Asok's private names is complete, and checked at startup."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.request import Request

from asok_auth_core import AuthExtension
from asok_auth_core.adapters.asok import asok_names
from asok_auth_core.adapters.asok.app_auth import app_auth_on
from asok_auth_core.adapters.asok.asok_names import ATTRIBUTES, MENTIONS
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.testing.apps import asok_app

ADAPTER = Path(asok_names.__file__).parent
ACCESSORS = {"getattr", "setattr", "hasattr", "delattr", "original"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asok]:
    with asok_app(tmp_path_factory.mktemp("app"), extension=False) as made:
        yield made


@pytest.fixture
def holders(app: Asok) -> dict[str, Any]:
    return asok_names._holders(app, MODELS_REGISTRY["User"])


def pairs(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(place, name) for place, names in table.items() for name in names]


def register(app: Asok, name: str) -> None:
    """Register the extension with an Asok that lacks ``name``; nothing may change."""
    with pytest.raises(ConfigurationError) as caught:
        app.register_extension(AuthExtension())
    message = str(caught.value)
    assert f"asok {metadata.version('asok')} lacks" in message
    assert name in message
    assert "Install asok 0.8.0" in message
    assert app_auth_on(app) is None
    assert "AuthExtension" not in app.extensions


@pytest.mark.parametrize(("place", "name"), pairs(ATTRIBUTES))
def test_a_missing_attribute_is_reported_at_start_up(
    app: Asok, holders: dict[str, Any], place: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = holders[place]
    found = False
    if isinstance(holder, Request) and name in vars(holder):
        make_state = Request._init_state

        def without(self: Request) -> None:
            make_state(self)
            delattr(self, name)

        monkeypatch.setattr(Request, "_init_state", without)
        found = True
    elif not isinstance(holder, type) and name in vars(holder):
        monkeypatch.delattr(holder, name)
        found = True
    for one in (holder if isinstance(holder, type) else type(holder)).__mro__:
        if name in vars(one):
            monkeypatch.delattr(one, name)
            found = True
    assert found
    register(app, f"{place}.{name}")


@pytest.mark.parametrize(("place", "name"), pairs(MENTIONS))
def test_a_name_that_no_code_uses_is_reported_at_start_up(
    app: Asok, holders: dict[str, Any], place: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = 0
    for function in functions_of(holders[place]):
        code = without(function.__code__, name)
        if code != function.__code__:
            monkeypatch.setattr(function, "__code__", code)
            renamed += 1
    assert renamed
    register(app, f"{name!r} in {place}")


def functions_of(holder: object) -> Iterator[FunctionType]:
    if isinstance(holder, ModuleType):
        classes = [value for value in vars(holder).values() if inspect.isclass(value)]
    else:
        classes = list((holder if isinstance(holder, type) else type(holder)).__mro__)
    for value in (value for one in classes for value in vars(one).values()):
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(function, FunctionType):
            yield inspect.unwrap(function)  # a function of ours wraps Asok's once an extension was registered


def without(code: CodeType, name: str) -> CodeType:
    """The code as it would be had Asok named ``name`` otherwise."""

    def other(constant: object) -> object:
        if isinstance(constant, tuple):
            return tuple(map(other, constant))
        if isinstance(constant, CodeType):
            return without(constant, name)
        return "renamed" if constant == name else constant

    names = tuple("renamed" if one == name else one for one in code.co_names)
    return code.replace(co_names=names, co_consts=tuple(map(other, code.co_consts)))


def test_the_table_holds_every_private_name_of_asok_that_the_adapter_uses() -> None:
    listed = {name for _, name in (*pairs(ATTRIBUTES), *pairs(MENTIONS)) if name.startswith("_")}
    used = {
        name: path.name
        for path in ADAPTER.rglob("*.py")
        for name in private_names(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {name: path for name, path in used.items() if name not in listed} == {}, "not in the table"
    assert listed - used.keys() == set(), "no longer used"


def private_names(tree: ast.Module) -> Iterator[str]:
    """Private names that a module uses on objects of other classes."""
    own = {
        id(node)
        for one in ast.walk(tree)
        if isinstance(one, ast.ClassDef)
        for node in ast.walk(one)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in own:
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "asok":
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in ACCESSORS:
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
        else:
            continue
        for name in names:
            if name.startswith("_") and not name.startswith(("__", "_asok_auth")):
                yield name
