"""Strict base64url: one spelling per value."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.engine.encoding import ALPHABET, b64url_decode, b64url_encode

pytestmark = pytest.mark.requirement("SECURITY-8")


@given(st.binary(max_size=200))
def test_encoding_round_trips_and_matches_the_standard_library(data: bytes) -> None:
    text = b64url_encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert b64url_decode(text) == data


def test_short_texts_decode_only_in_canonical_form() -> None:
    characters = sorted({*ALPHABET, *b"+/= \n\t\x00.,\x7f\x80\xff"})
    texts = [bytes([a]) for a in characters]
    texts += [bytes([a, b]) for a in characters for b in characters]
    texts += [b"AB" + bytes([a]) for a in characters] + [b"ABC" + bytes([a]) for a in characters]
    accepted = 0
    for text in texts:
        try:
            data = b64url_decode(text)
        except ValueError:
            continue
        accepted += 1
        assert b64url_encode(data) == text
    # One byte has 256 spellings; "AB" + x that spells two bytes has 16; four characters take all 64.
    assert accepted == 256 + 16 + 64


@given(st.binary(max_size=60))
def test_bytes_decode_exactly_when_their_encoding_matches(text: bytes) -> None:
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url_encode(data) == text


@pytest.mark.parametrize(
    "text",
    [b"A", b"AAAAA", b"AA=", b"AA==", b"A A=", b"AA\n", b" AA", b"A+", b"A/", b"AB", b"AAB", b"\xff\xfe"],
)
def test_a_second_spelling_is_rejected(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"base64url|base64"):
        b64url_decode(text)
