"""The signer contract: a sound signer passes, each seeded fault fails."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from asok_auth_core.contracts import Signer
from asok_auth_core.testing import SignerContract


class Sound(Signer):
    algorithm = "HS256"

    def __init__(self, material: bytes) -> None:
        self.material = material

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self.material, message, "sha256")

    def verify(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(message), signature)


class AcceptsTruncated(Sound):
    def verify(self, message: bytes, signature: bytes) -> bool:
        return bool(signature) and self.sign(message).startswith(signature)


class AcceptsTrailing(Sound):
    def verify(self, message: bytes, signature: bytes) -> bool:
        return signature.startswith(self.sign(message))


class IgnoresOneBit(Sound):
    def verify(self, message: bytes, signature: bytes) -> bool:
        return len(signature) == 32 and signature[:31] == self.sign(message)[:31]


class OneKeyForAll(Sound):
    def __init__(self, material: bytes) -> None:
        super().__init__(b"k" * 32)


class ShortKey(Sound):
    def __init__(self, material: bytes) -> None:
        super().__init__(material[:16])


class SignsItsStart(Sound):
    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self.material, message[:4], "sha256")


class IgnoresCase(Sound):
    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self.material, message.lower(), "sha256")


class NoKey(Sound):
    def sign(self, message: bytes) -> bytes:
        return hashlib.sha256(message).digest()


class AcceptsAll(Sound):
    def verify(self, message: bytes, signature: bytes) -> bool:
        return True


class CalledNone(Sound):
    algorithm = "none"


class Raises(Sound):
    def verify(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != 32:
            raise ValueError("length")
        return super().verify(message, signature)


class PublishesItsKey(Sound):
    def public_jwk(self) -> dict[str, str]:
        return {"kty": "oct", "k": self.material.hex()}


def faults(signer: type[Sound]) -> list[str]:
    class Suite(SignerContract):
        def signer(self, material: bytes) -> Signer:
            return signer(material)

    found = []
    for name in sorted(name for name in dir(Suite) if name.startswith("test_")):
        try:
            getattr(Suite(), name)()
        except (AssertionError, ValueError):
            found.append(name)
    return found


def test_a_sound_signer_passes() -> None:
    assert faults(Sound) == []


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (AcceptsTruncated, "test_a_truncated_signature_is_rejected"),
        (AcceptsTrailing, "test_a_longer_signature_is_rejected"),
        (IgnoresOneBit, "test_any_changed_bit_is_rejected"),
        (OneKeyForAll, "test_different_material_gives_a_different_key"),
        (ShortKey, "test_every_byte_of_the_material_counts"),
        (SignsItsStart, "test_a_signature_is_valid_for_its_message_only"),
        (IgnoresCase, "test_a_signature_is_valid_for_its_message_only"),
        (NoKey, "test_different_material_gives_a_different_key"),
        (AcceptsAll, "test_garbage_is_rejected_and_never_raises"),
        (CalledNone, "test_the_algorithm_is_a_name_and_never_none"),
        (Raises, "test_garbage_is_rejected_and_never_raises"),
        (PublishesItsKey, "test_the_public_key_holds_no_private_part"),
    ],
)
def test_each_fault_fails_the_suite(mutant: type[Sound], test: str) -> None:
    assert test in faults(mutant)
