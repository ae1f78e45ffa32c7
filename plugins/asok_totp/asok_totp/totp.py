"""Time-based one-time passwords (RFC 6238) as pure functions."""

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
"""As long as the hash (RFC 6238, section 5.1); RFC 4226, section 4, R6 requires at least 16."""
NEVER = -1
"""The last accepted step of a secret whose codes were never used."""
MAX_INPUT = 64
"""Characters; longer input is rejected unread."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of codes, apart from the secret."""

    algorithm: str = "SHA1"
    digits: int = 6


def new_secret(raw: bytes) -> str:
    """Encode ``raw`` as authenticator apps expect it: base32 without padding."""
    return base64.b32encode(raw).decode().rstrip("=")


def code_at(secret: str, parameters: Parameters, step: int) -> str:
    """The code of time step ``step``."""
    return str(_generator(secret, parameters).generate_otp(step))


def provisioning_uri(secret: str, parameters: Parameters, *, account: str, issuer: str) -> str:
    """The QR code's content, ``otpauth://totp/…``. It contains the secret.

    Apps split its label at the first colon, so neither ``account`` nor ``issuer`` keeps one.
    """
    named = _generator(secret, parameters)
    return str(named.provisioning_uri(name=_without_colon(account), issuer_name=_without_colon(issuer)))


def _without_colon(text: str) -> str:
    return " ".join(text.replace(":", " ").split())


def read_code(text: str, digits: int) -> str | None:
    """Convert ``text`` to ASCII digits, or None if it is not a code.

    Accepts digits of every script (full-width, Arabic-Indic, …) and ignores spaces and hyphens.
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
    """The time step whose code is ``code``, or None.

    Only steps within ``drift`` of ``at`` (seconds since the epoch) and later than ``after`` count
    (RFC 6238, section 5.2). If two steps have the same code, the later one is returned, so that an
    accepted code is never accepted again. ``code`` comes from :func:`read_code`.
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
