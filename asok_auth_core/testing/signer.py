"""The contract suite of a :class:`~asok_auth_core.contracts.Signer`."""

from __future__ import annotations

import re

import pytest

from ..contracts import Signer
from ..engine.tokens import PRIVATE_MEMBERS

MATERIAL = bytes(range(32))
OTHER = bytes(range(1, 33))
MESSAGES = (b"", b"a", b"eyJhbGciOiJIUzI1NiJ9.e30", bytes(range(256)) * 16)


class SignerContract:
    """Inherit, name the class ``Test…`` and write :meth:`signer`."""

    def signer(self, material: bytes) -> Signer:
        """A signer whose key comes from the 32 bytes of ``material`` only."""
        raise NotImplementedError("Write signer(): return your signer for 32 bytes of key material.")

    def test_it_verifies_its_own_signatures(self) -> None:
        signer = self.signer(MATERIAL)
        for message in MESSAGES:
            assert signer.verify(message, signer.sign(message)) is True

    def test_the_same_material_gives_the_same_key(self) -> None:
        for message in MESSAGES:
            assert self.signer(MATERIAL).verify(message, self.signer(MATERIAL).sign(message)) is True

    def test_different_material_gives_a_different_key(self) -> None:
        ours, theirs = self.signer(MATERIAL), self.signer(OTHER)
        for message in MESSAGES:
            assert theirs.verify(message, ours.sign(message)) is False
            assert ours.verify(message, theirs.sign(message)) is False

    def test_every_byte_of_the_material_counts(self) -> None:
        signature = self.signer(MATERIAL).sign(b"message")
        for position in range(len(MATERIAL)):
            changed = bytearray(MATERIAL)
            changed[position] ^= 0x10
            assert self.signer(bytes(changed)).verify(b"message", signature) is False, f"byte {position}"

    def test_a_truncated_signature_is_rejected(self) -> None:
        signer = self.signer(MATERIAL)
        signature = signer.sign(b"message")
        for length in range(len(signature)):
            assert signer.verify(b"message", signature[:length]) is False, f"{length} bytes"
            assert signer.verify(b"message", signature[length + 1 :]) is False, f"without {length + 1} bytes"

    def test_a_longer_signature_is_rejected(self) -> None:
        signer = self.signer(MATERIAL)
        signature = signer.sign(b"message")
        for extended in (signature + b"\0", b"\0" + signature, signature + b"=", signature * 2):
            assert signer.verify(b"message", extended) is False

    def test_any_changed_bit_is_rejected(self) -> None:
        signer = self.signer(MATERIAL)
        signature = signer.sign(b"message")
        for bit in range(len(signature) * 8):
            changed = bytearray(signature)
            changed[bit // 8] ^= 1 << bit % 8
            assert signer.verify(b"message", bytes(changed)) is False, f"bit {bit}"

    def test_a_signature_is_valid_for_its_message_only(self) -> None:
        signer = self.signer(MATERIAL)
        signature = signer.sign(b"message")
        for other in (b"", b"messag", b"message ", b"Message", b"message\0", b"mess"):
            assert signer.verify(other, signature) is False

    def test_garbage_is_rejected_and_never_raises(self) -> None:
        signer = self.signer(MATERIAL)
        length = len(signer.sign(b"message"))
        for garbage in (b"\0" * length, b"\xff" * length, b"\x30" * length, b"\0" * 100_000):
            assert signer.verify(b"message", garbage) is False

    @pytest.mark.requirement("SECURITY-3")
    def test_the_algorithm_is_a_name_and_never_none(self) -> None:
        algorithm = self.signer(MATERIAL).algorithm
        assert re.fullmatch(r"[A-Za-z0-9_-]{2,32}", algorithm), algorithm
        assert algorithm.lower() != "none"

    def test_the_public_key_holds_no_private_part(self) -> None:
        jwk = self.signer(MATERIAL).public_jwk()
        if jwk is not None:
            secret = PRIVATE_MEMBERS & set(jwk)
            assert not secret, f"public_jwk() reveals {secret}"
            assert jwk.get("kty") in ("OKP", "EC", "RSA"), "a symmetric key has no public half"
            assert jwk != self.signer(OTHER).public_jwk()

    def test_neither_key_nor_signature_is_in_the_repr(self) -> None:
        shown = repr(self.signer(MATERIAL))
        assert MATERIAL.hex() not in shown
        assert repr(MATERIAL) not in shown
