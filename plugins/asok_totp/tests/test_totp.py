"""Codes: the RFCs' vectors, other generators, the window, and what users type."""

from __future__ import annotations

import shutil
import subprocess
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from asok_totp.totp import (
    ALGORITHMS,
    NEVER,
    SECRET_BYTES,
    Parameters,
    accepted_step,
    code_at,
    new_secret,
    provisioning_uri,
    read_code,
)
from hypothesis import given, settings
from hypothesis import strategies as st

KEY = b"12345678901234567890123456789012345678901234567890123456789012345678901234567890"
SECRETS = {name: new_secret(KEY[:size]) for name, size in SECRET_BYTES.items()}
SIX = Parameters()
EIGHT = {name: Parameters(name, 8) for name in ALGORITHMS}

RFC_4226_D = [
    *("755224", "287082", "359152", "969429", "338314"),
    *("254676", "287922", "162583", "399871", "520489"),
]

RFC_6238_B = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]


@pytest.mark.parametrize(("counter", "code"), list(enumerate(RFC_4226_D)))
def test_rfc_4226_appendix_d(counter: int, code: str) -> None:
    assert code_at(SECRETS["SHA1"], SIX, counter) == code


@pytest.mark.parametrize(("at", "sha1", "sha256", "sha512"), RFC_6238_B)
def test_rfc_6238_appendix_b(at: int, sha1: str, sha256: str, sha512: str) -> None:
    for name, code in (("SHA1", sha1), ("SHA256", sha256), ("SHA512", sha512)):
        assert code_at(SECRETS[name], EIGHT[name], at // 30) == code
        assert accepted_step(SECRETS[name], EIGHT[name], code, at=at, after=NEVER, drift=0) == at // 30


@pytest.mark.debian
@pytest.mark.parametrize("digits", [6, 8])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("at", [59, 1111111109, 1790000000, 20000000000])
def test_codes_of_oathtool_are_accepted(algorithm: str, digits: int, at: int) -> None:
    """oathtool (OATH Toolkit) is an independent implementation in Debian."""
    if shutil.which("oathtool") is None:
        pytest.skip("oathtool is missing, so its codes were not compared: apt-get install oathtool")
    secret = SECRETS[algorithm]
    command = ["oathtool", f"--totp={algorithm.lower()}", "-d", str(digits), "-N", f"@{at}", "-b", secret]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    parameters = Parameters(algorithm, digits)
    assert accepted_step(secret, parameters, code, at=at, after=NEVER, drift=0) == at // 30


@pytest.mark.parametrize("digits", [6, 8])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_app_that_reads_our_uri_shows_codes_we_accept(algorithm: str, digits: int) -> None:
    parameters = Parameters(algorithm, digits)
    uri = provisioning_uri(SECRETS[algorithm], parameters, account="ann@example.org", issuer="My shop & co")
    app = pyotp.parse_uri(uri)
    assert isinstance(app, pyotp.TOTP)
    assert (app.name, app.issuer, app.interval) == ("ann@example.org", "My shop & co", 30)
    code = app.at(1_790_000_000)
    assert len(code) == digits
    assert accepted_step(SECRETS[algorithm], parameters, code, at=1_790_000_000, after=NEVER, drift=0)


def test_the_label_has_one_colon() -> None:
    """An app takes what stands before the first one for the issuer."""
    uri = provisioning_uri(SECRETS["SHA1"], Parameters(), account="ann:b@example.org", issuer="Shop: 24:7")
    label = unquote(urlsplit(uri).path)
    assert label == "/Shop 24 7:ann b@example.org"
    assert parse_qs(urlsplit(uri).query)["issuer"] == ["Shop 24 7"]


@given(
    at=st.integers(min_value=0, max_value=2**40),
    drift=st.integers(min_value=0, max_value=3),
    off=st.integers(min_value=-5, max_value=5),
)
@settings(max_examples=100, deadline=None)
def test_only_steps_within_the_drift_pass(at: int, drift: int, off: int) -> None:
    step = at // 30 + off
    if step < 0:
        return
    code = code_at(SECRETS["SHA1"], SIX, step)
    accepted = accepted_step(SECRETS["SHA1"], SIX, code, at=at, after=NEVER, drift=drift)
    window = [code_at(SECRETS["SHA1"], SIX, s) for s in range(max(0, at // 30 - drift), at // 30 + drift + 1)]
    assert (accepted is not None) == (code in window)
    if abs(off) <= drift:
        assert accepted is not None
        assert code_at(SECRETS["SHA1"], SIX, accepted) == code


@pytest.mark.requirement("SECURITY-20")
@pytest.mark.parametrize("drift", [0, 1, 2])
def test_a_step_passes_once_and_older_steps_no_longer(drift: int) -> None:
    """Accepted steps strictly increase, within the window too."""
    at = 1_790_000_000.0
    now = int(at // 30)
    for last in range(now - drift, now + drift + 1):
        for step in range(now - drift, now + drift + 1):
            code = code_at(SECRETS["SHA1"], SIX, step)
            accepted = accepted_step(SECRETS["SHA1"], SIX, code, at=at, after=last, drift=drift)
            assert accepted == (step if step > last else None)


@pytest.mark.requirement("SECURITY-20")
def test_a_code_that_two_steps_of_the_window_share_passes_once() -> None:
    """Two steps of a window share a code in one of half a million windows."""
    drift, secret = 10, SECRETS["SHA1"]
    seen: dict[str, int] = {}
    pair = None
    for step in range(200_000):
        code = code_at(secret, SIX, step)
        if step - seen.get(code, -100) <= 2 * drift:
            pair = seen[code], step, code
            break
        seen[code] = step
    assert pair is not None
    early, late, code = pair
    at = (early + late) // 2 * 30.0
    accepted = accepted_step(secret, SIX, code, at=at, after=NEVER, drift=drift)
    assert accepted == late
    assert accepted_step(secret, SIX, code, at=at, after=accepted, drift=drift) is None


@pytest.mark.parametrize(
    "typed",
    [
        "755224",
        " 755 224 ",
        "755-224",
        "\uff17\uff15\uff15\uff12\uff12\uff14",  # full width
        "٧٥٥٢٢٤",  # Arabic-Indic
        "७५५२२४",  # Devanagari
        "7\uff155\u00a02\u200b2\u30004",
        "755224\r\n",
        "\u202a755224\u202c",  # pasted with direction marks
    ],
)
def test_digits_are_accepted_in_any_common_spelling(typed: str) -> None:
    assert read_code(typed, 6) == "755224"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "75522",
        "7552244",
        "75522x",
        "O55224",
        "+75522",
        "7.5522",
        "755224; DROP TABLE users",
        "²55224",
        "\x00755224",
        "75522" + "4" * 10_000,
        "7" * 6 + " " * 10_000,
        "\uff11" * 5000,
    ],
)
def test_anything_but_a_code_is_rejected(typed: str) -> None:
    assert read_code(typed, 6) is None


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_reading_never_raises_and_returns_ascii_digits(typed: str) -> None:
    code = read_code(typed, 6)
    assert code is None or (len(code) == 6 and code.isascii() and code.isdigit())


@pytest.mark.parametrize(("algorithm", "size"), list(SECRET_BYTES.items()))
def test_a_secret_is_base32_as_long_as_the_hash(algorithm: str, size: int) -> None:
    secret = new_secret(bytes(range(size)))
    assert "=" not in secret
    assert pyotp.TOTP(secret).byte_secret() == bytes(range(size))
