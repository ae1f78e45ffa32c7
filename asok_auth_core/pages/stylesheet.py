"""The stylesheet of all pages: ours, then the app's own ``auth/theme.css``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

THEME = "auth/theme.css"


@dataclass(frozen=True, slots=True)
class Stylesheet:
    """Its text, and a path that changes with it; browsers cache it for a year."""

    text: str
    path: str

    @classmethod
    def read(cls, overrides: Path) -> Stylesheet:
        """Our stylesheet, followed by the app's ``auth/theme.css`` from ``overrides``."""
        ours = (resources.files("asok_auth_core") / "pages" / "static" / "auth.css").read_text("utf-8")
        theme = overrides / THEME
        text = smaller(ours) + (theme.read_text("utf-8") if theme.is_file() else "")
        return cls(text, f"/auth/static/{hashlib.sha256(text.encode()).hexdigest()[:12]}.css")


def smaller(css: str) -> str:
    """``css`` without comments and line breaks; only for our own file."""
    return re.sub(r"\s*\n\s*", " ", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)).strip()
