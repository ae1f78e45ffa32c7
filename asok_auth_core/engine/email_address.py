"""Parse an email address, or reject it with a message the user can act on.

The grammar is that of RFC 5321 section 4.1.2 without its rarely used parts: before the ``@`` an
ASCII dot-atom (no quotes, no comments), after it a host name with a dot, in Unicode or ASCII. The
result is ASCII: the domain is in lower case as A-labels (RFC 5890), so domains that only look alike
never compare equal, and each domain has one spelling.

Non-ASCII characters before the ``@`` are rejected: most servers do not accept them (RFC 6531), and
a user could register an email address that reads exactly like another user's.
"""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from ..errors import EmailInvalid

MAX_ADDRESS_BYTES = 254
"""RFC 5321 section 4.5.3.1.3, with erratum 1690."""


def parse_email(text: str, *, allow_localhost: bool = False) -> str:
    """The one email address in ``text``, with its domain in lower case and ASCII.

    The case before the ``@`` is kept, because only the mailbox's server knows whether it matters
    (RFC 5321 section 2.4); compare accounts with :func:`account_key`. Surrounding spaces are
    removed; nothing else is corrected. Normalizing twice changes nothing.

    ``allow_localhost`` accepts ``name@localhost``, for development.

    Raises EmailInvalid, whose message never contains the text.
    """
    if len(text) > MAX_ADDRESS_BYTES * 4:
        raise EmailInvalid(_TOO_LONG)
    text = text.strip(" ")
    _reject_common_mistakes(text)
    local, _, domain = text.rpartition("@")
    is_local = allow_localhost and domain.lower() == "localhost"
    try:
        # test_environment accepts the reserved top-level domain .test (RFC 6761), which is never delivered.
        found = validate_email(
            f"{local}@localhost.test" if is_local else text,
            allow_smtputf8=False,
            allow_empty_local=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            strict=True,
            check_deliverability=False,
            test_environment=True,
            globally_deliverable=True,
        )
    except EmailNotValidError:
        raise EmailInvalid(_NOT_AN_ADDRESS) from None
    if is_local:
        return f"{found.ascii_local_part}@localhost"
    if "." not in found.ascii_domain:
        raise EmailInvalid(_NOT_AN_ADDRESS)
    return f"{found.ascii_local_part}@{found.ascii_domain}"


def account_key(address: str) -> str:
    """The key for accounts and limits of a normalized ``address``, in lower case.

    No major mail service distinguishes ``Ann@`` from ``ann@``; without folding, each spelling would
    be an account with its own rate limit. Dots and ``+tags`` stay: their meaning differs between
    services, and treating two users as one would be a vulnerability. Send mail to the address,
    never to the key.

    Raises EmailInvalid if it is not ASCII, so did not come from :func:`parse_email`.
    """
    if not address.isascii():
        raise EmailInvalid(_NOT_AN_ADDRESS)
    return address.lower()


def same_account(one: str | None, other: str | None) -> bool:
    """True if two email addresses belong to one account; case is ignored.

    A non-ASCII email address, which :func:`parse_email` would have rejected, matches none: folding
    case would make different letters equal.
    """
    if not one or not other or not one.isascii() or not other.isascii():
        return False
    return one.lower() == other.lower()


def email_domain(address: str) -> str:
    """The part after the ``@``, the only part of an email address that may be logged."""
    return address.rpartition("@")[2].lower()


_NOT_AN_ADDRESS = "This is not a complete email address. It should look like name@example.com."
_TOO_LONG = "This email address is too long. The limit is 254 characters."


def _reject_common_mistakes(text: str) -> None:
    """Reject common mistakes, each with its own message, and text unsafe in a header."""
    if not text:
        raise EmailInvalid("Please enter an email address.")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ADDRESS_BYTES:
        raise EmailInvalid(_TOO_LONG)
    if "," in text or ";" in text or text.count("@") > 1:
        raise EmailInvalid("Please enter one email address, not several.")
    if "<" in text or ">" in text or '"' in text or "(" in text:
        raise EmailInvalid("Please enter only the email address, without a name or brackets.")
    if any(unicodedata.category(character)[0] in "CZ" for character in text):
        raise EmailInvalid("An email address must not contain spaces, line breaks, or invisible characters.")
    if "@" not in text or "=?" in text:  # RFC 2047: mail software may decode it
        raise EmailInvalid(_NOT_AN_ADDRESS)
    if not text.rpartition("@")[0].isascii():
        raise EmailInvalid(
            "Before the @, an email address can contain only unaccented letters, digits, and a few symbols."
        )
