"""Encrypt secrets that must be read back: AES-256-GCM (NIST SP 800-38D).

A sealed text is ``1.<key id>.<nonce>.<ciphertext and tag>``, the last two in base64url without
padding; a sealed value is the same in bytes: the format's byte, 6 bytes of key id, nonce, ciphertext and
tag. The associated data (the secret's owner and kind) is not stored: the caller passes it again to open
the secret, so a row copied to another user does not open.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import SealError
from .encoding import b64url_decode, b64url_encode
from .keys import KeyRing

NONCE_BYTES = 12
"""The length of the random nonce that ``Sealer.seal`` takes."""
TAG_BYTES = 16
FORMAT = "1"
KEY_ID_BYTES = 6
SEALING_BYTES = 1 + KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES
"""How much longer a value is when it is sealed as bytes."""

MAX_SEALED = 8_192
"""Characters; longer texts are rejected before anything is decoded."""


class Sealer:
    """Seals and opens secrets for one ``purpose`` with the keys of ``ring``.

    Seals with the newest key; opens what any key of the ring sealed.
    """

    def __init__(self, ring: KeyRing, purpose: str) -> None:
        self._purpose = purpose
        self._keys = {_key_id(key): AESGCM(key) for key in ring.keys(purpose)}
        self._newest = next(iter(self._keys))

    def seal(self, secret: bytes, nonce: bytes, *associated: str) -> str:
        """Encrypt ``secret`` and bind it to ``associated``.

        ``nonce`` is 12 bytes from a cryptographic source, never used twice (SP 800-38D, section
        8.2.2). Raises ValueError if it has another length.
        """
        written = (b64url_encode(raw).decode() for raw in (nonce, self._encrypt(secret, nonce, associated)))
        return ".".join((FORMAT, self._newest, *written))

    def seal_bytes(self, secret: bytes, nonce: bytes, *associated: str) -> bytes:
        """:meth:`seal` as bytes: ``SEALING_BYTES`` longer than ``secret``."""
        ciphertext = self._encrypt(secret, nonce, associated)
        return b"".join((FORMAT.encode(), bytes.fromhex(self._newest), nonce, ciphertext))

    def open(self, sealed: str, *associated: str) -> bytes:
        """The secret in ``sealed``.

        Raises SealError: ``seal_key_retired`` if its key is no longer in the ring, ``seal_broken`` if
        it was changed, is bound to something else, or is not a sealed text.
        """
        parts = sealed.split(".") if len(sealed) <= MAX_SEALED else []
        if len(parts) != 4 or parts[0] != FORMAT:
            raise SealError(f"This is not a sealed text of {self._purpose!r}.", code="seal_broken")
        key = self._key(parts[1])
        try:
            nonce, ciphertext = (b64url_decode(part.encode()) for part in parts[2:])
        except ValueError:
            raise self._broken() from None
        return self._decrypt(key, nonce, ciphertext, associated)

    def open_bytes(self, sealed: bytes, *associated: str) -> bytes:
        """The secret in ``sealed``, from :meth:`seal_bytes`. Raises SealError."""
        if len(sealed) < SEALING_BYTES or sealed[:1] != FORMAT.encode():
            raise SealError(f"This is not a sealed value of {self._purpose!r}.", code="seal_broken")
        key_id, nonce, ciphertext = (
            sealed[1 : 1 + KEY_ID_BYTES],
            sealed[1 + KEY_ID_BYTES : 1 + KEY_ID_BYTES + NONCE_BYTES],
            sealed[1 + KEY_ID_BYTES + NONCE_BYTES :],
        )
        return self._decrypt(self._key(key_id.hex()), nonce, ciphertext, associated)

    def is_current(self, sealed: str) -> bool:
        """True if sealed with the newest key; otherwise open it and seal it again."""
        return sealed.split(".", 2)[:2] == [FORMAT, self._newest]

    def has_key(self, sealed: str) -> bool:
        """True if ``sealed`` was sealed with a key of the ring; does not open it."""
        parts = sealed.split(".", 2)
        return len(parts) == 3 and parts[0] == FORMAT and parts[1] in self._keys

    def _key(self, key_id: str) -> AESGCM:
        key = self._keys.get(key_id)
        if key is None:
            raise SealError(
                f"A secret of {self._purpose!r} was sealed with key {key_id[:12]!r}, which is no longer "
                "in the key ring. Add the old SECRET_KEY to SECRET_KEY_FALLBACKS.",
                code="seal_key_retired",
            )
        return key

    def _encrypt(self, secret: bytes, nonce: bytes, associated: tuple[str, ...]) -> bytes:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"A nonce has {NONCE_BYTES} bytes, got {len(nonce)}.")
        return self._keys[self._newest].encrypt(nonce, secret, self._bound(associated))

    def _decrypt(self, key: AESGCM, nonce: bytes, ciphertext: bytes, associated: tuple[str, ...]) -> bytes:
        if len(nonce) != NONCE_BYTES:
            raise self._broken()
        try:
            return key.decrypt(nonce, ciphertext, self._bound(associated))
        except (InvalidTag, ValueError):
            raise self._broken() from None

    def _broken(self) -> SealError:
        return SealError(
            f"A secret of {self._purpose!r} does not open: it was changed, or belongs to another user.",
            code="seal_broken",
        )

    def _bound(self, associated: tuple[str, ...]) -> bytes:
        raws = [part.encode() for part in (self._purpose, *associated)]
        return b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"asok-auth-core/1/key-id/" + key).hexdigest()[:12]
