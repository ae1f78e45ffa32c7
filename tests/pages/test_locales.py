"""Translations are complete; any requested language is harmless."""

from __future__ import annotations

import ast
import functools
import gettext
import importlib
import json
import re
import string
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from jinja2.ext import extract_from_ast

from asok_auth_core.contracts import SecondFactor
from asok_auth_core.errors import AuthError, TokenError
from asok_auth_core.pages import account, support
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
IN_VARIABLES = {
    "This account is disabled.",
    UNCHECKED,
    NO_REASON,
    *HEADINGS.values(),
    *account.HEADINGS.values(),
    *(text for step in support.STEPS.values() for text in astuple(step) if text),
}


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
    """The texts that a call shows: translations, error messages and labels."""
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
def said(package: Path) -> frozenset[str]:
    """Every text that ``package`` shows to users."""
    return frozenset(in_templates(package) | in_code(package) | (IN_VARIABLES if package is CORE else set()))


Forms = dict[str, list[str]]


@functools.cache
def shipped(package: Path, language: str) -> dict[str, str | list[str]]:
    """The translations that ``package`` ships, and the plural expression."""
    found = list(package.rglob(f"locales/{language}.json"))
    assert len(found) <= 1
    return dict(json.loads(found[0].read_text("utf-8"), object_pairs_hook=no_duplicates)) if found else {}


def catalog(package: Path, language: str) -> Forms:
    """The translations that ``package`` ships, each with all its forms."""
    texts = {one: told for one, told in shipped(package, language).items() if one}
    return {one: [told] if isinstance(told, str) else told for one, told in texts.items()}


Pairs = list[tuple[str, str | list[str]]]


def no_duplicates(pairs: Pairs) -> dict[str, str | list[str]]:
    assert len(dict(pairs)) == len(pairs), "a text is translated twice"
    return dict(pairs)


def placeholders(text: str) -> list[str]:
    """The names, formats and conversions, sorted: translations reorder them."""
    return sorted(str(part[1:]) for part in string.Formatter().parse(text) if part[1] is not None)


CORE = PACKAGES[0]
LANGUAGES = sorted({path.stem for package in PACKAGES for path in package.rglob("locales/*.json")} - {"en"})
"""All that are shipped: a new language is checked as soon as its first file exists."""
EACH_CATALOG = [
    pytest.param(language, package, id=f"{language}-{package.name}")
    for language in LANGUAGES
    for package in PACKAGES
]


def test_the_languages_are_found() -> None:
    assert {"de", "fr"} <= set(LANGUAGES)
    assert len(said(CORE)) > 120


@pytest.mark.parametrize(("language", "package"), EACH_CATALOG)
class TestCatalog:
    def test_it_has_every_text(self, language: str, package: Path) -> None:
        """With the core's help, but without another plugin, which may not be installed."""
        known = catalog(CORE, language).keys() | catalog(package, language).keys()
        assert sorted(said(package) - known) == []

    def test_it_has_no_other_text(self, language: str, package: Path) -> None:
        assert sorted(catalog(package, language).keys() - said(package)) == []

    def test_the_placeholders_match(self, language: str, package: Path) -> None:
        assert {
            one: told
            for one, forms in catalog(package, language).items()
            for told in forms
            if placeholders(one) != placeholders(told)
        } == {}

    def test_what_has_a_singular_in_english_has_all_forms(self, language: str, package: Path) -> None:
        counted = catalog(package, "en").keys()
        texts = shipped(package, language)
        assert {one for one, told in texts.items() if isinstance(told, list)} == counted
        if counted:
            index = gettext.c2py(str(texts[""]))
            numbers = {index(number) for number in range(1000)}
            assert [one for one in counted if len(texts[one]) != len(numbers)] == []
            assert texts[""] == shipped(CORE, language)[""]

    def test_no_text_is_empty_or_has_odd_spaces(self, language: str, package: Path) -> None:
        texts = [told for forms in catalog(package, language).values() for told in forms]
        assert [told for told in texts if not told or told != told.strip() or "  " in told] == []

    def test_a_text_that_two_packages_translate_is_the_same(self, language: str, package: Path) -> None:
        own, core = catalog(package, language), catalog(CORE, language)
        assert {one: told for one, told in own.items() if core.get(one, told) != told} == {}

    def test_the_file_is_sorted(self, language: str, package: Path) -> None:
        """So that two changes of a catalog rarely touch the same line."""
        texts = list(shipped(package, language))
        assert texts == sorted(texts)


def all_texts(language: str) -> list[str]:
    return [told for package in PACKAGES for forms in catalog(package, language).values() for told in forms]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_english_texts_with_a_number_have_a_singular(package: Path) -> None:
    """So that no page says "1 minutes"."""
    numbers = re.compile(r"\{(seconds|minutes|hours|days|count)\} [a-z]")
    texts = catalog(package, "en")
    counted = {one for one in said(package) if numbers.search(one)}
    assert counted - texts.keys() - catalog(CORE, "en").keys() == set()
    assert texts.keys() - said(package) == set()
    assert {one: forms for one, forms in texts.items() if len(forms) != 2 or forms[1] != one} == {}


