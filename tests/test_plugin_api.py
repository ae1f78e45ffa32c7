"""The module that plugins import: snapshot, reference page, no deep imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest
from asok_auth_tests.tools import load_tool

from asok_auth_core import plugin, testing

ROOT = Path(__file__).parents[1]
ALLOWED = {"asok_auth_core", "asok_auth_core.plugin", "asok_auth_core.testing"}
PLUGINS = [
    *(path for folder in ROOT.glob("plugins/*") for path in (folder / folder.name).rglob("*.py")),
    *ROOT.glob("examples/**/*.py"),
    *ROOT.glob("asok_auth_core/scaffold/**/*.py.j2"),
]
PAGES = [
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("*.md"),
    *ROOT.glob("plugins/*/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
CORE_IMPORT = re.compile(r"\b(?:from (asok_auth_core[\w.]*) import|import (asok_auth_core[\w.]*))")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("plugin_api")


def test_names_and_signatures_are_those_of_the_snapshot(tool: ModuleType) -> None:
    assert tool.snapshot(tool.names()) == tool.SNAPSHOT.read_text("utf-8"), (
        "The plugin API changed. If that is intended, count API_VERSION up where it breaks plugins, and run: "
        "python tools/plugin_api.py"
    )


def test_the_reference_page_is_that_of_the_docstrings(tool: ModuleType) -> None:
    assert tool.render(tool.names()) == tool.PAGE.read_text("utf-8"), "run: python tools/plugin_api.py"


def test_the_reference_page_of_the_test_tools_is_that_of_the_docstrings(tool: ModuleType) -> None:
    assert tool.render_testing() == tool.TESTING_PAGE.read_text("utf-8"), "run: python tools/plugin_api.py"
    listed = {one.name for one in tool.testing_names() if one.module != "pytest_plugin"}
    assert listed == set(testing.__all__)
    assert [one.name for one in tool.testing_names() if not one.text] == []


def test_the_snapshot_is_what_python_exports(tool: ModuleType) -> None:
    listed = {one.name for one in tool.names()}
    assert listed == set(plugin.__all__)
    assert all(hasattr(plugin, name) for name in plugin.__all__)


def test_every_name_is_documented(tool: ModuleType) -> None:
    assert [one.name for one in tool.names() if not one.text] == []


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_examples_and_scaffolds_import_nothing_deeper(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.suffix == ".j2":
        text = re.sub(r"\{\{.*?\}\}", "name", text)
    modules = {name for node in ast.walk(ast.parse(text)) for name in _imported(node)}
    modules = {name for name in modules if name.partition(".")[0] == "asok_auth_core"}
    assert modules <= ALLOWED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_imports_nothing_deeper(page: Path) -> None:
    found = {one or other for one, other in CORE_IMPORT.findall(page.read_text("utf-8"))}
    assert found <= ALLOWED


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_the_kinds_of_rows_that_the_core_uses_are_documented() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "asok_auth_core" / "flows").glob("*.py"))
    kinds = {*re.findall(r'^KIND = "(\w+)"', sources, re.MULTILINE), "installation"}
    assert len(kinds) > 5
    page = (ROOT / "docs" / "first-plugin.md").read_text("utf-8")
    [listed] = re.findall(r"The core itself uses the kinds (.*?);", page, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == kinds


def test_guides_name_no_private_module() -> None:
    pages = [
        page
        for page in ROOT.glob("docs/*.md")
        if page.stem not in ("architecture", "plugin-api", "testing-api", "hooks")
    ]
    private = re.compile(
        r"asok_auth_core\.(?!plugin\b|testing\b)[a-z]\w*|`(?:flows|methods|pages|engine)\.\w+"
    )
    assert {page.name: found for page in pages if (found := private.findall(page.read_text("utf-8")))} == {}
