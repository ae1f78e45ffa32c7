"""Translate texts: the app's own first, then ours and the plugins'."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping

from .folders import package_folders

logger = logging.getLogger("asok_auth")

MAX_TAG = 35
"""RFC 5646, section 4.4.1: the length an implementation must support."""
TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


class Catalogs:
    """Translations by language, from ``locales/<language>.json`` of each package."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._texts: dict[str, dict[str, str]] = {}
        for package in dict.fromkeys(packages):
            for folder in package_folders(package, "locales"):
                for file in sorted(folder.glob("*.json")):
                    self._texts.setdefault(file.stem, {}).update(json.loads(file.read_text("utf-8")))
        self._messages = frozenset(message for texts in self._texts.values() for message in texts)

    @property
    def messages(self) -> frozenset[str]:
        """Every text that is translated into any language."""
        return self._messages

    def choose(self, wanted: object, own: Mapping[str, Mapping[str, str]]) -> str:
        """The language to answer in: ``wanted`` if it has translations, else English.

        ``wanted`` is, for example, ``fr-CA``. ``wanted`` comes from a cookie, a header or the URL, so it may
        be anything; ``own`` are the app's own texts by language.
        """
        if not isinstance(wanted, str) or len(wanted) > MAX_TAG or not TAG.fullmatch(wanted):
            return "en"
        for tag in (wanted, wanted.lower(), wanted.lower().partition("-")[0]):
            if tag in self._texts or not self.messages.isdisjoint(own.get(tag, {})):
                return tag
        return "en"

    def translate(
        self,
        message: str,
        language: str,
        values: Mapping[str, str | int],
        own: Mapping[str, str] | None = None,
    ) -> str:
        """``message`` in ``language`` with placeholders filled in; ``own`` comes first.

        ``own`` are the app's texts. If a translation has other placeholders, a warning is logged and the
        English text is used.
        """
        text = (own or {}).get(message) or self._texts.get(language, {}).get(message) or message
        if not values:
            return text
        try:
            return text.format(**values)
        except (LookupError, ValueError, AttributeError):
            logger.warning("The %r translation of %r has other placeholders.", language, message)
            return message.format(**values)
