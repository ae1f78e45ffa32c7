"""Differential tests of tokens against PyJWT and joserfc, with mutations."""

from __future__ import annotations

import json
import os
import random

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OctKey, import_key

from asok_auth_core.engine.encoding import b64url_decode
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.signers import SIGNERS
from asok_auth_core.engine.tokens import TokenClaims, TokenCodec
from asok_auth_core.errors import TokenError
from asok_auth_core.testing.fakes import FrozenClock

NOW = 1_700_000_000
SECRET = b"a secret of at least thirty-two bytes"
RING = KeyRing((SECRET,))
KEY = RING.key("token/peer/HS256")


class Peer(TokenClaims, frozen=True, kw_only=True):
    sub: str
    scope: str | None = None


def codec(algorithm: str = "HS256") -> TokenCodec[Peer]:
    return TokenCodec(purpose="peer", claims=Peer, keys=RING, clock=FrozenClock(NOW), algorithm=algorithm)


def header_of(token: str) -> dict[str, str]:
    return json.loads(b64url_decode(token.partition(".")[0].encode()))


claims = st.builds(
    Peer,
    iat=st.integers(0, NOW),
    exp=st.none() | st.integers(NOW + 1, 2**40),
    sub=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    scope=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@given(said=claims)
@settings(max_examples=60, deadline=None)
def test_other_libraries_verify_our_tokens(said: Peer) -> None:
    token = codec().sign(said)
    expected = json.loads(b64url_decode(token.split(".")[1].encode()))
    options = {"verify_exp": False, "verify_sub": False}
    assert jwt.decode(token, KEY, algorithms=["HS256"], options=options) == expected
    assert json.loads(jws.deserialize_compact(token, OctKey.import_key(KEY)).payload) == expected
    assert expected["sub"] == said.sub


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_other_libraries_verify_our_tokens_with_the_published_jwks(algorithm: str) -> None:
    token = codec(algorithm).sign(Peer(iat=NOW, sub="7"))
    (document,) = codec(algorithm).public_jwks()
    assert document["kid"] == header_of(token)["kid"]
    found = jwt.PyJWKSet.from_dict({"keys": [document]})[document["kid"]]
    assert jwt.decode(token, found, algorithms=[algorithm], options={"verify_iat": False})["sub"] == "7"
    read = jws.deserialize_compact(token, import_key(document), algorithms=[algorithm])
    assert json.loads(read.payload)["sub"] == "7"
    assert "d" not in document


@given(said=claims, order=st.permutations(["typ", "alg", "kid"]))
@settings(max_examples=60, deadline=None)
def test_tokens_of_other_libraries_pass_only_with_our_exact_header(said: Peer, order: list[str]) -> None:
    ours = codec().sign(said)
    header = header_of(ours)
    payload = b64url_decode(ours.split(".")[1].encode())
    theirs = [
        jws.serialize_compact({name: header[name] for name in order}, payload, OctKey.import_key(KEY)),
        jwt.encode(
            json.loads(payload), KEY, algorithm="HS256", headers={"kid": header["kid"], "typ": header["typ"]}
        ),
    ]
    for token in theirs:
        if token.partition(".")[0] == ours.partition(".")[0]:
            assert codec().verify(token) == said
        else:
            with pytest.raises(TokenError):
                codec().verify(token)


def test_joserfc_can_write_our_exact_header() -> None:
    """So the test above has both branches."""
    ours = codec().sign(Peer(iat=NOW, sub="7"))
    token = jws.serialize_compact(header_of(ours), b'{"iat":1700000000,"sub":"7"}', OctKey.import_key(KEY))
    assert token.partition(".")[0] == ours.partition(".")[0]
    assert codec().verify(token).sub == "7"


def mutate(token: str, source: random.Random) -> str:
    kind = source.randrange(9)
    at = source.randrange(len(token))
    if kind == 0:
        return token[:at] + chr(source.randrange(128)) + token[at + 1 :]
    if kind == 1:
        return token[:at] + token[at + 1 :]
    if kind == 2:
        return token[:at] + chr(source.randrange(0x2FF)) + token[at:]
    if kind == 3:
        end = source.randrange(at, len(token))
        return token[:at] + token[end:]
    if kind == 4:
        parts = token.split(".")
        source.shuffle(parts)
        return ".".join(parts)
    if kind == 5:
        other = source.randrange(len(token))
        swapped = list(token)
        swapped[at], swapped[other] = swapped[other], swapped[at]
        return "".join(swapped)
    if kind == 6:
        raw = bytearray(token.encode())
        raw[at] ^= 1 << source.randrange(7)
        return raw.decode("latin-1")
    if kind == 7:
        return token[:at] + source.choice(["=", "==", "\n", " ", ".", "%00", "\ud800"]) + token[at:]
    return token[:at] + token[at:].swapcase()


def survivors(count: int) -> tuple[int, int]:
    """How many of ``count`` mutants differed, and how many were accepted."""
    source = random.Random(7)
    readers = [codec(name) for name in SIGNERS]
    tokens = [(reader, reader.sign(Peer(iat=NOW, sub="7", scope="a.*"))) for reader in readers]
    tried = accepted = 0
    for number in range(count):
        # Mostly HS256: its verification is thirty times faster.
        reader, token = tokens[0 if number % 16 else number // 16 % 3]
        mutant = mutate(token, source)
        if mutant == token:
            continue
        tried += 1
        try:
            reader.verify(mutant)
        except TokenError:
            continue
        accepted += 1
    return tried, accepted


@pytest.mark.requirement("SECURITY-8")
def test_mutated_tokens_are_rejected() -> None:
    tried, accepted = survivors(20_000)
    assert tried > 18_000
    assert accepted == 0


@pytest.mark.requirement("SECURITY-8")
@pytest.mark.slow
def test_a_million_mutated_tokens_are_rejected() -> None:
    """MUTANTS scales it."""
    count = int(os.environ.get("MUTANTS", "1000000"))
    tried, accepted = survivors(count)
    assert tried > count * 0.9
    assert accepted == 0
