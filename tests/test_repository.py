"""The repository keeps its own rules: plugin folders, README, docstrings."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import asok_auth_core

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


OURS = {"asok-auth-core", *(folder.name.replace("_", "-") for folder in PLUGINS)}


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def test_every_folder_under_plugins_is_a_distribution() -> None:
    folders = [path for path in ROOT.glob("plugins/*/") if not path.name.startswith((".", "__"))]
    assert sorted(folders) == PLUGINS


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
class TestPluginShape:
    def test_files(self, folder: Path) -> None:
        package = folder / folder.name
        for path in (folder / "README.md", package / "__init__.py", package / "py.typed"):
            assert path.is_file(), path
        assert list((folder / "tests").glob("test_*.py")), "no tests"
        assert not list((folder / "tests").rglob("__init__.py")), "test folders are no packages"

    def test_names(self, folder: Path) -> None:
        assert project(folder)["name"] == folder.name.replace("_", "-")

    def test_one_entry_point(self, folder: Path) -> None:
        groups = project(folder)["entry-points"]
        assert list(groups) == ["asok_auth"]
        [(name, value)] = groups["asok_auth"].items()
        assert value.split(":")[0].split(".")[0] == folder.name
        assert folder.name.endswith(name.replace("-", "_"))

    def test_dependencies_are_bounded(self, folder: Path) -> None:
        requirements = [Requirement(text) for text in project(folder)["dependencies"]]
        [core] = [r for r in requirements if r.name == "asok-auth-core"]
        assert core.specifier.contains(asok_auth_core.__version__)
        assert not core.specifier.contains(Version("0.2"))
        for requirement in requirements:
            assert any(s.operator in (">=", "~=", "==") for s in requirement.specifier), requirement

    def test_metadata(self, folder: Path) -> None:
        found = project(folder)
        assert found["requires-python"] == ">=3.10"
        assert found["readme"] == "README.md"
        assert found["license"] == "MIT"
        assert found["description"]

    def test_readme_names_the_distribution_and_how_to_install_it(self, folder: Path) -> None:
        text = (folder / "README.md").read_text()
        assert re.search(rf"pip install .*\b{project(folder)['name']}\b", text)


def modules() -> list[Path]:
    folders = [ROOT / "asok_auth_core", *(folder / folder.name for folder in PLUGINS)]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_no_module_is_named_for_odds_and_ends() -> None:
    assert [path for path in modules() if path.stem in ("utils", "helpers", "misc", "common")] == []


def test_version_is_stated_once() -> None:
    assert project(ROOT)["version"] == asok_auth_core.__version__


@pytest.mark.parametrize("marker", ["demo-command", "test-command"])
def test_readme_commands_are_sessions(marker: str) -> None:
    text = (ROOT / "README.md").read_text()
    [command] = re.findall(rf"<!-- {marker} -->\n```\n(.+)\n```\n<!-- end-{marker} -->", text)
    assert command.startswith('pip install "nox[uv]" && nox')
    noxfile = (ROOT / "noxfile.py").read_text()
    for session in re.findall(r"-s (\w+)", command):
        assert f"def {session}(session: nox.Session)" in noxfile


def test_every_nox_session_explains_itself() -> None:
    noxfile = (ROOT / "noxfile.py").read_text()
    sessions = re.findall(
        r'@nox\.session.*\ndef (\w+)\(session: nox\.Session\) -> None:\n    (""".+)', noxfile
    )
    assert len(sessions) == noxfile.count("@nox.session")


FOLDERS = ("asok_auth_core", "benchmarks", "examples", "plugins", "tests", "tools")


def documented() -> list[Path]:
    """The Python files whose docstrings are read by people."""
    files = [ROOT / "conftest.py", ROOT / "noxfile.py"]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*.py") if "build" not in path.parts]
    return sorted(files)


def test_first_lines_of_docstrings_are_short() -> None:
    """Under 80 characters, so that lists and editors show them whole."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    long = []
    for path in documented():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            first = text.partition("\n")[0] if text else ""
            if len(first) >= 80:
                long.append(f"{path.relative_to(ROOT)}: {first}")
    assert not long, "shorten these lines; details go below an empty line:\n" + "\n".join(long)


def test_nobody_is_told_to_install_a_package_that_is_not_ours() -> None:
    """Anyone can register the name of a package that does not exist."""
    advice = re.compile(r"(?:\binstall(?:s|ed)?\b|\bwithout\b|\bplugin such as\b)", re.IGNORECASE)
    named = re.compile(r"(?<![\w/.-])asok-[a-z][a-z-]*[a-z](?![\w-]*[=(])")
    for path in (*ROOT.glob("asok_auth_core/**/*"), *ROOT.glob("plugins/*/asok_*/**/*")):
        if path.suffix not in (".py", ".html", ".txt") or "scaffold" in path.parts:
            continue
        for text in texts(path):
            assert "asok-{" not in text, f"{path}: a package name made from what a user typed"
            assert not re.search(r"asok-(oauth|auth)-\{", text), f"{path}: a package name made from input"
            if advice.search(text):
                others = set(named.findall(text)) - OURS - {"asok-auth"}
                assert not others, f"{path}: {others} in {text!r}"


def texts(path: Path) -> list[str]:
    """The texts of a template or a Python file, with ``{`` for each value."""
    if path.suffix != ".py":
        return re.findall(r'_\("([^"]+)"', path.read_text("utf-8"))
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "{" for v in node.values))
    return found
