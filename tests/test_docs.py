"""Every Python snippet runs; navigation and list of events are complete.

A snippet after a line with a path in backticks and a colon is that file. Test files are run by pytest,
``wsgi.py`` as an app, pages and modules are imported. Other snippets of a page run in order, in one
namespace that has an ``app`` and a ``request``.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"])
FENCE = re.compile(
    r"(?:^`(?P<path>[\w/.-]+\.py)`:\n\n)?^```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
SECRET_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00123456789abcdef0f1e2d3c4b5a6978"
RUN_ELSEWHERE = {"write-a-mail-transport": "tests/mail/test_documented_transport.py"}
"""Pages whose tests need a service, and the test that runs them with one."""
USER = """
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
"""


@dataclass(frozen=True)
class Snippet:
    """One block of Python and the file it says it is."""

    path: str | None
    code: str
    line: int


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        code, path = match["code"], match["path"]
        if path is None and (comment := re.match(r"# ([\w/]+\.py)\n", code)):
            path = comment[1]
        found.append(Snippet(path, code, text.count("\n", 0, match.start("code")) + 1))
    return found


WITH_CODE = [page for page in PAGES if snippets(page)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to write a page's files into, first on the path for imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_every_snippet_runs(page: Path, folder: Path) -> None:
    request = MagicMock(name="request")
    space: dict[str, object] = {
        "app": SimpleNamespace(config={"DEBUG": True}, register_extension=lambda extension: None),
        "request": request,
        "__name__": f"docs_{page.stem.replace('-', '_')}",
    }
    for snippet in snippets(page):
        if snippet.path is None:
            exec(compile("\n" * (snippet.line - 1) + snippet.code, str(page), "exec"), space)
            continue
        target = folder / snippet.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(snippet.code, "utf-8")
        if snippet.path.startswith("tests/"):
            run_python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", snippet.path)
        elif snippet.path.startswith("src/"):
            exec(compile(snippet.code, snippet.path, "exec"), {"__name__": "page", "request": request})
        elif snippet.path == "wsgi.py":
            write_model(folder)
            run_python(
                folder, "-W", "error", "-c", "from wsgi import app; assert app.extensions['AuthExtension']"
            )
        else:
            importlib.import_module(
                snippet.path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
            )
    run_tests_of(space, page, folder)


def run_tests_of(space: dict[str, object], page: Path, folder: Path) -> None:
    """Run the tests in snippets without a path, in a file of their own."""
    if page.stem in RUN_ELSEWHERE:
        assert (ROOT / RUN_ELSEWHERE[page.stem]).is_file()
        return
    if not any(name.startswith(("test_", "Test")) for name in space):
        return
    plain = [snippet.code for snippet in snippets(page) if snippet.path is None]
    if any("app.config" in code for code in plain):
        plain.insert(0, "from types import SimpleNamespace\napp = SimpleNamespace(config={})\n")
    (folder / "test_snippets.py").write_text("\n\n".join(plain), "utf-8")
    run_python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_snippets.py")


def write_model(folder: Path) -> None:
    model = folder / "src" / "models" / "user.py"
    if not model.exists():
        model.parent.mkdir(parents=True)
        model.write_text(USER, "utf-8")


def run_python(folder: Path, *arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "SECRET_KEY": SECRET_KEY,
            "DEBUG": "true",
            "APP_URL": "http://127.0.0.1:8000",
            "MAIL_HOST": "127.0.0.1",
            "MAIL_FROM": "auth@app.example",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    missing = [page.name for page in ROOT.glob("docs/*.md") if f": {page.name}\n" not in navigation]
    assert missing == []


def test_readme_links_resolve() -> None:
    for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text("utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{name} links to {target}"


def test_every_event_is_listed_and_every_listed_event_exists() -> None:
    sources = [ROOT / "asok_auth_core", *ROOT.glob("plugins/*/asok_*")]
    code = "\n".join(path.read_text("utf-8") for folder in sources for path in folder.rglob("*.py"))
    emitted = set(re.findall(r"\bemit\(\s*\"([a-z_]+(?:\.[a-z_]+)?)\"", code))
    emitted |= set(re.findall(r"\"(mail\.(?:sent|failed|retrying))\"", code))
    table = (ROOT / "docs" / "events.md").read_text("utf-8").split("## An audit log")[0]
    listed = set(
        re.findall(
            r"`([a-z_]+\.[a-z_]+)`", "\n".join(r.split("|")[1] for r in table.splitlines() if r[:1] == "|")
        )
    )
    listed |= set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE))
    assert emitted - listed == set(), "add these to docs/events.md"
    assert listed - emitted == set(), "nothing emits these"
