"""Base64url without padding (RFC 7515, RFC 4648), one spelling per value."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FOREIGN = b"!"
_FROM_URL = bytes(
    b"+/"[b"-_".index(c)] if c in b"-_" else c if c in ALPHABET else ord(_FOREIGN) for c in range(256)
)
# The last character has four unused bits in a group of two and two in a group of three: only the
# characters that leave them zero are canonical.
_CANONICAL_LAST = (frozenset(ALPHABET), frozenset[int](), frozenset(ALPHABET[::16]), frozenset(ALPHABET[::4]))
_PADDING = (b"", b"", b"==", b"=")


def b64url_encode(data: bytes) -> bytes:
    """``data`` as base64url without padding."""
    return b2a_base64(data, newline=False).translate(_TO_URL, b"=")


def b64url_decode(segment: bytes) -> bytes:
    """The bytes that :func:`b64url_encode` turns into exactly ``segment``.

    Raises ValueError for everything else: padding, white space, other alphabets, an impossible
    length, and unused bits that are not zero (RFC 4648, section 3.5).
    """
    rest = len(segment) & 3
    if rest and segment[-1] not in _CANONICAL_LAST[rest]:
        raise ValueError("Not canonical base64url.")
    standard = segment.translate(_FROM_URL)
    if _FOREIGN in standard:
        raise ValueError("Not base64url.")
    return a2b_base64(standard + _PADDING[rest])
