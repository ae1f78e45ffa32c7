"""Text that every database and encoding takes.

PostgreSQL refuses NUL, and nothing can encode half a character (a lone surrogate). Every entrance for text of
others, such as forms and providers, asks here, so that nothing behind it has to.
"""

from __future__ import annotations

import re

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"
"""U+FFFD, which stands for a character that could not be represented (The Unicode Standard, 23.8)."""


def is_storable(text: str) -> bool:
    """True if every database takes ``text``."""
    return UNSTORABLE.search(text) is None


def storable(text: str) -> str:
    """``text`` with U+FFFD for each character that no database takes.

    For names and for what is checked later. Do not use it for ids: different ones would become equal.
    """
    return UNSTORABLE.sub(REPLACEMENT, text)


def is_exact(text: str) -> bool:
    """True if ``text`` is what its author wrote, so that it can be an id.

    False if it is not storable, or :func:`storable` may have changed it.
    """
    return is_storable(text) and REPLACEMENT not in text
