"""A browser's name for people, as far as its User-Agent header says it (RFC 9110, section 10.1.5)."""

from __future__ import annotations

_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser(user_agent: str) -> str:
    """``Firefox · Linux``; empty if the header says nothing known. Only names from here are given."""
    name = next((shown for mark, shown in _BROWSERS if mark in user_agent), "")
    system = next((shown for mark, shown in _SYSTEMS if mark in user_agent), "")
    return " · ".join(part for part in (name, system) if part)
