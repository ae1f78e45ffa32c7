"""What the pages claim about the code: links, events, tested requirements."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.md"))
OF_EVERY_EVENT = {"user", "method", "client_ip"}


def anchors(text: str) -> set[str]:
    """The headings' names, as the site makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        file = page if not target else page.parent / target
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text("utf-8")), f"{target}#{anchor}"


def emitted() -> dict[str, set[str]]:
    """Event names in the code, with the names of their details."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in (ROOT / "asok_auth_core", *ROOT.glob("plugins/*/asok_*")):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                name = node.args[0] if node.func.attr == "emit" and node.args else None
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    found[name.value] |= {word.arg for word in node.keywords if word.arg}
    return {name: details - OF_EVERY_EVENT for name, details in found.items()}


def test_every_events_details_are_documented() -> None:
    rows = [line.split("|")[1:4] for line in (ROOT / "docs/events.md").read_text("utf-8").splitlines()]
    documented = {
        name: row[2] for row in rows if len(row) == 3 for name in re.findall(r"`([a-z_.]+)`", row[0])
    }
    events = emitted()
    assert len(events) > 20
    missing = {
        f"{name}: {detail}"
        for name, details in events.items()
        for detail in details
        if f"`{detail}`" not in documented.get(name, "")
    }
    assert missing == set()


SECURITY = {
    name: re.findall(r"`((?:tests|plugins|asok_auth_core)/[\w/]+\.py)`", files)
    for name, files in re.findall(
        r"^\| (SECURITY-\d+) \|.*\|([^|]*)\|$", (ROOT / "docs/security.md").read_text("utf-8"), re.MULTILINE
    )
}


@functools.cache
def marked() -> dict[str, set[str]]:
    """Files by the requirement that ``@pytest.mark.requirement`` names in them."""
    found: dict[str, set[str]] = defaultdict(set)
    suites = (ROOT / "tests", *ROOT.glob("plugins/*/tests"), ROOT / "asok_auth_core/testing")
    for path in (path for folder in suites for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
                for name in node.args:
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: give the ids themselves"
                    found[name.value].add(path.relative_to(ROOT).as_posix())
    return found


def test_every_requirement_has_a_row() -> None:
    numbers = [int(name.removeprefix("SECURITY-")) for name in SECURITY]
    assert numbers == sorted(set(numbers))
    # 46 and 47 are about passkeys and passwords, which there are none of.
    assert set(range(1, 49)) - set(numbers) <= {35, 36, 39, 43, 44, 46, 47}


def test_every_marked_requirement_has_a_row() -> None:
    assert sorted(set(marked()) - set(SECURITY)) == []


@pytest.mark.parametrize("name", SECURITY)
def test_the_files_of_a_row_have_tests_marked_with_it(name: str) -> None:
    assert SECURITY[name]
    assert sorted(set(SECURITY[name]) - marked()[name]) == []


def test_the_documented_option_selects_the_tests_of_one_requirement() -> None:
    files = ("tests/engine/test_keys.py", "tests/engine/test_client_ip.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "--requirement", "SECURITY-33", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split("::")[0] for line in run.stdout.splitlines() if "::" in line} == {files[1]}


def test_the_one_place_for_each_step_exists() -> None:
    text = (
        (ROOT / "docs/architecture.md").read_text("utf-8").split("## One place for each")[1].split("\n## ")[0]
    )
    places = re.findall(r"`([\w/]+\.py)`(?:: ((?:`[\w.]+`(?:, | and )?)+))?", text)
    assert len(places) > 10
    for name, functions in places:
        path = ROOT / name if name.startswith("plugins/") else ROOT / "asok_auth_core" / name
        source = path.read_text("utf-8")
        for function in re.findall(r"`(?:\w+\.)?(\w+)`", functions):
            assert f"def {function}(" in source, f"{name}: {function}"


def test_sessions_are_started_in_one_place() -> None:
    callers = [
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT / "asok_auth_core", *ROOT.glob("plugins/*/asok_*"))
        for path in folder.rglob("*.py")
        if ".session.begin(" in path.read_text("utf-8")
    ]
    assert callers == ["asok_auth_core/flows/sessions.py"]
