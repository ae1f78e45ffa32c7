"""Templates and translations are found in the package of every kind of plugin."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from asok.testing import TestClient

from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.parts import Browser, build_auth

POLICY = """
from asok_auth_core.plugin import hookimpl

@hookimpl
def asok_auth_before_login(attempt):
    return "We are closed."
"""

METHOD = """
from asok_auth_core.plugin import LoginMethod, hookimpl
from asok_auth_core.pages.render import render
from asok_auth_core.web import Route

class Door(LoginMethod):
    name = "door"

    def __init__(self, auth):
        self.auth = auth

    def routes(self):
        return [Route("/auth/door", get=lambda request: render(self.auth, request, "door/page.html"))]

@hookimpl
def asok_auth_login_methods(auth):
    return [Door(auth)]
"""

Write = Callable[..., ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files below a folder that modules are imported from, then import one."""
    place = tmp_path / "installed"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    before = set(sys.modules)

    def write(module: str, files: dict[str, str]) -> ModuleType:
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text, "utf-8")
        importlib.invalidate_caches()
        return importlib.import_module(module)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


ITALIAN = json.dumps({"Log in": "Accedi", "We are closed.": "Siamo chiusi."})
"""A language that no package of ours ships."""


def language_of_login_page(root: Path, plugin: ModuleType) -> str:
    with asok_app(root, plugins=[plugin]) as app:
        client = TestClient(app)
        client.get("/auth/login?lang=it")
        page = client.get("/auth/login").text
        return page.partition('<html lang="')[2][:2]


def test_translations_of_a_plugin_with_only_a_policy_are_loaded(tmp_path: Path, write: Write) -> None:
    files = {"packages_policy/__init__.py": POLICY, "packages_policy/locales/it.json": ITALIAN}
    assert language_of_login_page(tmp_path / "app", write("packages_policy", files)) == "it"


def test_translations_of_an_object_are_those_of_its_module(tmp_path: Path, write: Write) -> None:
    source = POLICY.replace("(attempt", "(self, attempt").replace("\n", "\n    ")
    files = {
        "packages_object/__init__.py": "",
        "packages_object/policy.py": f"class Policy:{source}",
        "packages_object/locales/it.json": ITALIAN,
    }
    module = write("packages_object.policy", files)
    assert language_of_login_page(tmp_path / "app", module.Policy()) == "it"


def test_the_apps_own_translations_are_not_a_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin module of the app lies next to translations that Asok reads itself."""
    root = tmp_path / "app"
    for name, text in {
        "src/policy.py": POLICY,
        "src/locales/it.json": '{"Our products": "Prodotti"}',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(root)
    before = set(sys.modules)
    try:
        plugin = importlib.import_module("src.policy")
        assert language_of_login_page(root, plugin) == "en"
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(["packages_a/__init__.py", "packages_a/templates"], id="package"),
        pytest.param(["packages_b/plugin.py", "packages_b/templates"], id="package without __init__.py"),
        pytest.param(
            ["packages_c/hooks/main.py", "packages_c/__init__.py", "packages_c/templates"], id="deep module"
        ),
        pytest.param(["packages_d/door/__init__.py", "packages_d/door/templates"], id="in a namespace"),
        pytest.param(
            ["packages_e/door/plugin.py", "packages_e/door/__init__.py", "packages_e/door/templates"],
            id="module of a package in a namespace",
        ),
        pytest.param(["packages_f/door/plugin.py", "packages_f/door/templates"], id="namespaces only"),
    ],
)
def test_a_page_of_a_login_method(tmp_path: Path, write: Write, files: list[str]) -> None:
    """``files``: the plugin's module, empty modules, and the template folder."""
    module, *others, templates = files
    written = {
        module: METHOD,
        **dict.fromkeys(others, ""),
        f"{templates}/door/page.html": "Knock, {{ user }}.",
    }
    name = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    auth = build_auth(tmp_path / "app", plugins=[write(name, written)])
    try:
        answer = Browser(auth).get("/auth/door")
        assert (answer.status, answer.body) == (200, "Knock, None.")
    finally:
        auth.outbox.close()
        auth.state.close()


def test_both_halves_of_a_namespace_package(tmp_path: Path, write: Write) -> None:
    """Two distributions share one namespace; each finds its own pages."""
    files = {
        f"packages_two/{name}/{file}": text.replace("door", name)
        for name in ("front", "back")
        for file, text in {
            "__init__.py": METHOD,
            f"templates/{name}/page.html": "The {{ request.path }}",
        }.items()
    }
    plugins = [write(f"packages_two.{name}", files) for name in ("front", "back")]
    auth = build_auth(tmp_path / "app", plugins=plugins)
    try:
        browser = Browser(auth)
        for name in ("front", "back"):
            assert browser.get(f"/auth/{name}").body == f"The /auth/{name}"
    finally:
        auth.outbox.close()
        auth.state.close()
