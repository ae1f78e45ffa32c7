"""Sealing secrets that must be read back: AES-256-GCM, bound, rotated."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.sealing import MAX_SEALED, NONCE_BYTES, SEALING_BYTES, Sealer
from asok_auth_core.errors import SealError
from asok_auth_core.testing.raises import raises_code

OLD, NEW = b"o" * 32, b"n" * 32
NONCE = bytes(range(NONCE_BYTES))


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(KeyRing([NEW, OLD]), "totp")


@given(secret=st.binary(max_size=200), nonce=st.binary(min_size=12, max_size=12), who=st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_a_sealed_secret_opens_and_is_not_readable(secret: bytes, nonce: bytes, who: str) -> None:
    sealer = Sealer(KeyRing([NEW]), "totp")
    sealed = sealer.seal(secret, nonce, who, "totp")
    assert sealer.open(sealed, who, "totp") == secret
    if len(secret) > 4:
        assert secret.hex() not in sealed
        assert secret not in sealed.encode()


def test_it_is_aes_256_gcm_with_the_associated_data_length_prefixed(sealer: Sealer) -> None:
    """Another implementation can open it with the documented parameters."""
    import base64

    sealed = sealer.seal(b"secret", NONCE, "7", "totp")
    version, _, nonce, ciphertext = sealed.split(".")
    key = KeyRing([NEW]).key("totp")
    bound = b"\0\0\0\4totp\0\0\0\x017\0\0\0\4totp"
    raw = base64.urlsafe_b64decode(ciphertext + "=" * (-len(ciphertext) % 4))
    assert version == "1"
    assert len(key) == 32
    assert base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4)) == NONCE
    assert AESGCM(key).decrypt(NONCE, raw, bound) == b"secret"


@pytest.mark.parametrize("bound", [("8", "totp"), ("7", "mail"), ("7",), ("7t", "otp"), ("totp", "7"), ()])
def test_a_secret_moved_to_another_user_or_kind_does_not_open(sealer: Sealer, bound: tuple[str, ...]) -> None:
    sealed = sealer.seal(b"secret", NONCE, "7", "totp")
    with raises_code("seal_broken"):
        sealer.open(sealed, *bound)


@pytest.mark.requirement("SECURITY-6")
def test_another_purpose_does_not_open_it() -> None:
    """Keys of two purposes are independent."""
    ring = KeyRing([NEW])
    sealed = Sealer(ring, "totp").seal(b"secret", NONCE, "7")
    with raises_code("seal_key_retired"):
        Sealer(ring, "mail").open(sealed, "7")


def test_every_changed_character_is_detected(sealer: Sealer) -> None:
    sealed = sealer.seal(b"JBSWY3DPEHPK3PXP", NONCE, "7")
    for position, character in enumerate(sealed):
        for other in "A" if character != "A" else "B", "-", ".":
            changed = sealed[:position] + other + sealed[position + 1 :]
            if changed == sealed:
                continue
            with pytest.raises(SealError):
                sealer.open(changed, "7")


@pytest.mark.parametrize(
    "text",
    ["", ".", "1", "1...", "1.x", "2.a.b.c", "1.a.b.c.d", "\x00" * 9, "é" * 20, "1." + "A" * MAX_SEALED],
)
def test_text_that_was_not_sealed_is_rejected(sealer: Sealer, text: str) -> None:
    with pytest.raises(SealError):
        sealer.open(text, "7")


@pytest.mark.requirement("SECURITY-8")
def test_another_spelling_is_rejected(sealer: Sealer) -> None:
    """Strict base64url, unused bits zero, no padding."""
    sealed = sealer.seal(b"1234", NONCE, "7")  # 20 bytes with the tag: the last character has unused bits
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = sealed[:-1] + alphabet[alphabet.index(sealed[-1]) + 1]
    for spelling in (twin, sealed + "=", sealed + "\n", sealed + " "):
        with raises_code("seal_broken"):
            sealer.open(spelling, "7")


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_nonce_of_another_length_does_not_open(sealer: Sealer, size: int) -> None:
    """Not even a nonce of another length that was sealed with the right key."""
    import base64

    nonce = bytes(size)
    version, key_id, _, ciphertext = sealer.seal(b"secret", NONCE, "7").split(".")
    if size:  # AES-GCM itself takes nonces of other lengths, from eight bytes on
        raw = AESGCM(KeyRing([NEW]).key("totp")).encrypt(nonce, b"secret", b"\0\0\0\4totp\0\0\0\x017")
        ciphertext = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    written = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
    with raises_code("seal_broken"):
        sealer.open(f"{version}.{key_id}.{written}.{ciphertext}", "7")


@pytest.mark.requirement("SECURITY-29")
def test_rotation_opens_old_seals_new_and_names_a_retired_key() -> None:
    """Old keys open until retired; the newest seals; a retired key is named."""
    before = Sealer(KeyRing([OLD]), "totp")
    during = Sealer(KeyRing([NEW, OLD]), "totp")
    after = Sealer(KeyRing([NEW]), "totp")
    old = before.seal(b"secret", NONCE, "7")

    assert during.open(old, "7") == b"secret"
    assert not during.is_current(old)
    again = during.seal(during.open(old, "7"), NONCE, "7")
    assert during.is_current(again)
    assert after.open(again, "7") == b"secret"
    with raises_code("seal_key_retired", match="SECRET_KEY_FALLBACKS"):
        after.open(old, "7")


def test_an_error_holds_no_secret(sealer: Sealer) -> None:
    sealed = sealer.seal(b"CANARY-SECRET", NONCE, "7")
    with raises_code("seal_broken") as caught:
        sealer.open(sealed, "8")
    assert "CANARY" not in str(caught.value)
    assert sealed.split(".")[3] not in str(caught.value)


@pytest.mark.parametrize("size", [0, 8, 11, 13, 16])
def test_a_nonce_of_another_length_is_a_programming_error(sealer: Sealer, size: int) -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        sealer.seal(b"secret", b"n" * size, "7")


# -- in bytes --------------------------------------------------------------------------------------


@given(secret=st.binary(max_size=200), nonce=st.binary(min_size=12, max_size=12), who=st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_sealed_bytes_open_and_have_a_fixed_overhead(secret: bytes, nonce: bytes, who: str) -> None:
    sealer = Sealer(KeyRing([NEW]), "state")
    sealed = sealer.seal_bytes(secret, nonce, who)
    assert sealer.open_bytes(sealed, who) == secret
    assert len(sealed) == len(secret) + SEALING_BYTES
    text = sealer.seal(secret, nonce, who).split(".")
    assert (sealed[:1].decode(), sealed[1:7].hex()) == (text[0], text[1]), "the same format and key id"
    assert sealed[7:19] == nonce


def test_every_changed_byte_is_detected(sealer: Sealer) -> None:
    sealed = sealer.seal_bytes(b"secret", NONCE, "7")
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(SealError):
                sealer.open_bytes(bytes(changed), "7")
    for other in (b"", sealed[:-1], sealed + b"\0", sealed[1:], b"1" * 34):
        with raises_code("seal_broken") if len(other) < SEALING_BYTES else pytest.raises(SealError):
            sealer.open_bytes(other, "7")


@pytest.mark.requirement("SECURITY-6")
def test_sealed_bytes_open_with_no_other_key_purpose_or_owner(sealer: Sealer) -> None:
    sealed = sealer.seal_bytes(b"secret", NONCE, "7")
    with raises_code("seal_broken"):
        sealer.open_bytes(sealed, "8")
    with raises_code("seal_key_retired"):
        Sealer(KeyRing([NEW]), "mail").open_bytes(sealed, "7")
    with raises_code("seal_key_retired"):
        Sealer(KeyRing([OLD]), "totp").open_bytes(sealed, "7")
    old = Sealer(KeyRing([OLD]), "totp").seal_bytes(b"secret", NONCE, "7")
    assert sealer.open_bytes(old, "7") == b"secret"


@pytest.mark.parametrize("size", [0, 11, 13])
def test_bytes_need_a_nonce_of_12_bytes_too(sealer: Sealer, size: int) -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        sealer.seal_bytes(b"secret", b"n" * size, "7")
