"""Texts in the person's language: the app's own words first, then ours and the plugins'."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources


class Catalogs:
    """Translations by language, from ``locales/<language>.json`` of each package."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._texts: dict[str, dict[str, str]] = {}
        for package in dict.fromkeys(packages):
            folder = resources.files(package) / "locales"
            if folder.is_dir():
                for file in folder.iterdir():
                    if file.name.endswith(".json"):
                        texts = json.loads(file.read_text("utf-8"))
                        self._texts.setdefault(file.name.removesuffix(".json"), {}).update(texts)

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
