"""8: strict base64url, one spelling per value."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.engine.encoding import ALPHABET, b64url_decode, b64url_encode


@given(st.binary(max_size=200))
def test_round_trip_and_the_spelling_of_the_standard_library(data: bytes) -> None:
    text = b64url_encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert b64url_decode(text) == data


def test_every_short_text_decodes_only_if_encoding_gives_it_back() -> None:
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
def test_bytes_that_decode_are_those_that_encode(text: bytes) -> None:
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url_encode(data) == text


@pytest.mark.parametrize(
    "text",
    [b"A", b"AAAAA", b"AA=", b"AA==", b"A A=", b"AA\n", b" AA", b"A+", b"A/", b"AB", b"AAB", b"\xff\xfe"],
)
def test_no_second_spelling(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"base64url|base64"):
        b64url_decode(text)
