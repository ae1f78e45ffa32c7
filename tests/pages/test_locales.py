"""Translations are complete and well-formed, and any requested language is harmless."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from jinja2.ext import extract_from_ast

from asok_auth_core.contracts import SecondFactor
from asok_auth_core.errors import AuthError, TokenError
from asok_auth_core.pages.locales import Catalogs
from asok_auth_core.pages.problems import HEADINGS
from asok_auth_core.plugins import NO_REASON, UNCHECKED

ROOT = Path(__file__).parents[2]
PACKAGES = [
    ROOT / "asok_auth_core",
    *(path.parent / path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")),
]
# For developers, on their own machine or in a terminal.
ENGLISH_ONLY = ("__main__.py", "commands", "testing", "checks", "scaffold", "asok_auth_dev")
# Not constants of a call: the reasons that a policy gives LoginRejected, and the headlines.
IN_VARIABLES = {"This account is disabled.", UNCHECKED, NO_REASON, *HEADINGS.values()}


def files(package: Path, *kinds: str) -> Iterator[Path]:
    for kind in kinds:
        for path in sorted(package.rglob(kind)):
            if not set(path.relative_to(ROOT).parts) & set(ENGLISH_ONLY):
                yield path


def in_templates(package: Path) -> set[str]:
    found = set()
    for path in files(package, "*.html", "*.txt"):
        tree = Environment(autoescape=True).parse(path.read_text("utf-8"))
        for _, _, text in extract_from_ast(tree, gettext_functions=("_",)):
            if isinstance(text, str):
                found.add(text)
            elif isinstance(text, tuple):
                found |= {one for one in text[:1] if one}
    return found


def in_code(package: Path) -> set[str]:
    """The arguments of ``translate``, the messages of errors that users read, and the factors' labels."""
    found = set()
    for path in files(package, "*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and is_for_users(node, module):
                found |= constants(node.args[0], module, path)
        for made in vars(module).values():
            if is_class(made) and issubclass(made, SecondFactor) and made.__module__ == name:
                found |= {made.label} if hasattr(made, "label") else set()
    return found


def is_class(thing: object) -> bool:
    """Without ``list[str]``, which Python 3.10 takes for a class."""
    return isinstance(thing, type) and get_origin(thing) is None


def is_for_users(call: ast.Call, module: object) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        return (
            function.attr == "translate"
            and isinstance(function.value, ast.Name)
            and function.value.id == "request"
        )
    error = getattr(module, function.id, None) if isinstance(function, ast.Name) else None
    if not is_class(error) or not issubclass(error, AuthError) or issubclass(error, TokenError):
        return False
    codes = [word.value for word in call.keywords if word.arg == "code"]
    if codes:
        assert isinstance(codes[0], ast.Constant), f"line {call.lineno}: write the code as a literal"
        return error("", code=codes[0].value).status < 500
    return error.status < 500 and error.code != "credential_exists"


def constants(node: ast.expr, module: object, path: Path) -> set[str]:
    if isinstance(node, ast.IfExp):
        return constants(node.body, module, path) | constants(node.orelse, module, path)
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.Name):
        known = getattr(module, node.id, None)
        return {known} if isinstance(known, str) else set()
    assert not isinstance(node, (ast.JoinedStr, ast.BinOp)), (
        f"{path}:{node.lineno}: a concatenated text cannot be translated; use {{name}} and values."
    )
    return set()


@functools.cache
def wanted() -> set[str]:
    return IN_VARIABLES.union(*(in_templates(package) | in_code(package) for package in PACKAGES))


def french(packages: Iterable[Path] = PACKAGES) -> dict[str, str]:
    texts: dict[str, str] = {}
    for package in packages:
        for path in package.rglob("locales/fr.json"):
            texts |= json.loads(path.read_text("utf-8"))
    return texts


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_french_is_complete():
    texts = wanted()
    assert len(texts) > 120
    assert sorted(texts - set(french())) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_translates_what_it_says(package: Path) -> None:
    """With the core's help, but without another plugin, which may not be installed."""
    texts = in_templates(package) | in_code(package)
    assert sorted(texts - set(french([PACKAGES[0], package]))) == []


def test_no_translation_is_unused():
    assert sorted(set(french()) - wanted()) == []


def test_french_has_the_same_placeholders():
    wrong = {text: told for text, told in french().items() if placeholders(text) != placeholders(told)}
    assert wrong == {}


def test_french_uses_french_typography():
    """U+2019 for the apostrophe, a narrow no-break space before ? ! ; and a no-break space before a colon."""
    wrong = [
        told
        for told in french().values()
        if "'" in told
        or any(f"{left}{sign}" in told for left in (" ", *string.ascii_lowercase) for sign in "?!;")
    ]
    assert wrong == []


CATALOGS = Catalogs(["asok_auth_core.pages"])


@pytest.fixture
def catalogs() -> Catalogs:
    return CATALOGS


class TestChoice:
    @pytest.mark.parametrize("wanted", ["fr", "FR", "fr-CA", "fr-be"])
    def test_a_known_language_is_chosen(self, catalogs: Catalogs, wanted: str) -> None:
        assert catalogs.choose(wanted, {}) == "fr"

    @pytest.mark.parametrize(
        "wanted",
        [
            "",
            None,
            7,
            ["fr"],
            "xx",
            "../..",
            "..%2f",
            "fr\0",
            "fr\n",
            "fr ",
            "<b>",
            pytest.param("fr-" + "a" * 10_000, id="10 kB"),
            "{0}",
            "fr_FR",
            "__class__",
        ],
    )
    def test_anything_else_falls_back_to_english(self, catalogs: Catalogs, wanted: object) -> None:
        assert catalogs.choose(wanted, {}) == "en"

    def test_a_language_the_app_translates_is_chosen(self, catalogs: Catalogs) -> None:
        """An app that translates our texts adds a language; one that translates only its own adds none."""
        assert catalogs.choose("de", {"de": {"Log in": "Anmelden"}}) == "de"
        assert catalogs.choose("de", {"de": {"Our products": "Unsere Produkte"}}) == "en"

    @given(st.text(max_size=60))
    def test_any_text_gives_a_known_language(self, wanted: str) -> None:
        assert CATALOGS.choose(wanted, {"it": {"Log in": "Accedi"}}) in (
            "en",
            "fr",
            "it",
        )


class TestTranslation:
    def test_our_own_text_is_translated(self, catalogs: Catalogs) -> None:
        assert catalogs.translate("Log in", "fr", {}) == "Se connecter"

    def test_the_apps_translation_wins(self, catalogs: Catalogs) -> None:
        assert catalogs.translate("Log in", "fr", {}, {"Log in": "Entrer"}) == "Entrer"

    def test_placeholders_are_filled_in(self, catalogs: Catalogs) -> None:
        text = catalogs.translate("Log in to {app}", "fr", {"app": "{danger}"})
        assert text.endswith("{danger}")

    @pytest.mark.parametrize("bad", ["{nobody}", "{", "{0}", "{app.x}", "{app!z}"])
    def test_invalid_placeholders_of_the_app_fall_back(self, catalogs: Catalogs, bad: str) -> None:
        assert (
            catalogs.translate("Log in to {app}", "fr", {"app": "X"}, {"Log in to {app}": bad})
            == "Log in to X"
        )

    def test_unknown_text_is_returned_unchanged(self, catalogs: Catalogs) -> None:
        assert catalogs.translate("No such text {0}", "fr", {}) == "No such text {0}"
