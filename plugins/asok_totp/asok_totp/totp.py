"""Time-based one-time passwords (RFC 6238), pure: the time and the last accepted step are passed in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata
from dataclasses import dataclass

import pyotp

PERIOD = 30
"""Seconds in a time step (RFC 6238, section 5.2)."""
ALGORITHMS = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "SHA512": hashlib.sha512}
SECRET_BYTES = {"SHA1": 20, "SHA256": 32, "SHA512": 64}
"""As long as the hash (RFC 6238, section 5.1; RFC 4226, section 4, R6 asks for at least 16)."""
NEVER = -1
"""The last accepted step of a secret that has accepted none."""
MAX_INPUT = 64
"""Characters that are looked at; longer input is no code."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an authenticator app must know beside the secret."""

    algorithm: str = "SHA1"
    digits: int = 6


def new_secret(raw: bytes) -> str:
    """``raw`` as authenticator apps take it: base32 without padding."""
    return base64.b32encode(raw).decode().rstrip("=")


def code_at(secret: str, parameters: Parameters, step: int) -> str:
    """The code of time step ``step``."""
    return str(_generator(secret, parameters).generate_otp(step))


def provisioning_uri(secret: str, parameters: Parameters, *, account: str, issuer: str) -> str:
    """``otpauth://totp/…``, what the QR code holds. It contains the secret."""
    return str(_generator(secret, parameters).provisioning_uri(name=account, issuer_name=issuer))


def read_code(text: str, digits: int) -> str | None:
    """``text`` as ASCII digits, or None if it is no code of ``digits`` digits.

    Digits of every script (full-width, Arabic-Indic …) count; spaces and hyphens are passed over.
    """
    if len(text) > MAX_INPUT:
        return None
    read = []
    for character in text:
        digit = unicodedata.decimal(character, None)
        if digit is not None:
            read.append(str(digit))
        elif not (character.isspace() or unicodedata.category(character) in ("Pd", "Cf")):
            return None
    return "".join(read) if len(read) == digits else None


def accepted_step(
    secret: str, parameters: Parameters, code: str, *, at: float, after: int, drift: int
) -> int | None:
    """The time step that ``code`` proves, or None.

    Only steps within ``drift`` of ``at`` (seconds since the epoch) and strictly later than ``after``
    count (RFC 6238, section 5.2). Should two steps of the window have the same code, the later one
    is taken, so that what was accepted never passes again. ``code`` is as :func:`read_code` gives it.
    """
    now = int(at // PERIOD)
    found = None
    for step in range(now - drift, now + drift + 1):
        if step < 0:
            continue
        same = hmac.compare_digest(code_at(secret, parameters, step), code)
        if same and step > after:
            found = step
    return found


def _generator(secret: str, parameters: Parameters) -> pyotp.TOTP:
    return pyotp.TOTP(
        secret, digits=parameters.digits, digest=ALGORITHMS[parameters.algorithm], interval=PERIOD
    )
