"""Turns an :class:`~asok_auth_core.types.OutgoingMail` into a message that is safe to hand to a server.

Everything that becomes a header is checked here, whatever the caller did: the recipient is parsed
as one address, the subject may hold no control character. Transports use nothing else.
"""

from __future__ import annotations

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
"""CRLF line ends, and every part readable by servers that know only ASCII."""
ENCODED_WORD = "=?"
"""How an encoded word begins (RFC 2047 section 2). ``email`` decodes those it finds in a value that
is set and, before the repair of CVE-2024-6923, writes down the line break it may find there."""
MAX_SUBJECT = 255
"""Characters of a subject; more is a mistake of the caller's."""
MAX_BODY = 1_000_000
"""Characters of each of the two bodies."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a mail is from. ``address`` is the envelope sender too (RFC 5321 section 4.1.1.2)."""

    address: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Sender:
        """From ``auth@app.example`` or ``App <auth@app.example>``. Raises SettingError."""
        wanted = f'AUTH["MAIL"]["SENDER"] must be one address, as in "App <auth@app.example>", got {text!r}.'
        if _has_control(text) or ENCODED_WORD in text:
            raise SettingError(wanted)
        found = getaddresses([text])
        if len(found) != 1:
            raise SettingError(wanted)
        ((name, address),) = found
        try:
            return cls(parse_email(address, allow_localhost=True), name)
        except EmailInvalid:
            raise SettingError(wanted) from None

    @property
    def domain(self) -> str:
        """The domain of the address."""
        return email_domain(self.address)


def build_message(mail: OutgoingMail, sender: Sender, *, clock: Clock, random: Random) -> EmailMessage:
    """The message: From, To, Subject, Date, Message-ID, and the text and HTML bodies.

    It says ``Auto-Submitted: auto-generated`` (RFC 3834 section 5), so that no vacation notice
    answers it. Raises EmailInvalid if the recipient is not exactly one address, and MailPermanent
    if the subject or a body cannot be sent.
    """
    recipient = parse_email(mail.to, allow_localhost=True)
    _check(mail)
    message = EmailMessage(policy=POLICY)
    message["From"] = _header_address(sender.address, sender.name)
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
        raise MailPermanent(f"The mail could not be written down ({type(error).__name__}).") from None
    return message


def recipient_of(message: EmailMessage) -> str:
    """The one address a message made by :func:`build_message` goes to."""
    (recipient,) = message["To"].addresses
    return str(recipient.addr_spec)


def _header_address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)


def _check(mail: OutgoingMail) -> None:
    if _has_control(mail.subject) or ENCODED_WORD in mail.subject:
        raise MailPermanent(
            "The subject of a mail may hold no line breaks, control characters or encoded words."
        )
    if len(mail.subject) > MAX_SUBJECT:
        raise MailPermanent(f"The subject of a mail may have at most {MAX_SUBJECT} characters.")
    for what, body in (("text", mail.text), ("HTML", mail.html or "")):
        if len(body) > MAX_BODY:
            raise MailPermanent(f"The {what} of a mail may have at most {MAX_BODY:,} characters.")
        if _has_control(body, allowed="\n\r\t"):
            raise MailPermanent(f"The {what} of a mail may hold no control characters.")


def _verify_headers(message: EmailMessage) -> None:
    """What is written down must have exactly the header lines that were set: a second line of defence."""
    head, _, _ = message.as_bytes().partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    names = [line.partition(b":")[0].decode() for line in lines if not line.startswith((b" ", b"\t"))]
    if names != list(message.keys()) or any(b"\r" in line or b"\n" in line for line in lines):
        raise MailPermanent("A header of the mail would have become more than one.")


def _has_control(text: str, allowed: str = "") -> bool:
    """True for C0, C1, DEL, lone surrogates and Unicode's line and paragraph separators."""
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in allowed
        for character in text
    )
