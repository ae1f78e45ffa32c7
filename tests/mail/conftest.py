"""Real SMTP servers on loopback, with certificates made for the test."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from asok_auth_core.settings import MailSettings
from asok_auth_core.testing.waiting import PATIENCE

USERNAME, PASSWORD = "auth@app.example", "correct horse"


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class Inbox:
    """Takes mail; gives ``replies`` to RCPT or DATA first, one per mail."""

    rcpt_replies: list[str] = field(default_factory=list)
    data_replies: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=_open_gate)
    envelopes: list[Envelope] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt_replies:
            return self.rcpt_replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        if self.data_replies:
            return self.data_replies.pop(0)
        self.encrypted.append(session.ssl is not None)
        self.envelopes.append(envelope)
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.logins.append(mechanism)
        right = (data.login, data.password) == (USERNAME.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(e.original_content or b"", policy=default) for e in self.envelopes]  # type: ignore[arg-type]


class LoopbackController(Controller):
    """Listens on a port that the system chooses."""

    async def _create_server(self) -> asyncio.AbstractServer:
        server = await super()._create_server()
        self.port = server.sockets[0].getsockname()[1]
        return server


@dataclass
class Server:
    inbox: Inbox
    port: int
    stop: Callable[[], None]

    def settings(self, **values: object) -> MailSettings:
        given = {
            "host": "localhost",
            "port": self.port,
            "sender": "App <auth@app.example>",
            "timeout": PATIENCE,
        }
        return MailSettings(**{**given, **values})


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """``start_server(inbox, **what aiosmtpd's Controller takes)``."""
    with ExitStack() as stack:

        def start(inbox: Inbox | None = None, *, at_port: int = 0, **options: object) -> Server:
            inbox = inbox or Inbox()
            controller = LoopbackController(inbox, hostname="localhost", port=at_port, **options)
            controller.start()
            stop = stack.enter_context(_once(controller.stop))
            return Server(inbox, controller.port, stop)

        yield start


@contextmanager
def _once(stop: Callable[[], None]) -> Iterator[Callable[[], None]]:
    pending = [stop]

    def run() -> None:
        while pending:
            pending.pop()()

    try:
        yield run
    finally:
        run()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    return start_server()


@dataclass
class Certificate:
    """Of an authority of its own, for ``name``."""

    path: Path

    @property
    def for_server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context

    @property
    def for_client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))


@pytest.fixture
def make_certificate(tmp_path: Path) -> Callable[..., Certificate]:
    def make(name: str = "localhost", *, valid_days: int = 1) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=valid_days)
        san = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - datetime.timedelta(days=30))
            .not_valid_after(end)
            .add_extension(san, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_key_usage(), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        path = tmp_path / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
        )
        return Certificate(path)

    return make


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture
def scripted_server() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """``scripted_server(talk)`` calls ``talk(connection)``; returns the port."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(talk: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        talk(connection)
                    except OSError:
                        continue

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(PATIENCE)


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
