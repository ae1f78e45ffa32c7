"""The one stylesheet: ours, then the app's own ``auth/theme.css``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..web import Route, WebRequest, WebResponse

THEME = "auth/theme.css"


@dataclass(frozen=True, slots=True)
class Stylesheet:
    """Its text, and a path that changes with it, so that browsers may keep it for a year."""

    text: str
    path: str

    @classmethod
    def read(cls, overrides: Path) -> Stylesheet:
        """Our stylesheet with the app's ``auth/theme.css`` from ``overrides`` behind it."""
        ours = (resources.files("asok_auth_core") / "pages" / "static" / "auth.css").read_text("utf-8")
        theme = overrides / THEME
        text = smaller(ours) + (theme.read_text("utf-8") if theme.is_file() else "")
        return cls(text, f"/auth/static/{hashlib.sha256(text.encode()).hexdigest()[:12]}.css")

    def route(self) -> Route:
        """The page that gives it."""

        def get(request: WebRequest) -> WebResponse:
            return WebResponse(
                self.text,
                content_type="text/css; charset=utf-8",
                headers=(("Cache-Control", "public, max-age=31536000, immutable"),),
            )

        return Route(self.path, get=get)


def smaller(css: str) -> str:
    """``css`` without comments and line breaks. Our own file only: it has no such text in strings."""
    return re.sub(r"\s*\n\s*", " ", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)).strip()
