"""Texts in the person's language: the app's own words first, then ours and the plugins'."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from .folders import package_folders


class Catalogs:
    """Translations by language, from ``locales/<language>.json`` of each package."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._texts: dict[str, dict[str, str]] = {}
        for package in dict.fromkeys(packages):
            for folder in package_folders(package, "locales"):
                for file in sorted(folder.glob("*.json")):
                    self._texts.setdefault(file.stem, {}).update(json.loads(file.read_text("utf-8")))

    @property
    def languages(self) -> frozenset[str]:
        """The languages there are texts in, besides English."""
        return frozenset(self._texts)

    def translate(
        self,
        message: str,
        language: str,
        values: Mapping[str, str | int],
        own: Mapping[str, str] | None = None,
    ) -> str:
        """``message`` in ``language``, with ``{name}`` filled in; ``own`` are the app's texts."""
        text = (own or {}).get(message) or self._texts.get(language, {}).get(message) or message
        return text.format(**values) if values else text
