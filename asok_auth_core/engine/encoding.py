"""base64url without padding (RFC 7515 section 2), and no second spelling of anything."""

from __future__ import annotations

import binascii
import re

_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")


def b64url_encode(raw: bytes) -> bytes:
    """``raw`` in base64url without padding."""
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL)


def b64url_decode(text: bytes) -> bytes:
    """The bytes that ``text`` spells. Raises ValueError for any spelling but the one of encode."""
    if _ALPHABET.fullmatch(text) is None or len(text) % 4 == 1:
        raise ValueError("not base64url")
    raw = binascii.a2b_base64(text.translate(_FROM_URL) + b"=" * (-len(text) % 4))
    if b64url_encode(raw) != text:
        raise ValueError("not the canonical base64url")
    return raw


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
