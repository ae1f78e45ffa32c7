"""Build a message that is safe to send, from an OutgoingMail.

Everything that becomes a header is checked here, whatever the caller checked: the recipient is
parsed as one email address, the subject must not contain control characters. Transports build
messages only through :func:`build_message`.
"""

from __future__ import annotations

import email.generator  # noqa: F401 - as_bytes() imports it, and a fork during that would hang the child
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timezone
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses

from ..engine.email_address import email_domain, parse_email
from ..errors import EmailInvalid, MailPermanent, SettingError
from ..types import Clock, OutgoingMail, Random

POLICY = SMTP.clone(cte_type="7bit")
"""CRLF line endings, and every part encoded for servers that accept only ASCII."""
ENCODED_WORD = "=?"
"""The start of an encoded word (RFC 2047 section 2). ``email`` decodes encoded words in a header
value and, before the fix of CVE-2024-6923, wrote line breaks inside them unescaped."""
MAX_SUBJECT = 255
"""Characters of a subject."""
MAX_BODY = 1_000_000
"""Characters of each of the two bodies."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender. ``email`` is the envelope sender too (RFC 5321 section 4.1.1.2)."""

    email: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Sender:
        """Parse ``auth@app.example`` or ``App <auth@app.example>``. Raises SettingError."""
        wanted = (
            'AUTH["MAIL"]["SENDER"] must be one email address, such as "App <auth@app.example>", '
            f"got {text!r}."
        )
        if _has_control(text) or ENCODED_WORD in text:
            raise SettingError(wanted)
        found = getaddresses([text])
        if len(found) != 1:
            raise SettingError(wanted)
        ((name, email),) = found
        try:
            return cls(parse_email(email, allow_localhost=True), name)
        except EmailInvalid:
            raise SettingError(wanted) from None

    @property
    def domain(self) -> str:
        """The domain of the email address."""
        return email_domain(self.email)


def build_message(mail: OutgoingMail, sender: Sender, *, clock: Clock, random: Random) -> EmailMessage:
    """Build the message with its headers and its text and HTML bodies.

    ``Auto-Submitted: auto-generated`` (RFC 3834 section 5) keeps vacation responders from replying.
    Raises EmailInvalid if the recipient is not exactly one email address, and MailPermanent if the
    subject or a body cannot be sent.
    """
    recipient = parse_email(mail.to, allow_localhost=True)
    _check(mail)
    message = EmailMessage(policy=POLICY)
    message["From"] = _header_address(sender.email, sender.name)
    message["To"] = _header_address(recipient)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(clock(), timezone.utc))
    message["Message-ID"] = f"<{random(16).hex()}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    try:
        message.set_content(mail.text)
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html")
        _verify_headers(message)
    except (MessageError, ValueError) as error:
        raise MailPermanent(f"The email could not be encoded ({type(error).__name__}).") from None
    return message


def recipient_of(message: EmailMessage) -> str:
    """The recipient's email address in a message made by :func:`build_message`."""
    (recipient,) = message["To"].addresses
    return str(recipient.addr_spec)


def _header_address(email: str, name: str = "") -> Address:
    local, _, domain = email.rpartition("@")
    return Address(name, local, domain)


def _check(mail: OutgoingMail) -> None:
    if _has_control(mail.subject) or ENCODED_WORD in mail.subject:
        raise MailPermanent(
            "An email's subject must not contain line breaks, control characters or encoded words."
        )
    if len(mail.subject) > MAX_SUBJECT:
        raise MailPermanent(f"An email's subject must have at most {MAX_SUBJECT} characters.")
    for part, body in (("text", mail.text), ("HTML", mail.html or "")):
        if len(body) > MAX_BODY:
            raise MailPermanent(f"An email's {part} must have at most {MAX_BODY:,} characters.")
        if _has_control(body, allowed="\n\r\t"):
            raise MailPermanent(f"An email's {part} must not contain control characters.")


def _verify_headers(message: EmailMessage) -> None:
    """Check that the encoded message has exactly the intended headers."""
    head, _, _ = message.as_bytes().partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    names = [line.partition(b":")[0].decode() for line in lines if not line.startswith((b" ", b"\t"))]
    if names != list(message.keys()) or any(b"\r" in line or b"\n" in line for line in lines):
        raise MailPermanent("A header value of the email would have started another header.")


def _has_control(text: str, allowed: str = "") -> bool:
    """True for C0, C1, DEL, lone surrogates and Unicode line separators."""
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in allowed
        for character in text
    )
