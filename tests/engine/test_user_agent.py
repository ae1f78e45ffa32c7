"""Browsers by name; nothing of the header itself is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.engine.user_agent import browser_name

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1"
)


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (CHROME, "Chrome · Windows"),
        (CHROME + " Edg/140.0", "Edge · Windows"),
        (CHROME + " OPR/120.0", "Opera · Windows"),
        (SAFARI, "Safari · iPhone"),
        ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox · Android"),
        ("curl/8.0", ""),
        ("", ""),
    ],
)
def test_known_browsers_are_named(header: str, shown: str) -> None:
    assert browser_name(header) == shown


@given(st.text(max_size=200))
def test_the_result_contains_only_our_own_words(header: str) -> None:
    words = set(browser_name(header).replace(" · ", "|").split("|")) - {""}
    assert words <= {
        "Edge",
        "Opera",
        "Firefox",
        "Chrome",
        "Safari",
        "Windows",
        "Android",
        "iPhone",
        "iPad",
        "macOS",
        "ChromeOS",
        "Linux",
    }
