"""Mail addresses: one text in, one normalised address out, or a refusal a person can act on.

The grammar is that of RFC 5321 section 4.1.2 without its rarely used corners: the part before the
``@`` is an ASCII dot-atom (no quotes, no comments), the domain is a host name with a dot in it, in
Unicode or ASCII. What leaves here is ASCII only: the domain in lower case as A-labels (RFC 5890),
so two domains that merely look alike never compare equal and one domain has one spelling.

Letters beyond ASCII before the ``@`` are refused: most servers cannot take them (RFC 6531), and
they would let one person register an address that reads exactly like another's.
"""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

from ..errors import EmailInvalid

MAX_ADDRESS_BYTES = 254
"""RFC 5321 section 4.5.3.1.3, with its erratum 1690."""

_HOST_NAMES_OF_THIS_MACHINE = ("localhost",)


def parse_email(text: str, *, allow_localhost: bool = False) -> str:
    """The one mail address in ``text``, normalised: the domain in lower case and in ASCII.

    The case of the part before the ``@`` is kept, because the mailbox's own server decides about it
    (RFC 5321 section 2.4); compare accounts with :func:`account_key`. Spaces around the address are
    dropped, everything else is taken as it is or refused. Normalising twice changes nothing.

    ``allow_localhost`` lets ``somebody@localhost`` pass, for development.

    Raises EmailInvalid, whose message never repeats the text.
    """
    if len(text) > MAX_ADDRESS_BYTES * 4:
        raise EmailInvalid(_TOO_LONG)
    text = text.strip(" ")
    _reject_common_mistakes(text)
    local, _, domain = text.rpartition("@")
    at_home = allow_localhost and domain.lower() in _HOST_NAMES_OF_THIS_MACHINE
    try:
        # test_environment admits the reserved top-level domain .test (RFC 6761), which reaches nobody.
        found = validate_email(
            f"{local}@localhost.test" if at_home else text,
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
    if at_home:
        return f"{found.ascii_local_part}@localhost"
    if "." not in found.ascii_domain:
        raise EmailInvalid(_NOT_AN_ADDRESS)
    return f"{found.ascii_local_part}@{found.ascii_domain}"


def account_key(address: str) -> str:
    """The form of a normalised ``address`` under which accounts and limits are kept.

    In lower case throughout. No mail service of note tells ``Ann@`` from ``ann@``; without folding,
    each of the many ways to write one address would be an account of its own and have its own
    budget of attempts. Dots and ``+tags`` stay: what they mean differs from service to service, and
    taking two people for one would be a hole. The address itself is where mail goes; the key is
    never mailed to.

    Raises EmailInvalid if it is not ASCII, that is, did not come from :func:`parse_email`.
    """
    if not address.isascii():
        raise EmailInvalid(_NOT_AN_ADDRESS)
    return address.lower()


def same_account(one: str | None, other: str | None) -> bool:
    """True if two addresses, as stored or normalised, stand for one account; case is no difference.

    An address with other than ASCII characters, which :func:`parse_email` would not have let
    through, is the same as none: folding case would make different letters one.
    """
    if not one or not other or not one.isascii() or not other.isascii():
        return False
    return one.lower() == other.lower()


def email_domain(address: str) -> str:
    """The part behind the ``@``: what may be logged of an address."""
    return address.rpartition("@")[2].lower()


_NOT_AN_ADDRESS = "This is not a complete email address. It should look like name@example.com."
_TOO_LONG = "This email address is too long; at most 254 characters are possible."


def _reject_common_mistakes(text: str) -> None:
    """The mistakes worth a message of their own; also what must never reach a mail header."""
    if not text:
        raise EmailInvalid("Please enter an email address.")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ADDRESS_BYTES:
        raise EmailInvalid(_TOO_LONG)
    if "," in text or ";" in text or text.count("@") > 1:
        raise EmailInvalid("Please enter one email address, not several.")
    if "<" in text or ">" in text or '"' in text or "(" in text:
        raise EmailInvalid("Please enter the bare email address, without a name or brackets.")
    if any(unicodedata.category(character)[0] in "CZ" for character in text):
        raise EmailInvalid("An email address has no spaces, line breaks or invisible characters in it.")
    if "@" not in text or "=?" in text:  # RFC 2047: what writes or reads the mail may decode it
        raise EmailInvalid(_NOT_AN_ADDRESS)
    if not text.rpartition("@")[0].isascii():
        raise EmailInvalid(
            "Before the @, an email address can have only unaccented letters, digits and a few signs."
        )
