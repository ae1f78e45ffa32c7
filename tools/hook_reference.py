"""Write docs/hooks.md from asok_auth_core/hookspecs.py.

Run ``python tools/hook_reference.py``.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "asok_auth_core" / "hookspecs.py"
TARGET = ROOT / "docs" / "hooks.md"

HEAD = """# Hook reference

<!-- Written by tools/hook_reference.py from asok_auth_core/hookspecs.py; change it there. -->

All hooks of the plugin API, in the order of `asok_auth_core/hookspecs.py`. A function may omit arguments it
does not need; those it has are passed by name and have no default. None always means "nothing from this
plugin". *Registration* hooks run once, at startup; *lifetime* hooks once at the start and once at the end;
*request* hooks run as described; *tools* hooks are called by the command line.

| hook | when | if it raises |
|---|---|---|
"""


@dataclass(frozen=True)
class Hook:
    """One hook as written in the source."""

    name: str
    signature: str
    section: str
    text: str

    @property
    def policy(self) -> str:
        """The docstring's sentence about exceptions, in one line."""
        found = re.search(r"If it\s+raises:\s+(.*?)(?:\n\n|\Z)", self.text, re.DOTALL)
        if found is None:
            raise ValueError(f'The docstring of {self.name} has no "If it raises:" sentence.')
        return " ".join(found[1].split())


def hooks(source: str) -> list[Hook]:
    """All functions marked with ``@hookspec``.

    Raises ValueError for one without a docstring.
    """
    sections = [(found.start(), found[1]) for found in re.finditer(r"^# -- (\w+):", source, re.MULTILINE)]
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        if not any(isinstance(mark, ast.Name) and mark.id == "hookspec" for mark in node.decorator_list):
            continue
        text = ast.get_docstring(node)
        if text is None or node.returns is None:
            raise ValueError(f"{node.name} needs a docstring and a return type.")
        start = sum(len(line) for line in source.splitlines(keepends=True)[: node.lineno - 1])
        section = [name for at, name in sections if at < start][-1]
        signature = f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        found.append(Hook(node.name, signature, section, text))
    return found


def render(source: str) -> str:
    """Render the page."""
    given = hooks(source)
    rows = [f"| [`{hook.name}`](#{hook.name}) | {hook.section} | {hook.policy} |" for hook in given]
    parts = [
        f"## {hook.name}\n\n```text\n{hook.signature}\n```\n\n{hook.text.replace('``', '`')}\n"
        for hook in given
    ]
    parts = [re.sub(r":(?:data|class|mod):`~?([\w.]+)`", r"`\1`", part) for part in parts]
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render(SOURCE.read_text("utf-8")), "utf-8")
