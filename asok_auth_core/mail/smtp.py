"""Send over SMTP: one verified, encrypted connection per email.

Failures worth a retry are :class:`~asok_auth_core.errors.MailTemporary`, all others
:class:`~asok_auth_core.errors.MailPermanent`. Messages name only the host and the reply code,
because a server's reply text can repeat the recipient or more.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - sockets import it, and a fork during that would hang the child
import secrets as system_random
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..contracts import MailTransport
from ..engine.urls import is_loopback
from ..errors import MailError, MailPermanent, MailTemporary, SettingError
from ..settings import MailSettings
from ..types import Clock, OutgoingMail, Random
from .message import Sender, build_message, recipient_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SUBMISSIONS_PORT = 465
"""Implicit TLS (RFC 8314 section 7.3)."""
WHOLE_CONVERSATION = 4
"""A whole conversation may take this many times the timeout of one step."""


class _Conversation(smtplib.SMTP):
    """A conversation with a deadline, also for a server that trickles bytes."""

    _watchdog: threading.Timer
    _cable: socket.socket | None = None
    """A duplicate of the socket, because ``sock`` is not usable during the TLS handshake."""
    _expired = False

    def connect(
        self,
        host: str = "localhost",
        port: int = 0,
        source_address: tuple[object, ...] | str | ReadableBuffer | None = None,
    ) -> tuple[int, bytes]:
        self._watchdog = threading.Timer(self.timeout * WHOLE_CONVERSATION, self._hang_up)
        self._watchdog.daemon = True
        self._watchdog.start()
        try:
            return super().connect(host, port, source_address)
        except (smtplib.SMTPException, OSError, ValueError):
            self._end_watch()
            raise

    def close(self) -> None:
        self._end_watch()
        super().close()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect, for smtplib, before any TLS."""
        connected: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self._cable = connected.dup()
        if self._expired:
            self._hang_up()
        return connected

    def _hang_up(self) -> None:
        """Shut the connection down, so that a blocked read returns."""
        self._expired = True
        if self._cable is not None:
            with suppress(OSError):
                self._cable.shutdown(socket.SHUT_RDWR)

    def _end_watch(self) -> None:
        self._watchdog.cancel()
        if self._cable is not None:
            self._cable.close()


class _TlsConversation(smtplib.SMTP_SSL, _Conversation):
    """A conversation with implicit TLS."""


