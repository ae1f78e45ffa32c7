"""The limits of every store, so that all stores reject the same values."""

from __future__ import annotations

from ..errors import StoreError

MAX_KEY = 1024
"""Bytes of a key in UTF-8."""

MAX_VALUE = 65_536
"""Bytes of a value."""

MAX_TTL = 2**31 - 1
"""Seconds; 68 years, so that a time to live fits every store's arithmetic."""

CREDENTIAL_BYTES = {"user_id": 255, "kind": 64, "identifier": 1024}
"""Bytes in UTF-8; what fits into one index entry of every database."""

DEADLINE = 2.0
"""Seconds after which a store that has not answered counts as unavailable."""


def encoded_key(key: str) -> bytes:
    """``key`` in UTF-8. Raises StoreError if it is not 1 to 1,024 bytes of text."""
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        raise StoreError("A state key must be text that UTF-8 can encode; it has a lone surrogate.") from None
    if not 1 <= len(raw) <= MAX_KEY:
        raise StoreError(f"A state key must have 1 to {MAX_KEY} bytes, got {len(raw)}.")
    return raw


def checked_value(value: bytes) -> bytes:
    """``value`` itself. Raises StoreError if it is not bytes, or too long."""
    if not isinstance(value, bytes):
        raise StoreError(f"A state value must be bytes, got {type(value).__name__}.")
    if len(value) > MAX_VALUE:
        raise StoreError(f"A state value must have at most {MAX_VALUE} bytes, got {len(value)}.")
    return value


def checked_ttl(ttl: int) -> int:
    """``ttl`` itself. Raises StoreError unless it is whole seconds from 1."""
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 1 <= ttl <= MAX_TTL:
        raise StoreError(f"A time to live is a whole number of seconds from 1 to {MAX_TTL}, got {ttl!r}.")
    return ttl


def credential_problem(**fields: str) -> str | None:
    """Why a credential with these values cannot be stored, or None."""
    for name, value in fields.items():
        most = CREDENTIAL_BYTES[name]
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return f"The {name} of a credential must be text that UTF-8 can encode."
        if not 1 <= size <= most or "\0" in value:
            return f"The {name} of a credential has 1 to {most} bytes and no NUL; got {size} bytes."
    return None
