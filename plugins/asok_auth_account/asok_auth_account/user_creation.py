"""Find the places where an app's own code creates users.

They are read, not run: what calls ``create`` or ``save`` on the user model. What a static search cannot see,
such as a model in a variable, is not found.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

CREATES = frozenset({"create", "first_or_create", "update_or_create"})
ASYNC = "_async"


def files_creating_users(folder: Path, model: str) -> list[Path]:
    """The Python files below ``folder`` that create a ``model``, sorted.

    One that cannot be read or parsed is left out.
    """
    return [path for path in sorted(folder.rglob("*.py")) if _creates(path, model)]


def _creates(path: Path, model: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
        return any(_Search(tree, model).calls())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return False


class _Search:
    """The calls in one file that create a user."""

    def __init__(self, tree: ast.Module, model: str) -> None:
        self._model = model
        self._nodes = list(ast.walk(tree))
        imports = (node for node in self._nodes if isinstance(node, ast.ImportFrom))
        aliases = {one.asname for node in imports for one in node.names if one.name == model and one.asname}
        self._names = {model, *aliases}
        self._instances = set(self._made_instances())

    def calls(self) -> Iterator[ast.Call]:
        """Each of them."""
        for node in self._nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                method, of = node.func.attr.removesuffix(ASYNC), node.func.value
                if (method in CREATES and self._leads_to_model(of)) or (
                    method == "save" and self._is_new(of)
                ):
                    yield node

    def _made_instances(self) -> Iterator[str]:
        """Names that a new user is assigned to."""
        for node in self._nodes:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if self._is_new_model(getattr(node, "value", None)):
                yield from (target.id for target in targets if isinstance(target, ast.Name))

    def _is_model(self, node: ast.AST | None) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._names
        if isinstance(node, ast.Attribute):
            return node.attr == self._model
        return (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and node.slice.value == self._model
        )

    def _leads_to_model(self, node: ast.AST) -> bool:
        """True for the model, and for a query of it, such as ``User.query()``."""
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func.value
        return self._is_model(node)

    def _is_new_model(self, node: ast.AST | None) -> bool:
        return isinstance(node, ast.Call) and self._is_model(node.func)

    def _is_new(self, node: ast.AST) -> bool:
        return self._is_new_model(node) or (isinstance(node, ast.Name) and node.id in self._instances)