def test_french_uses_french_typography() -> None:
    """Apostrophes are U+2019; no-break spaces precede ``? ! ; :``."""
    wrong = [
        told
        for told in all_texts("fr")
        if "'" in told
        or any(f"{left}{sign}" in told for left in (" ", *string.ascii_lowercase) for sign in "?!;")
    ]
    assert wrong == []


def test_german_is_polite_and_uses_german_typography() -> None:
    """``Sie``, never ``du``; no straight quotes, no space before a sign."""
    informal = re.compile(r"\b(du|dich|dir|dein\w*|euch|euer|eure\w*)\b|['\"]| [?!;:,.]", re.IGNORECASE)
    assert [told for told in all_texts("de") if informal.search(told)] == []


CATALOGS = Catalogs(["asok_auth_core.pages"])


@pytest.fixture
def catalogs() -> Catalogs:
    return CATALOGS


class TestChoice:
    @pytest.mark.parametrize(
        ("wanted", "chosen"),
        [("fr", "fr"), ("FR", "fr"), ("fr-CA", "fr"), ("fr-be", "fr"), ("de-AT", "de"), ("de-ch", "de")],
    )
    def test_a_known_language_is_chosen(self, catalogs: Catalogs, wanted: str, chosen: str) -> None:
        assert catalogs.choose(wanted, {}) == chosen

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
        """An app adds a language by translating our texts, not only its own."""
        assert catalogs.choose("it", {"it": {"Log in": "Accedi"}}) == "it"
        assert catalogs.choose("it", {"it": {"Our products": "I nostri prodotti"}}) == "en"

    @given(st.text(max_size=60))
    def test_any_text_gives_a_known_language(self, wanted: str) -> None:
        assert CATALOGS.choose(wanted, {"it": {"Log in": "Accedi"}}) in (
            "en",
            "it",
            *LANGUAGES,
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
    def test_invalid_placeholders_of_the_app_fall_back_to_ours(self, catalogs: Catalogs, bad: str) -> None:
        assert (
            catalogs.translate("Log in to {app}", "fr", {"app": "X"}, {"Log in to {app}": bad})
            == "Se connecter à X"
        )

    @pytest.mark.parametrize(
        ("language", "days", "text"),
        [
            ("en", 1, "1 day"),
            ("en", 0, "0 days"),
            ("xx", 1, "1 day"),
            ("fr", 1, "1 jour"),
            ("fr", 0, "0 jour"),
            ("fr", 2, "2 jours"),
            ("de", 1, "1 Tag"),
            ("de", 30, "30 Tage"),
        ],
    )
    def test_a_number_chooses_the_plural_form(
        self, catalogs: Catalogs, language: str, days: int, text: str
    ) -> None:
        assert catalogs.translate("{days} days", language, {"days": days}) == text

    def test_an_app_adds_a_language_with_its_own_plural_forms(self, catalogs: Catalogs) -> None:
        own = {
            "": "n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2",
            "{days} days": ["{days} dzień", "{days} dni", "{days} dni."],
        }
        texts = [catalogs.translate("{days} days", "pl", {"days": n}, own) for n in (1, 22, 12)]
        assert texts == ["1 dzień", "22 dni", "12 dni."]

    def test_an_app_changes_a_text_with_forms_by_ours_or_one_text(self, catalogs: Catalogs) -> None:
        for own in ({"{days} days": ["{days} j", "{days} js"]}, {"{days} days": "{days} j"}):
            assert catalogs.translate("{days} days", "fr", {"days": 1}, own) == "1 j"

    @pytest.mark.parametrize(
        "own",
        [
            {"{days} days": ["{days} j"]},
            {"{days} days": []},
            {"{days} days": 5},
            {"{days} days": {"one": "x"}},
            {"{days} days": ["{d}", "{d}"]},
            {"{days} days": ["{days} j", "{days} js"], "": "import os"},
            {"{days} days": ["{days} j", "{days} js"], "": "n % 0"},
            {"{days} days": ["{days} j", "{days} js"], "": 7},
        ],
    )
    def test_unusable_forms_of_the_app_fall_back_to_ours(
        self, catalogs: Catalogs, own: dict[str, object], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert catalogs.translate("{days} days", "fr", {"days": 2}, own) == "2 jours"
        assert "'{days} days' is unusable" in caplog.text

    def test_unknown_text_is_returned_unchanged(self, catalogs: Catalogs) -> None:
        assert catalogs.translate("No such text {0}", "fr", {}) == "No such text {0}"
