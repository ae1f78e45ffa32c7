"""Write the reference of the plugin API and its snapshot from the source.

That is docs/plugin-api.md, docs/testing-api.md and tests/plugin_api.txt. The text file holds every public
name of asok_auth_core.plugin with its signature; a test compares it, so that a change of the plugin API is
seen in review. Run ``python tools/plugin_api.py``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "asok_auth_core"
SOURCE = PACKAGE / "plugin.py"
PAGE = ROOT / "docs" / "plugin-api.md"
TESTING = PACKAGE / "testing"
TESTING_PAGE = ROOT / "docs" / "testing-api.md"
SNAPSHOT = ROOT / "tests" / "plugin_api.txt"

HEAD = """# Plugin API

<!-- Written by tools/plugin_api.py from the docstrings of the source; change them there. -->

Everything that a plugin imports, from one module:

```text
from asok_auth_core.plugin import …
```

The hooks are in the [hook reference](hooks.md). What is listed in neither is private and may change in any
release. Times are seconds, sizes are bytes, and `auth` is the [Auth](#auth) that a hook gets.

"""

TESTING_HEAD = """# Testing API

<!-- Written by tools/plugin_api.py from the docstrings of the source; change them there. -->

Everything that a test imports, from one module, and the pytest fixtures that exist wherever `asok-auth-core`
is installed. [Test your app](testing.md) shows how they are used.

```text
from asok_auth_core.testing import …
```

A contract suite is listed with what you write or may override: attributes, methods and fixtures. Its tests
are not listed.

"""


@dataclass(frozen=True)
class Name:
    """One public name: the module that defines it, its signature, and its docstring."""

    name: str
    module: str
    signature: str
    text: str
    members: tuple[tuple[str, str], ...] = ()
    """``(signature, docstring)`` of public methods and fields."""


def names() -> list[Name]:
    """Every name of ``asok_auth_core.plugin``, in the order in which it imports them."""
    return _imported(SOURCE, PACKAGE)


def testing_names() -> list[Name]:
    """The fixtures, and every name of ``asok_auth_core.testing``."""
    tree = ast.parse((TESTING / "pytest_plugin.py").read_text("utf-8"))
    fixtures = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    described = [
        Name(node.name, "pytest_plugin", _signature(node), ast.get_docstring(node) or "") for node in fixtures
    ]
    return described + _imported(TESTING / "__init__.py", TESTING)


def _imported(source: Path, package: Path) -> list[Name]:
    """What ``source`` imports from modules of ``package``."""
    found = []
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            home = package.joinpath(*(node.module or "").split("."))
            path = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
            found += [_described(alias.name, node.module or "", path) for alias in node.names]
    return found


def _described(name: str, module: str, path: Path) -> Name:
    tree = ast.parse(path.read_text("utf-8"))
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return Name(name, module, _signature(node), ast.get_docstring(node) or "")
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _class(node, module)
        if _assigned(node) == name:
            return Name(name, module, _written(node), _text_after(following))
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            # Re-exported, as contracts do with Signer.
            home = path.parent.joinpath(*(node.module or "").split("."))
            return _described(name, module, home.with_suffix(".py"))
    raise ValueError(f"{path} does not define {name}.")


def _class(node: ast.ClassDef, module: str) -> Name:
    bases = ", ".join(_written(one) for one in node.bases)
    members: list[tuple[str, str]] = []
    for item, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.FunctionDef) and (item.name == "__init__" or _is_public(item.name)):
            members.append((_signature(item), ast.get_docstring(item) or ""))
        elif isinstance(item, ast.Assign) and _assigned(item) == "shown":
            continue  # which of the core's settings are no secrets is no part of the API
        elif (assigned := _assigned(item)) and not assigned.startswith("_"):
            members.append((_written(item), _text_after(following)))
    text = ast.get_docstring(node) or ""
    signature = f"class {node.name}" + (f"({bases})" if bases else "")
    return Name(node.name, module, signature, text, tuple(members))


def _is_public(name: str) -> bool:
    """True for a name that is neither private nor that of a suite's test."""
    return not name.startswith(("_", "test_"))


def _assigned(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign):
        return _written(node.target)
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return _written(node.targets[0])
    return None


def _signature(node: ast.FunctionDef) -> str:
    marks = [f"@{_written(one)} " for one in node.decorator_list]
    returns = "" if node.returns is None else f" -> {_written(node.returns)}"
    return f"{''.join(marks)}{node.name}({_written(node.args)}){returns}"


def _written(node: ast.AST) -> str:
    """``node`` as code, alike in every version of Python."""
    return ast.unparse(node).replace("lambda :", "lambda:")


def _text_after(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def snapshot(given: list[Name]) -> str:
    """Names and signatures only, one line each, sorted."""
    return "\n".join(_snapshot_lines(sorted(given, key=lambda one: one.name))) + "\n"


def _snapshot_lines(given: list[Name]) -> Iterator[str]:
    for one in given:
        yield one.signature
        yield from (f"    {signature}" for signature, _ in one.members)


SECTIONS = {
    "What a plugin implements": ("hookspecs", "contracts", "providers"),
    "The app": (
        "auth",
        "settings",
        "limits",
        "events",
        "engine.keys",
        "mail.outbox",
        "commands",
        "commands.shared",
    ),
    "Requests, answers and pages": (
        "web",
        "pages.render",
        "pages.problems",
        "pages.login_page",
        "pages.confirmation",
        "pages.messages",
        "paths",
    ),
    "Logging in": ("flows.login", "flows.receipts", "flows.email_proofs", "flows.verified_emails"),
    "The current user": ("flows.current_user", "flows.current_request", "flows.recent_login"),
    "Sessions and accounts": ("flows.sessions", "flows.user_data", "flows.email_change"),
    "Second factors": (
        "flows.second_factor",
        "flows.factor_policy",
        "flows.recovery_codes",
        "methods.recovery",
    ),
    "APIs of the core": ("methods.token_api", "flows.api_tokens", "methods.oauth_api"),
    "Permissions": ("flows.permissions", "engine.permissions"),
    "Values": ("types", "engine.message"),
    "Stores": ("stores.rows", "stores.sealed_rows", "stores.bounds", "stores.memory", "stores.sqlite"),
    "Mail transports": ("mail.message", "mail.smtp"),
    "Text, URLs and secrets": ("engine.email_address", "engine.urls", "engine.user_agent", "engine.sealing"),
    "Errors": ("errors",),
}
"""The headings of the page, and the modules whose names stand below each."""

TESTING_SECTIONS = {
    "Fixtures": ("pytest_plugin",),
    "Contract suites": (
        "providers",
        "login_method",
        "second_factor",
        "routes",
        "policy",
        "sign_up_step",
        "permission_resolver",
        "event_observer",
        "mail_transport",
        "state_store",
        "credential_store",
        "signer",
        "user_directory",
    ),
    "Without a framework": ("parts", "fakes"),
    "A whole app": ("apps", "commands"),
    "Providers": ("oauth_app", "fake_provider"),
    "Processes, time and errors": ("processes", "races", "waiting", "raises"),
}


def render(given: list[Name], head: str = HEAD, sections: Mapping[str, tuple[str, ...]] = SECTIONS) -> str:
    """A reference page. Raises ValueError for a name that no heading covers."""
    parts = [head]
    homes = {module: title for title, modules in sections.items() for module in modules}
    lost = sorted(one.name for one in given if one.module not in homes)
    if lost:
        raise ValueError(f"No heading covers {', '.join(lost)}.")
    for title in sections:
        below = sorted((one for one in given if homes[one.module] == title), key=lambda one: one.name.lower())
        if below:
            parts += [f"## {title}\n", *map(_entry, below)]
    return "\n".join(parts).rstrip() + "\n"


def render_testing() -> str:
    """The reference page of the testing API."""
    return render(testing_names(), TESTING_HEAD, TESTING_SECTIONS)


def _entry(one: Name) -> str:
    members = [
        f"- `{signature}`" + (f": {_prose(' '.join(text.split()))}" if text else "")
        for signature, text in one.members
    ]
    parts = [f"### {one.name}", f"```text\n{one.signature}\n```", _prose(one.text), "\n".join(members)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _prose(text: str) -> str:
    text = re.sub(r":(?:\w+):`~?\.*([\w.]+)`", lambda found: f"`{found[1].split('.')[-1]}`", text)
    return text.replace("``", "`").strip()


if __name__ == "__main__":
    PAGE.write_text(render(names()), "utf-8")
    SNAPSHOT.write_text(snapshot(names()), "utf-8")
    TESTING_PAGE.write_text(render_testing(), "utf-8")
