"""Compact JWS with a table of headers: what others' vectors say of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from asok_auth_core.engine.encoding import b64url_decode, b64url_encode
from asok_auth_core.engine.jws import header_segment, sign_compact, verify_compact
from asok_auth_core.engine.signer import Signer
from asok_auth_core.engine.signers import HS256, verify_p256
from asok_auth_core.errors import SignerUnavailable, TokenError
from asok_auth_core.testing.raises import raises_code

RFC_7515_A5_UNSECURED = (
    "eyJhbGciOiJub25lIn0"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    "."
)


VECTORS = Path(__file__).with_name("vectors")

MISTAKEN = {
    367: "the same text as 357, which is valid; the padding it speaks of is not there",
    370: "the same text as 357, which is valid; the padding it speaks of is not there",
    372: "a question mark in the header, which RFC 7515 section 2 does not allow",
    373: "a question mark in the payload, which RFC 7515 section 2 does not allow",
}
"""Verdicts of the vectors that we do not share."""


class PublicP256(Signer):
    """Verifies with the public key of a vector."""

    algorithm = "ES256"

    def __init__(self, x: bytes, y: bytes) -> None:
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
        )
        self._key = numbers.public_key()

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verify_p256(self._key, message, signature)


@pytest.mark.requirement("SECURITY-3")
def test_rfc_7515_a5_unsecured_is_rejected() -> None:
    """Authlib CVE-2026-28802: none with an empty signature."""
    header = RFC_7515_A5_UNSECURED.partition(".")[0].encode()
    with raises_code("token_malformed"):
        verify_compact(RFC_7515_A5_UNSECURED, {}, 4096)
    with raises_code("token_signature"):
        verify_compact(RFC_7515_A5_UNSECURED, {header: HS256(bytes(32))}, 4096)


@pytest.mark.requirement("SECURITY-8")
@pytest.mark.parametrize("payload", [b"e30=", b"e31", b"e", b"e3+A", b"e3 0"], ids=bytes.decode)
def test_a_signed_payload_in_another_spelling_is_rejected(payload: bytes) -> None:
    signer = HS256(bytes(32))
    header = b64url_encode(b'{"alg":"HS256"}')
    message = header + b"." + payload
    token = (message + b"." + b64url_encode(signer.sign(message))).decode()
    with raises_code("token_malformed", match="payload"):
        verify_compact(token, {header: signer}, 4096)


@pytest.mark.requirement("SECURITY-3")
def test_wycheproof_json_web_signature() -> None:
    """All 401, four of them mistaken.

    For a signing key of HS256 or ES256 the table holds the headers that its valid tokens have.

    Exceptions: RSA and P-521 are not among the signers here, so their tokens are rejected, the valid ones
    too; so are keys that are not for signing.
    """
    seen: Counter[str] = Counter()
    wrong = []
    for group in json.loads((VECTORS / "json_web_signature.json").read_text("ascii")):
        key = group["key"]
        signer: Signer | None = None
        if key.get("alg") == "HS256" and key["kty"] == "oct":
            signer = HS256(b64url_decode(key["k"].encode()))
        elif key.get("alg") == "ES256" and key.get("use") == "sig":
            signer = PublicP256(b64url_decode(key["x"].encode()), b64url_decode(key["y"].encode()))
        headers = {
            case["jws"].partition(".")[0].encode()
            for case in group["tests"]
            if case["valid"] and isinstance(case["jws"], str)
        }
        table = dict.fromkeys(headers, signer) if signer else {}
        for case in group["tests"]:
            token = case["jws"] if isinstance(case["jws"], str) else json.dumps(case["jws"])
            try:
                verify_compact(token, table, 100_000)
                accepted = True
            except TokenError:
                accepted = False
            expected = case["valid"] and signer is not None
            seen["accepted" if accepted else "rejected" if signer else "rejected: no such signer"] += 1
            if accepted is not (expected ^ (case["id"] in MISTAKEN)):
                wrong.append((case["id"], accepted))
    assert not wrong
    assert seen == {"accepted": 12, "rejected": 67, "rejected: no such signer": 322}


class Down(Signer):
    """The signer of a key management service that does not answer."""

    algorithm = "ES384"

    def sign(self, message: bytes) -> bytes:
        raise ConnectionError("kms.app.example: secret-label")

    def verify(self, message: bytes, signature: bytes) -> bool:
        raise ConnectionError("kms.app.example: secret-label")


@pytest.mark.requirement("SECURITY-32")
def test_a_signer_that_fails_accepts_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    header = header_segment("ES384", "k", "test+jwt")
    with pytest.raises(SignerUnavailable):
        sign_compact(header, b"{}", Down())
    token = f"{header.decode()}.e30.c2ln"
    with pytest.raises(SignerUnavailable) as caught:
        verify_compact(token, {header: Down()}, 1000)
    assert "secret-label" not in caught.value.message + caplog.text
    assert "ES384 raised ConnectionError" in caplog.text
