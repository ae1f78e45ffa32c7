"""The key ring: one key per purpose, derived with HKDF (RFC 5869)."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .encoding import b64url_encode

KEY_BYTES = 32


class KeyRing:
    """Keys for every purpose, from ``secrets`` (newest first).

    Keys of different purposes are independent, so nothing signed, hashed or sealed for one purpose
    is valid for another. Anything made with an older secret stays valid until that secret is removed
    from the ring.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets:
            raise ValueError("A key ring needs at least one secret.")
        self._secrets = tuple(secrets)
        self._derived: dict[str, tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._secrets)} secret(s)>"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the secrets, newest first; ``asok-auth keys`` prints them."""
        return tuple(key_id(secret) for secret in self._secrets)

    def newest(self) -> KeyRing:
        """A ring of the newest secret alone."""
        return KeyRing(self._secrets[:1])

    def without(self, key: str) -> KeyRing:
        """A ring without the secret ``key``, an id; ValueError if no other is left."""
        return KeyRing([secret for secret in self._secrets if key_id(secret) != key])

    def weak_secrets(self) -> tuple[tuple[int, str], ...]:
        """``(position, reason)`` of each weak secret, for warnings."""
        found = ((i, weakness(secret)) for i, secret in enumerate(self._secrets))
        return tuple((i, reason) for i, reason in found if reason is not None)

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """The keys for ``purpose``, 32 bytes each, newest first."""
        keys = self._derived.get(purpose)
        if keys is None:
            keys = self._derived[purpose] = tuple(_derive(secret, purpose) for secret in self._secrets)
        return keys

    def key(self, purpose: str) -> bytes:
        """The newest key for ``purpose``, 32 bytes."""
        return self.keys(purpose)[0]

    def digests(self, purpose: str, *parts: str) -> tuple[str, ...]:
        """HMAC-SHA256 of ``parts`` under each key, newest first, as 64 hex digits.

        For secrets too short to be stored as a plain hash (codes under 112 bits). Parts are
        length-prefixed, so that different lists of parts never give the same message.
        """
        return keyed_digests(self.keys(purpose), *parts)


def keyed_digests(keys: Sequence[bytes], *parts: str) -> tuple[str, ...]:
    """What :meth:`KeyRing.digests` makes, with these keys."""
    message = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in parts))
    return tuple(hmac.digest(key, message, "sha256").hex() for key in keys)


def key_id(secret: bytes | str) -> str:
    """The id of a secret: 8 hex digits of a double hash, which reveal nothing."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return hashlib.sha256(hashlib.sha256(b"asok-auth-core/1/key id/" + raw).digest()).hexdigest()[:8]


def weakness(secret: bytes) -> str | None:
    """Why ``secret`` is easy to guess, or None.

    128 random bits in any alphabet pass; words, placeholders and repetitions do not.
    """
    if len(secret) < KEY_BYTES:
        return f"has {len(secret)} bytes, fewer than {KEY_BYTES}"
    lowered = secret.lower()
    for word in (b"change", b"secret", b"password", b"example", b"placeholder", b"your-", b"insecure"):
        if word in lowered:
            return f"contains {word.decode()!r}, so it looks like a placeholder"
    counts = [secret.count(bytes([value])) for value in set(secret)]
    bits = -sum(count * math.log2(count / len(secret)) for count in counts)
    if bits < 80:
        return "repeats few characters, so it is not random"
    return None


def new_handle(random: Callable[[int], bytes]) -> str:
    """256 bits of ``random`` in base64url, 43 characters; stores keep their `digest`."""
    return b64url_encode(random(32)).decode()


def digest(handle: str) -> str:
    """SHA-256 of a random handle of 128 bits or more: 64 hex digits, safe to store."""
    return hashlib.sha256(handle.encode()).hexdigest()


def _derive(secret: bytes, purpose: str) -> bytes:
    info = b"asok-auth-core/1/" + purpose.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)