class SmtpTransport(MailTransport):
    """Sends through the server in ``AUTH["MAIL"]``; safe to use from several threads.

    If ``SECURITY`` is not set: implicit TLS on port 465, none to a server on this machine, STARTTLS
    otherwise. ``context`` is for servers whose certificate comes from a private CA; it must verify
    certificates and host names.
    """

    def __init__(
        self,
        settings: MailSettings,
        *,
        context: ssl.SSLContext | None = None,
        clock: Clock = time.time,
        random: Random = system_random.token_bytes,
    ) -> None:
        if not settings.host:
            raise SettingError(
                'AUTH["MAIL"]["HOST"] (or MAIL_HOST) is missing: set it to the name of your mail server.'
            )
        context = context or ssl.create_default_context()
        if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
            raise ValueError("The TLS context of a mail transport must verify certificate and host name.")
        self._host = settings.host
        self._port = settings.port
        self._security = settings.security or _usual_security(settings.host, settings.port)
        self._username = settings.username
        self._password = settings.password or ""
        login = f"{self._username}{self._password}"
        if not login.isascii() or not login.isprintable():
            raise SettingError(
                'AUTH["MAIL"]: USERNAME and PASSWORD must be ASCII (MAIL_USERNAME, MAIL_PASSWORD) without '
                "control characters such as line breaks: the SMTP client cannot send anything else. Choose "
                "another password at your mail provider."
            )
        self._timeout = settings.timeout
        self._sender = _sender(settings)
        self._context = context
        self._clock = clock
        self._random = random
        if self._username and self._security == "none" and not is_loopback(settings.host):
            raise SettingError(
                'AUTH["MAIL"]["SECURITY"] is "none": the password would cross the network in plaintext. '
                'Use "starttls" or "tls", or remove USERNAME.'
            )

    def __repr__(self) -> str:
        return f"<SmtpTransport {self._host}:{self._port} {self._security}>"

    def send(self, mail: OutgoingMail) -> None:
        message = build_message(mail, self._sender, clock=self._clock, random=self._random)
        with self._errors(), self._connection() as server:
            if self._username:
                server.login(self._username, self._password)
            server.sendmail(self._sender.email, [recipient_of(message)], message.as_bytes())

    def check(self) -> None:
        with self._errors(), self._connection() as server:
            server.ehlo_or_helo_if_needed()
            if self._username:
                server.login(self._username, self._password)

    @contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        server = self._connect()
        try:
            if self._security == "starttls":
                server.starttls(context=self._context)
            yield server
            _say_goodbye(server)
        finally:
            server.close()

    def _connect(self) -> smtplib.SMTP:
        if self._security == "tls":
            return _TlsConversation(
                self._host,
                self._port,
                local_hostname=self._sender.domain,
                timeout=self._timeout,
                context=self._context,
            )
        return _Conversation(
            self._host, self._port, local_hostname=self._sender.domain, timeout=self._timeout
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert smtplib's exceptions to a MailError without the reply's text."""
        try:
            yield
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise _mail_error(error, f"{self._host}:{self._port}") from None


def _mail_error(error: Exception, server: str) -> MailError:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = min(code for code, _ in error.recipients.values())
        return _by_code(code, f"The mail server {server} rejected the recipient ({code}).")
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return _by_code(
            error.smtp_code,
            f"The mail server {server} rejected the configured username and password ({error.smtp_code}).",
        )
    if isinstance(error, smtplib.SMTPResponseException):
        return _by_code(error.smtp_code, f"The mail server {server} rejected the email ({error.smtp_code}).")
    if isinstance(error, UnicodeError):
        return MailPermanent('AUTH["MAIL"]: HOST must be plain ASCII.')
    if isinstance(error, smtplib.SMTPNotSupportedError) or type(error) is smtplib.SMTPException:
        return MailPermanent(
            f'The mail server {server} does not support what AUTH["MAIL"] requires: STARTTLS or a login.'
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return MailPermanent(
            f"The certificate of the mail server {server} is not trusted: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return MailPermanent(
            f"TLS with the mail server {server} failed: {error.reason or type(error).__name__}."
        )
    # smtplib reports a timeout as a disconnect
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return MailTemporary(f"The mail server {server} did not answer in time.")
    if isinstance(error, ConnectionRefusedError):
        return MailTemporary(f"The mail server {server} refused the connection.")
    if isinstance(error, socket.gaierror):
        return MailTemporary(f"The name of the mail server {server} was not found.")
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return MailTemporary(f"The mail server {server} closed the connection.")
    return MailTemporary(f"The mail server {server} could not be reached ({type(error).__name__}).")


def _by_code(code: int, message: str) -> MailError:
    """Sort by reply code: 5yz is permanent, others temporary (RFC 5321, 4.2.1)."""
    return MailPermanent(message) if 500 <= code <= 599 else MailTemporary(message)


def _sender(settings: MailSettings) -> Sender:
    if settings.sender:
        return Sender.parse(settings.sender)
    if settings.username and "@" in settings.username:
        return Sender.parse(settings.username)
    raise SettingError(
        'AUTH["MAIL"]["SENDER"] (or MAIL_FROM) is missing: set it to the email address your app sends from.'
    )


def _usual_security(host: str, port: int) -> str:
    if port == SUBMISSIONS_PORT:
        return "tls"
    return "none" if is_loopback(host) else "starttls"


def _say_goodbye(server: smtplib.SMTP) -> None:
    """Send QUIT and ignore failures: the email must not be sent again."""
    with suppress(smtplib.SMTPException, OSError):
        server.quit()
