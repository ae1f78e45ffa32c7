"""JWS compact serialization (RFC 7515), only for headers that we wrote.

An incoming header is never parsed: its segment is looked up, byte for byte, in a table of the
segments of our keys. So a foreign ``alg``, ``jwk``, ``jku``, ``x5u``, ``crit`` or ``b64`` is
rejected before any cryptography.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from ..errors import SignerUnavailable, TokenError
from .encoding import b64url_decode, b64url_encode
from .signer import Signer

logger = logging.getLogger("asok_auth")


def header_segment(algorithm: str, kid: str, typ: str) -> bytes:
    """The first segment of a token.

    ``typ`` comes first, so that all tokens of a kind start with the same characters, which a secret
    scanner can recognize.
    """
    return b64url_encode(msgspec.json.encode({"typ": typ, "alg": algorithm, "kid": kid}))


def sign_compact(header: bytes, payload: bytes, signer: Signer) -> str:
    """The token: header, payload and signature.

    Raises SignerUnavailable if the signer fails.
    """
    message = header + b"." + b64url_encode(payload)
    try:
        signature = signer.sign(message)
    except Exception as error:
        raise _failed(signer, error) from error
    if type(signature) is not bytes:
        raise _failed(signer, TypeError(f"sign() returned {type(signature).__name__}, not bytes"))
    return (message + b"." + b64url_encode(signature)).decode()


def verify_compact(token: str, table: Mapping[bytes, Signer], max_bytes: int) -> bytes:
    """The payload of ``token``, if ``table`` has its header and its key signed it.

    The bytes returned are the bytes that were verified. Raises TokenError:
    ``token_malformed`` or ``token_signature``; SignerUnavailable if the signer fails.
    """
    if type(token) is not str or len(token) > max_bytes:
        _malformed(f"A token is text of at most {max_bytes} characters.")
    try:
        message, _dot, signature = token.encode("ascii").rpartition(b".")
    except UnicodeEncodeError:
        _malformed("The token contains non-ASCII characters.")
    header, _, payload = message.partition(b".")
    signer = table.get(header)
    if signer is None:
        _malformed("The token's header does not belong to a trusted key.")
    try:
        verdict = signer.verify_encoded(message, signature)
    except Exception as error:
        raise _failed(signer, error) from error
    if verdict is not True:
        raise TokenError("The token's signature does not match.", code="token_signature")
    try:
        return b64url_decode(payload)
    except ValueError:
        _malformed("The token's payload is not strict base64url.")


def _failed(signer: Signer, error: Exception) -> SignerUnavailable:
    """The error for a signer that raised: its key management service may be down."""
    logger.error("The token signer %s raised %s.", signer.algorithm, type(error).__name__)
    return SignerUnavailable("Tokens cannot be signed or checked at the moment. Please try again.")


def _malformed(reason: str) -> NoReturn:
    raise TokenError(reason, code="token_malformed") from None
