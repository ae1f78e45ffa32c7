"""Signed tokens: round trips, rotation, purposes, and rejected input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from joserfc.jwk import import_key

from asok_auth_core.engine.encoding import ALPHABET, b64url_encode
from asok_auth_core.engine.jws import header_segment, sign_compact
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.signers import HS256, SIGNERS
from asok_auth_core.engine.tokens import CLOCK_SKEW, TokenClaims, TokenCodec
from asok_auth_core.errors import ConfigurationError, TokenError, TokenExpired
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.testing.raises import raises_code

NOW = 1_700_000_000
OLD, NEW = b"an old secret of 32 bytes or more", b"a new secret of 32 bytes or more"


class Note(TokenClaims, frozen=True, kw_only=True):
    sub: str
    text: str | None = None
    tags: tuple[str, ...] = ()


def codec(
    purpose: str = "note",
    *secrets: bytes,
    algorithm: str = "HS256",
    accept: tuple[str, ...] = (),
    clock: FrozenClock | None = None,
) -> TokenCodec[Note]:
    return TokenCodec(
        purpose=purpose,
        claims=Note,
        keys=KeyRing(secrets or (NEW,)),
        clock=clock or FrozenClock(NOW),
        algorithm=algorithm,
        accept=accept,
    )


def genuine(payload: bytes, header: bytes | None = None, purpose: str = "note") -> str:
    """A token with any payload and header, signed with our key."""
    key = KeyRing((NEW,)).key(f"token/{purpose}/HS256")
    first = codec(purpose).sign(Note(iat=NOW, sub="1")).partition(".")[0].encode()
    return sign_compact(header or first, payload, HS256(key))


# -- round trips -----------------------------------------------------------------------------------


@given(
    sub=st.text(max_size=40),
    text=st.none() | st.text(max_size=40),
    tags=st.lists(st.text(max_size=10), max_size=4).map(tuple),
    exp=st.none() | st.integers(NOW + 1, 2**53),
    iat=st.integers(-(2**53), NOW + CLOCK_SKEW),
)
def test_round_trip(sub: str, text: str | None, tags: tuple[str, ...], exp: int | None, iat: int) -> None:
    claims = Note(iat=iat, exp=exp, sub=sub, text=text, tags=tags)
    token = codec().sign(claims)
    assert codec().verify(token) == claims


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_round_trip_with_every_signer(algorithm: str) -> None:
    claims = Note(iat=NOW, exp=NOW + 60, sub="7")
    assert codec(algorithm=algorithm).verify(codec(algorithm=algorithm).sign(claims)) == claims


def test_every_token_of_one_purpose_starts_the_same() -> None:
    """So that a secret scanner knows them, whatever key and algorithm signed them."""
    first = {
        codec("note", secret, algorithm=algorithm).sign(Note(iat=NOW, sub="1"))[:22]
        for secret in (OLD, NEW)
        for algorithm in SIGNERS
    }
    assert len(first) == 1


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_any_changed_character_is_rejected(algorithm: str) -> None:
    """Each position, with neighbors in the alphabet, foreign characters, nothing."""
    reader = codec(algorithm=algorithm)
    token = reader.sign(Note(iat=NOW, sub="1"))
    step = 1 if algorithm == "HS256" else 7
    for at in range(0, len(token), step):
        position = ALPHABET.find(token[at].encode())
        near = [chr(ALPHABET[(position + i) % 64]) for i in (1, 2, 4, 16, 32, 63)]
        for other in [*near, ".", "=", "+", "/", " ", "\n", "\0", "é", "", token[at] * 2]:
            if other != token[at]:
                with pytest.raises(TokenError):
                    reader.verify(token[:at] + other + token[at + 1 :])


@pytest.mark.requirement("SECURITY-8")
@pytest.mark.parametrize("addition", ["=", "==", "\n", " ", ".", "A", "\0", "é", "%3D"])
def test_added_characters_are_rejected(addition: str) -> None:
    token = codec().sign(Note(iat=NOW, sub="1"))
    for changed in (token + addition, addition + token, token.replace(".", addition + ".", 1)):
        with pytest.raises(TokenError):
            codec().verify(changed)


@pytest.mark.requirement("SECURITY-8")
@pytest.mark.parametrize(
    "thing", [None, 1, b"a.b.c", "", ".", "..", "...", "a.b", "a.b.c.d", "\udc80", "{}", "a" * 4097, [], 1.5]
)
def test_anything_but_a_token_is_rejected(thing: object) -> None:
    with raises_code("token_malformed"):
        codec().verify(thing)  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-8")
def test_size_is_limited_for_signing_and_verifying() -> None:
    """PyJWT CVE-2026-48525: oversized tokens."""
    with raises_code("token_malformed", match="4096"):
        codec().verify("a" * 10_000_000)
    with pytest.raises(ValueError, match="4096"):
        codec().sign(Note(iat=NOW, sub="x" * 4096))


# -- purposes, algorithms, keys --------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-6")
def test_a_token_passes_for_its_own_purpose_and_algorithm_only() -> None:
    kinds = [(purpose, algorithm) for purpose in ("api", "magic", "oauth", "api2") for algorithm in SIGNERS]
    codecs = {kind: codec(kind[0], algorithm=kind[1]) for kind in kinds}
    passed, codes = [], set()
    for made in kinds:
        token = codecs[made].sign(Note(iat=NOW, sub="1"))
        for read in kinds:
            try:
                codecs[read].verify(token)
            except TokenError as error:
                codes.add(error.code)
            else:
                passed.append((made, read))
    assert passed == [(kind, kind) for kind in kinds]
    assert codes == {"token_malformed"}


@pytest.mark.requirement("SECURITY-6")
def test_each_purpose_has_its_own_key() -> None:
    token = codec("magic").sign(Note(iat=NOW, sub="1"))
    header = codec("api").sign(Note(iat=NOW, sub="1")).partition(".")[0]
    with raises_code("token_signature"):
        codec("api").verify(header + "." + token.partition(".")[2])


def test_a_changed_algorithm_keeps_existing_tokens_valid() -> None:
    before = codec(algorithm="HS256").sign(Note(iat=NOW, sub="1"))
    after = codec(algorithm="EdDSA", accept=("HS256",))
    assert after.verify(before).sub == "1"
    with raises_code("token_malformed"):
        codec(algorithm="EdDSA").verify(before)


def test_a_missing_or_mislabeled_signer_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="RS256"):
        codec(algorithm="RS256")
    with pytest.raises(ConfigurationError, match="HS256"):
        TokenCodec(
            purpose="p",
            claims=Note,
            keys=KeyRing((NEW,)),
            clock=FrozenClock(NOW),
            algorithm="EdDSA",
            signers={"EdDSA": HS256},
        )


class Rotation(RuleBasedStateMachine):
    """A token verifies exactly as long as its secret is in the ring."""

    @initialize()
    def start(self) -> None:
        self.count = 1
        self.ring = [self._secret()]
        self.tokens: list[tuple[str, bytes]] = []

    def _secret(self) -> bytes:
        return b"%032d" % self.count

    def _codec(self) -> TokenCodec[Note]:
        return codec("note", *self.ring)

    @rule()
    def sign(self) -> None:
        self.tokens.append((self._codec().sign(Note(iat=NOW, sub=str(len(self.tokens)))), self.ring[0]))

    @rule()
    def announce(self) -> None:
        """A new secret verifies before it signs, so that every worker knows it."""
        self.count += 1
        self.ring.append(self._secret())

    @precondition(lambda self: len(self.ring) > 1)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(self.ring[1:]))
        self.ring.remove(chosen)
        self.ring.insert(0, chosen)

    @precondition(lambda self: len(self.ring) > 1)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        self.ring.remove(data.draw(st.sampled_from(self.ring[1:])))

    @invariant()
    def tokens_live_as_long_as_their_key(self) -> None:
        if not hasattr(self, "ring"):
            return
        reader = self._codec()
        for number, (token, secret) in enumerate(self.tokens):
            if secret in self.ring:
                assert reader.verify(token).sub == str(number)
            else:
                with raises_code("token_malformed"):
                    reader.verify(token)


Rotation.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestRotation = Rotation.TestCase


@pytest.mark.requirement("SECURITY-29")
def test_a_key_can_be_retired_while_the_app_runs() -> None:
    reader = codec("note", NEW, OLD)
    token = codec("note", OLD).sign(Note(iat=NOW, sub="1"))
    header = token.partition(".")[0]
    signing, old = reader.kids
    assert reader.verify(token).sub == "1"
    assert reader.trusts(header)
    reader.retire(old)
    assert not reader.trusts(header)
    with raises_code("token_malformed"):
        reader.verify(token)
    for kid in (signing, old, "unknown"):
        with pytest.raises(ValueError, match="retired"):
            reader.retire(kid)


def test_a_thousand_keys() -> None:
    secrets = [b"%032d" % i for i in range(1000)]
    reader = codec("note", *secrets)
    assert reader.verify(codec("note", secrets[-1]).sign(Note(iat=NOW, sub="1"))).sub == "1"
    assert len(set(reader.kids)) == 1000


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-3", "SECURITY-4", "SECURITY-5")
@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "nOnE", "typ": "note+jwt"},
        {"alg": "HS256"},
        {"alg": "HS256", "typ": "note+jwt"},
        {"alg": "HS384", "kid": "KID", "typ": "note+jwt"},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "crit": ["exp"], "exp": 1},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "crit": ["unknown"], "unknown": True},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "b64": False, "crit": ["b64"]},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "jwk": {"kty": "oct", "k": "AAAA"}},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "jku": "https://evil.example/jwks.json"},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "x5u": "https://evil.example/cert.pem"},
        {"typ": "note+jwt", "alg": "HS256", "kid": "KID", "x5c": ["MIIB"]},
        {"typ": "note+jwt", "alg": "HS256", "kid": "../../../../dev/null"},
        {"typ": "note+jwt", "alg": "HS256", "kid": "' UNION SELECT 'key"},
        {"typ": "note+jwt", "alg": "HS256", "kid": "k" * 2000},
        {"typ": "note+jwt", "alg": "HS256", "kid": None},
        {"kid": "KID", "alg": "HS256", "typ": "note+jwt"},
    ],
    ids=lambda header: json.dumps(header)[:60],
)
def test_only_our_own_header_passes_even_with_a_valid_signature(header: dict[str, object]) -> None:
    """Authlib CVE-2025-59420, CVE-2026-27962 and CVE-2026-28802."""
    named = {name: codec().kids[0] if value == "KID" else value for name, value in header.items()}
    token = genuine(b'{"iat":1700000000,"sub":"1"}', b64url_encode(json.dumps(named).encode()))
    with raises_code("token_malformed"):
        codec().verify(token)
    with raises_code("token_malformed"):
        codec().verify(token.rpartition(".")[0] + ".")
    assert codec().verify(genuine(b'{"iat":1700000000,"sub":"1"}')).sub == "1"


def test_tokens_signed_with_a_symmetric_key_have_no_public_keys() -> None:
    assert codec().public_jwks() == []
    assert codec(accept=("EdDSA", "ES256")).public_jwks() == []
    assert [key["alg"] for key in codec(algorithm="ES256", accept=("HS256",)).public_jwks()] == ["ES256"]


class Remote(SIGNERS["ES256"]):  # type: ignore[name-defined,misc]
    """A key management service; ``answer`` is its public key or its error."""

    algorithm = "ES384"
    answer: object = None
    asked = 0

    def public_jwk(self) -> dict[str, str]:
        type(self).asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


PUBLIC = {"kty": "EC", "crv": "P-384", "x": "eA", "y": "eQ"}


@pytest.mark.parametrize(
    "answer", [ConnectionError("kms"), {**PUBLIC, "d": "secret"}, {"kty": "oct", "k": "secret"}, 5]
)
def test_a_public_key_that_cannot_be_published_costs_only_itself(answer: object) -> None:
    """Unless it signs: then new tokens could not be verified."""

    class Signer(Remote):
        pass

    Signer.answer = answer
    for algorithm, other in (("EdDSA", "ES384"), ("ES384", "EdDSA")):
        made = TokenCodec(
            purpose="note",
            claims=Note,
            keys=KeyRing([NEW]),
            clock=FrozenClock(NOW),
            algorithm=algorithm,
            accept=(other,),
            signers={**SIGNERS, "ES384": Signer},
        )
        if algorithm == "EdDSA":
            assert [key["alg"] for key in made.public_jwks()] == ["EdDSA"]
        else:
            with raises_code("signer_unavailable"):
                made.public_jwks()


def test_a_remote_signer_is_asked_for_its_public_key_once() -> None:
    class Signer(Remote):
        answer = PUBLIC

    made = TokenCodec(
        purpose="note",
        claims=Note,
        keys=KeyRing([NEW]),
        clock=FrozenClock(NOW),
        algorithm="ES384",
        signers={"ES384": Signer},
    )
    assert (
        made.public_jwks()
        == made.public_jwks()
        == [{**PUBLIC, "kid": made.kids[0], "use": "sig", "alg": "ES384"}]
    )
    assert Signer.asked == 1


@pytest.mark.requirement("SECURITY-3")
@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_a_public_key_is_never_an_hmac_key(algorithm: str) -> None:
    """PyJWT CVE-2017-11424, CVE-2022-29217; python-jose CVE-2016-7036."""
    reader = codec(algorithm=algorithm, accept=("HS256",))
    jwk = reader.public_jwks()[0]
    key = import_key(jwk)
    public = key.public_key
    forms = [
        jwk["x"].encode(),
        json.dumps(jwk).encode(),
        msgspec.json.encode(jwk),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
    ]
    headers = [codec(algorithm=name).sign(Note(iat=NOW, sub="1")).partition(".")[0] for name in SIGNERS]
    headers.append(header_segment("HS256", jwk["kid"], "note+jwt").decode())
    for form in forms:
        for header in headers:
            with pytest.raises(TokenError):
                reader.verify(
                    sign_compact(header.encode(), b'{"iat":1700000000,"sub":"1"}', HS256(form.ljust(32)))
                )


@pytest.mark.requirement("SECURITY-4")
def test_a_key_id_is_an_opaque_name() -> None:
    key = KeyRing((NEW,)).key("token/note/HS256")
    (kid,) = codec().kids
    assert len(kid) == 12
    for part in (NEW, key):
        assert kid.encode() not in b64url_encode(part)
        assert kid not in part.hex()


# -- claims ----------------------------------------------------------------------------------------

GOOD = {"iat": NOW, "exp": NOW + 60, "sub": "1"}


@pytest.mark.requirement("SECURITY-7")
@pytest.mark.parametrize("value", ["1700000060", 1700000060.5, True, [], {}, "", "NaN", 1e300])
@pytest.mark.parametrize("claim", ["exp", "iat"])
def test_times_must_be_whole_numbers(claim: str, value: object) -> None:
    with raises_code("token_malformed"):
        codec().verify(genuine(json.dumps({**GOOD, claim: value}).encode()))


@pytest.mark.requirement("SECURITY-8")
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"{",
        b'{"iat":1700000000}',
        b'{"sub":"1"}',
        b'{"iat":1700000000,"sub":1}',
        b'{"iat":1700000000,"sub":null}',
        b'{"iat":1700000000,"sub":"1","admin":true}',
        b'{"iat":1700000000,"sub":"1"}x',
        b'{"iat":1700000000,"sub":"\xff"}',
        b'{"iat":NaN,"sub":"1"}',
        b"[" * 3000,
        b'{"iat":1700000000,"sub":"1","sub":"2"}',
        b'{"iat":1700000000,"exp":1,"sub":"1","exp":9999999999}',
        b'{"iat":1700000000,"sub":"1","s\\u0075b":"2"}',
        b'{"iat":9999999999,"iat":1700000000,"sub":"1"}',
    ],
    ids=lambda payload: payload[:50].decode("latin-1"),
)
def test_malformed_claims_are_rejected_even_if_signed(payload: bytes) -> None:
    with raises_code("token_malformed"):
        codec().verify(genuine(payload))


@pytest.mark.parametrize(
    "payload", [b'{ "sub": "1", "iat": 1700000000 }', b'{"sub":"\\u0031","iat":1700000000}']
)
def test_another_json_spelling_of_the_same_claims_passes(payload: bytes) -> None:
    assert codec().verify(genuine(payload)) == Note(iat=NOW, sub="1")


@pytest.mark.requirement("SECURITY-7")
def test_expiry_is_exact_and_absent_means_never() -> None:
    clock = FrozenClock(NOW)
    reader = codec(clock=clock)
    token = reader.sign(Note(iat=NOW, exp=NOW + 60, sub="1"))
    forever = reader.sign(Note(iat=NOW, sub="1"))
    clock.now = NOW + 59.999
    assert reader.verify(token).exp == NOW + 60
    clock.now = NOW + 60
    with pytest.raises(TokenExpired):
        reader.verify(token)
    clock.now = NOW + 10**10
    assert reader.verify(forever).exp is None


@pytest.mark.requirement("SECURITY-7")
def test_a_token_from_the_far_future_is_rejected() -> None:
    clock = FrozenClock(NOW)
    reader = codec(clock=clock)
    token = reader.sign(Note(iat=NOW + CLOCK_SKEW + 1, sub="1"))
    with raises_code("token_malformed", match="future"):
        reader.verify(token)
    clock.advance(1)
    assert reader.verify(token).sub == "1"


@pytest.mark.requirement("SECURITY-30")
def test_errors_and_repr_hold_no_token_or_key() -> None:
    token = codec().sign(Note(iat=NOW, sub="a canary", exp=NOW))
    texts = [repr(codec())]
    for changed in (token, token[:-2] + "AA", token[5:], token + "="):
        with pytest.raises(TokenError) as caught:
            codec().verify(changed)
        assert caught.value.__cause__ is None
        texts.append(str(caught.value))
    for part in (*token.split("."), "canary", NEW.decode()):
        assert not any(part in text for text in texts)


def test_the_engine_imports_no_framework_and_no_plugins() -> None:
    code = (
        "import sys, importlib, pkgutil, asok_auth_core.engine as engine\n"
        "for module in pkgutil.walk_packages(engine.__path__, 'asok_auth_core.engine.'):\n"
        "    importlib.import_module(module.name)\n"
        "print([name for name in ('asok', 'pluggy', 'requests', 'jinja2', 'sqlite3') if name in sys.modules])"
    )
    # Measuring coverage would import sqlite3 there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
