"""Colors keep the contrasts of WCAG 2.2; both writing directions work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asok_auth_core.pages.stylesheet import Stylesheet

CSS = Stylesheet.read(Path("no-such-folder")).text
SCHEMES = dict(
    zip(
        ("light", "dark"),
        (
            dict(re.findall(r"--asok-auth-([\w-]+): (#[0-9a-f]{6})", block))
            for block in re.findall(r":root \{(.*?)\}", CSS)[:2]
        ),
        strict=True,
    )
)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_formula_is_correct() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("text", ["text", "muted", "accent", "danger", "good"])
@pytest.mark.parametrize("ground", ["card", "page"])
def test_text_has_enough_contrast(scheme: str, text: str, ground: str) -> None:
    """WCAG 2.2, 1.4.3."""
    assert contrast(SCHEMES[scheme][text], SCHEMES[scheme][ground]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_on_the_main_button_has_enough_contrast(scheme: str) -> None:
    """WCAG 2.2, 1.4.3."""
    assert contrast(SCHEMES[scheme]["on-accent"], SCHEMES[scheme]["accent"]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("edge", ["line", "accent", "danger"])
@pytest.mark.parametrize("ground", ["card", "page"])
def test_control_borders_and_focus_have_enough_contrast(scheme: str, edge: str, ground: str) -> None:
    """WCAG 2.2, 1.4.11."""
    assert contrast(SCHEMES[scheme][edge], SCHEMES[scheme][ground]) >= 3


def test_rules_use_logical_sides_only() -> None:
    assert (
        re.findall(
            r"[{;]\s*(?:(?:margin|padding|border)-)?(?:left|right)\s*:|text-align: (?:left|right)", CSS
        )
        == []
    )


def test_every_rule_matches_our_own_elements_only() -> None:
    plain = re.sub(r"@(?:media|supports)[^{]*\{", "", CSS)
    for selectors in re.findall(r"(?:^|\}|\s)([^{}@]+)\{", plain):
        for selector in re.sub(r"\([^)]*\)", "", selectors).split(","):
            assert ".asok-auth" in selector or selector.strip() == ":root", selector


def test_nothing_is_loaded_and_nothing_moves_by_itself() -> None:
    assert not re.findall(r"url\(|@import|@font-face|animation", CSS)
    before, _, after = CSS.partition("@media (prefers-reduced-motion: no-preference)")
    assert after
    assert "transition" not in before


def test_its_path_changes_with_the_theme(tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "theme.css").write_text(":root { --asok-auth-accent: #00695c; }")
    assert Stylesheet.read(tmp_path).path != Stylesheet.read(Path("no-such-folder")).path
