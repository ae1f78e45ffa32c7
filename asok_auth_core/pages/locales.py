"""Translate texts: the app's own first, then ours and the plugins'.

A catalog maps each English text to a translation, or, if it shows a number, to a list of gettext's plural
forms. Its empty key is gettext's plural expression of the language: ``n > 1`` is 0 for the first form.
"""

from __future__ import annotations

import functools
import gettext
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping

from .folders import package_folders

logger = logging.getLogger("asok_auth")

MAX_TAG = 35
"""RFC 5646, section 4.4.1: the length an implementation must support."""
TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


class Catalogs:
    """Translations by language, from ``locales/<language>.json`` of each package."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._texts: dict[str, dict[str, object]] = {}
        for package in dict.fromkeys(packages):
            for folder in package_folders(package, "locales"):
                for file in sorted(folder.glob("*.json")):
                    texts = self._texts.setdefault(file.stem, {})
                    # The first plural expression of a language stays: the core's.
                    self._texts[file.stem] = {**texts, **json.loads(file.read_text("utf-8")), **_rule(texts)}
        self._messages = frozenset(message for texts in self._texts.values() for message in texts if message)

    @property
    def messages(self) -> frozenset[str]:
        """Every text that is translated into any language."""
        return self._messages

    def choose(self, wanted: object, own: Mapping[str, Mapping[str, object]]) -> str:
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
        own: Mapping[str, object] | None = None,
    ) -> str:
        """``message`` in ``language`` with placeholders filled in; ``own`` comes first.

        ``own`` are the app's texts. The first number among ``values`` chooses the plural form. If a
        translation is unusable, for example has other placeholders, a warning is logged, and the next one
        or the English text is used.
        """
        number = next((value for value in values.values() if isinstance(value, int)), None)
        shipped, english = self._texts.get(language, {}), self._texts.get("en", {})
        for texts in (own or {}, shipped, english):
            told = texts.get(message)
            if told is None or told == "":
                continue
            rule = texts.get("") or shipped.get("")
            try:
                text = told if isinstance(told, str) else _plural_form(told, number, rule)
                return text.format(**values) if values else text
            except (LookupError, ValueError, AttributeError, TypeError, ArithmeticError) as error:
                logger.warning("The %r translation of %r is unusable: %r.", language, message, error)
        return message.format(**values) if values else message


def _rule(texts: Mapping[str, object]) -> dict[str, object]:
    return {"": texts[""]} if "" in texts else {}


def _plural_form(forms: object, number: int | None, expression: object) -> str:
    """The form of ``forms`` for ``number``. Raises ValueError or IndexError."""
    if not isinstance(forms, list) or number is None:
        raise ValueError("it must be a text, or for a text with a number a list of texts")
    form = forms[_index(str(expression))(number)]
    return str(form)


@functools.cache
def _index(expression: str) -> Callable[[int], int]:
    """gettext's plural expression as a function. Raises ValueError."""
    return gettext.c2py(expression)
