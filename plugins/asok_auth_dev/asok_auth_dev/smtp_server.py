"""A real SMTP server on loopback; the latest emails survive a restart."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses
from functools import cache
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from asok_auth_core.plugin import ConfigurationError, MailSettings, Settings, SmtpTransport

from .settings import DevSettings

HOST = "127.0.0.1"
MAILBOX = "/auth/dev/mailbox"
"""The page that shows the emails."""
DEFAULT_SENDER = "auth@localhost"
MAX_MAILS = 200
MAX_MAIL_BYTES = 5_000_000
MAX_ALL_BYTES = 20_000_000
FOLDER = Path(".asok", "mailbox")
"""Where the emails are kept, relative to the app."""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A received email. ``number`` counts from 1, ``at`` is seconds since the epoch."""

    number: int
    at: float
    recipients: tuple[str, ...]
    message: EmailMessage
    size: int

    @property
    def subject(self) -> str:
        return str(self.message["Subject"] or "")

    @property
    def sender(self) -> str:
        return str(self.message["From"] or "")

    @property
    def text(self) -> str:
        """The text part, or an empty string."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The HTML part, or an empty string."""
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content())


class Mailbox:
    """The latest emails, at most 200 and 20 MB of them; the oldest are dropped."""

    def __init__(self) -> None:
        self._mails: deque[StoredMail] = deque()
        self._count = 0
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def keep_in(self, folder: Path) -> None:
        """Keep the emails in ``folder`` too, and go on with those in it.

        So they survive a restart, and several processes have one mailbox. The emails of an app that used
        this mailbox before stay in that app's folder.
        """
        with self._lock:
            if folder != self._folder:
                self._folder = folder
                self._mails.clear()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Store an email received by aiosmtpd."""
        self.add(tuple(envelope.rcpt_tos), envelope.original_content or b"")
        return "250 Message accepted for delivery"

    def add(self, recipients: tuple[str, ...], raw: bytes) -> StoredMail:
        """Store an email."""
        message = message_from_bytes(raw, _class=EmailMessage, policy=default)
        with self._lock:
            self._read_folder()
            self._count += 1
            if self._folder is not None:
                self._count = _write(self._folder, self._count, raw)
            mail = StoredMail(self._count, time.time(), recipients, message, len(raw))
            self._mails.append(mail)
            while len(self._mails) > MAX_MAILS or sum(kept.size for kept in self._mails) > MAX_ALL_BYTES:
                self._drop(self._mails.popleft())
            return mail

    def mails(self) -> Sequence[StoredMail]:
        """The stored emails, newest first."""
        with self._lock:
            self._read_folder()
            return tuple(reversed(self._mails))

    def find(self, number: str) -> StoredMail | None:
        """The email with this number, as text, or None."""
        return next((mail for mail in self.mails() if str(mail.number) == number), None)

    def clear(self) -> None:
        """Delete all emails."""
        with self._lock:
            self._read_folder()
            while self._mails:
                self._drop(self._mails.popleft())

    def _read_folder(self) -> None:
        """Take in what was kept before, or by another process."""
        if self._folder is None:
            return
        files = {int(path.stem): path for path in self._folder.glob("*.eml") if path.stem.isdigit()}
        known = {mail.number: mail for mail in self._mails}
        mails = (known.get(number) or _read(number, files[number]) for number in sorted(files))
        self._mails = deque(mail for mail in mails if mail is not None)
        self._count = max(files, default=self._count)

    def _drop(self, mail: StoredMail) -> None:
        if self._folder is not None:
            (self._folder / f"{mail.number}.eml").unlink(missing_ok=True)


def _write(folder: Path, number: int, raw: bytes) -> int:
    """Keep an email as ``number``, or as the next one that is free; return that."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been deleted meanwhile
    part = folder / f".{os.getpid()}-{threading.get_ident()}.part"
    part.touch(mode=0o600)
    part.write_bytes(raw)
    try:
        while True:
            try:
                os.link(part, folder / f"{number}.eml")  # unlike a rename, not over another process's
            except FileExistsError:
                number += 1
            else:
                return number
    finally:
        part.unlink()


def _read(number: int, path: Path) -> StoredMail | None:
    """An email that was kept, unless it is gone: its recipients are those it names."""
    try:
        raw, at = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return None
    message = message_from_bytes(raw, _class=EmailMessage, policy=default)
    named = getaddresses([str(value) for value in message.get_all("To", [])])
    return StoredMail(number, at, tuple(one for _, one in named), message, len(raw))


class MailServer(Controller):
    """A server on ``127.0.0.1`` in its own thread; port 0 picks a free one.

    Raises OSError if the port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._listener = _listen(port)
        self.mailbox = Mailbox()
        super().__init__(
            self.mailbox,
            hostname=HOST,
            port=self._listener.getsockname()[1],
            server_hostname="localhost",
            data_size_limit=MAX_MAIL_BYTES,
        )

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        return self.loop.create_server(self._factory_invoker, sock=self._listener)


def _listen(port: int) -> socket.socket:
    # Naming the protocol makes asyncio set TCP_NODELAY; without it EHLO takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(100)
    except OSError:
        listener.close()
        raise
    return listener


@cache
def mail_server(port: int) -> MailServer:
    """Start this process's only server for a configured port, at the first call.

    Raises ConfigurationError if the port is taken.
    """
    try:
        server = MailServer(port)
    except OSError as error:
        raise ConfigurationError(
            f'AUTH["DEV"]["SMTP_PORT"]: the mail server cannot listen on {HOST}:{port} '
            f"({error.strerror or error}). Choose another port."
        ) from None
    server.start()
    return server


class DevTransport(SmtpTransport):
    """The SMTP transport used in production; pages link to the mailbox."""

    mailbox_path = MAILBOX


def development_transport(settings: Settings) -> DevTransport:
    """A transport that is connected to the development server."""
    server = mail_server(settings.section(DevSettings).smtp_port)
    server.mailbox.keep_in(settings.app.root / FOLDER)
    sender = settings.mail.sender or DEFAULT_SENDER
    return DevTransport(MailSettings(host=HOST, port=server.port, sender=sender, security="none"))
