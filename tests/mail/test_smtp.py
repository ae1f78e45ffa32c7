"""The SMTP transport against real servers, good ones and bad ones."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from types import SimpleNamespace

import pytest

from asok_auth_core.errors import EmailInvalid, MailError, MailPermanent, MailTemporary, SettingError
from asok_auth_core.mail.smtp import SmtpTransport
from asok_auth_core.settings import MailSettings
from asok_auth_core.testing.waiting import PATIENCE, Stopwatch, wait_until
from asok_auth_core.types import OutgoingMail

MAIL = OutgoingMail("ann@app.example", "Your link", "CANARY-LINK\n.\nend\n", "<p>CANARY-LINK</p>\n")
USERNAME, PASSWORD = "auth@app.example", "correct horse"


def test_a_mail_arrives_complete_for_one_recipient(server: SimpleNamespace) -> None:
    SmtpTransport(server.settings()).send(MAIL)
    (envelope,), (message,) = server.inbox.envelopes, server.inbox.messages
    assert envelope.mail_from == "auth@app.example"
    assert envelope.rcpt_tos == ["ann@app.example"]
    assert _lines(message, "plain") == MAIL.text
    assert _lines(message, "html") == MAIL.html


def _lines(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


@pytest.mark.parametrize(
    "mail",
    [
        OutgoingMail("ann@app.example\r\nRCPT TO:<eve@evil.example>", "s", "t"),
        OutgoingMail("ann@app.example,eve@evil.example", "s", "t"),
        OutgoingMail("ann@app.example", "s\r\nBcc: eve@evil.example", "t"),
        OutgoingMail("ann@app.example", "s", "t\x00"),
    ],
)
def test_injections_never_reach_the_server(server: SimpleNamespace, mail: OutgoingMail) -> None:
    with pytest.raises((EmailInvalid, MailPermanent)):
        SmtpTransport(server.settings()).send(mail)
    assert server.inbox.envelopes == []


@pytest.mark.parametrize("end", ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n"])
def test_a_body_cannot_end_the_mail_early_and_start_another(server: SimpleNamespace, end: str) -> None:
    smuggled = f"first{end}MAIL FROM:<eve@evil.example>\r\nRCPT TO:<eve@evil.example>\r\nDATA\r\nsecond"
    SmtpTransport(server.settings()).send(OutgoingMail("ann@app.example", "s", smuggled))
    assert [envelope.rcpt_tos for envelope in server.inbox.envelopes] == [["ann@app.example"]]
    assert "second" in server.inbox.messages[0].get_content()


def test_starttls_and_login(start_server: Callable[..., SimpleNamespace], make_certificate: Callable) -> None:
    certificate = make_certificate()
    server = start_server(
        inbox := _inbox(start_server),
        tls_context=certificate.for_server,
        require_starttls=True,
        authenticator=inbox.authenticate,
        auth_required=True,
    )
    settings = server.settings(security="starttls", username=USERNAME, password=PASSWORD)
    SmtpTransport(settings, context=certificate.for_client).send(MAIL)
    assert inbox.encrypted == [True]
    assert inbox.logins


def _inbox(start_server: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """A fresh inbox, of the class the fixture uses."""
    return type(start_server().inbox)()


def test_implicit_tls(start_server: Callable[..., SimpleNamespace], make_certificate: Callable) -> None:
    certificate = make_certificate()
    server = start_server(ssl_context=certificate.for_server)
    SmtpTransport(server.settings(security="tls"), context=certificate.for_client).send(MAIL)
    assert len(server.inbox.envelopes) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("fault", ["unknown authority", "other name", "expired"])
def test_an_invalid_certificate_stops_before_any_password_is_sent(
    start_server: Callable[..., SimpleNamespace], make_certificate: Callable, security: str, fault: str
) -> None:
    name = "mail.evil.example" if fault == "other name" else "localhost"
    certificate = make_certificate(name, valid_days=-1 if fault == "expired" else 1)
    inbox = _inbox(start_server)
    offered = {"tls": "ssl_context", "starttls": "tls_context"}[security]
    server = start_server(
        inbox, authenticator=inbox.authenticate, auth_require_tls=False, **{offered: certificate.for_server}
    )
    trusted = None if fault == "unknown authority" else certificate.for_client
    transport = SmtpTransport(
        server.settings(security=security, username=USERNAME, password=PASSWORD), context=trusted
    )
    with pytest.raises(MailPermanent, match=r"certificate .* is not trusted"):
        transport.send(MAIL)
    assert inbox.logins == []
    assert inbox.envelopes == []


def test_a_server_without_starttls_gets_neither_password_nor_mail(
    start_server: Callable[..., SimpleNamespace],
) -> None:
    inbox = _inbox(start_server)
    server = start_server(inbox, authenticator=inbox.authenticate, auth_require_tls=False)
    settings = server.settings(security="starttls", username=USERNAME, password=PASSWORD)
    with pytest.raises(MailPermanent, match="does not support"):
        SmtpTransport(settings).send(MAIL)
    assert inbox.logins == []
    assert inbox.envelopes == []


def test_tls_to_a_plaintext_server_is_a_permanent_error(server: SimpleNamespace) -> None:
    with pytest.raises(MailPermanent, match=r"TLS .* failed"):
        SmtpTransport(server.settings(security="tls")).send(MAIL)


@pytest.mark.parametrize("weak", ["verify_mode", "check_hostname"])
def test_a_tls_context_that_verifies_nothing_is_rejected(server: SimpleNamespace, weak: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    if weak == "verify_mode":
        context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="must verify"):
        SmtpTransport(server.settings(), context=context)


def test_a_rejected_login_is_a_permanent_error_without_the_password(
    start_server: Callable[..., SimpleNamespace],
) -> None:
    inbox = _inbox(start_server)
    server = start_server(inbox, authenticator=inbox.authenticate, auth_require_tls=False)
    settings = server.settings(username=USERNAME, password="CANARY-PASSWORD")
    with pytest.raises(MailPermanent, match=r"username and password \(535\)") as caught:
        SmtpTransport(settings).send(MAIL)
    assert "CANARY" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("given", [{"password": "pässword"}, {"username": "ännä", "password": "x"}])
def test_a_password_that_smtp_cannot_send_is_an_error_at_the_start(given: dict[str, str]) -> None:
    settings = MailSettings(
        host="smtp.app.example", sender="a@app.example", **{"username": USERNAME, **given}
    )
    with pytest.raises(SettingError, match=r"PASSWORD.*must be ASCII") as caught:
        SmtpTransport(settings)
    assert "ä" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "reply", "kind"),
    [
        ("rcpt_replies", "450 4.2.1 CANARY mailbox busy", MailTemporary),
        ("rcpt_replies", "550 5.1.1 CANARY no such user", MailPermanent),
        ("data_replies", "451 4.3.0 CANARY try later", MailTemporary),
        ("data_replies", "554 5.7.1 CANARY refused", MailPermanent),
    ],
)
def test_a_4xx_is_temporary_and_a_5xx_permanent_without_the_reply_text(
    server: SimpleNamespace, step: str, reply: str, kind: type[MailError]
) -> None:
    getattr(server.inbox, step).append(reply)
    with pytest.raises(kind, match=reply[:3]) as caught:
        SmtpTransport(server.settings()).send(MAIL)
    assert "CANARY" not in caught.value.message
    assert "ann@" not in caught.value.message
    SmtpTransport(server.settings()).send(MAIL)
    assert len(server.inbox.envelopes) == 1


def test_a_server_that_is_down_is_temporary(unused_port: int) -> None:
    settings = MailSettings(host="127.0.0.1", port=unused_port, sender="auth@app.example")
    with pytest.raises(MailTemporary, match="refused the connection"):
        SmtpTransport(settings).send(MAIL)


def test_an_unknown_host_name_is_temporary() -> None:
    settings = MailSettings(host="mail.invalid", sender="auth@app.example", timeout=5)
    with pytest.raises(MailTemporary, match=r"mail\.invalid:587"):
        SmtpTransport(settings).send(MAIL)


@pytest.mark.parametrize(("greeting", "kind"), [("421 busy", MailTemporary), ("554 go away", MailPermanent)])
def test_a_server_that_rejects_the_connection_is_an_error(
    scripted_server: Callable[..., int], greeting: str, kind: type[MailError]
) -> None:
    port = scripted_server(lambda connection: connection.sendall(f"{greeting}\r\n".encode()))
    with pytest.raises(kind, match=greeting[:3]):
        SmtpTransport(_to(port)).send(MAIL)


def test_a_server_that_hangs_up_is_temporary(scripted_server: Callable[..., int]) -> None:
    port = scripted_server(lambda connection: None)
    with pytest.raises(MailTemporary):
        SmtpTransport(_to(port)).send(MAIL)


def test_a_silent_server_times_out(
    scripted_server: Callable[..., int],
) -> None:
    port = scripted_server(lambda connection: connection.recv(1) and None)
    with Stopwatch() as watch, pytest.raises(MailTemporary, match="in time"):
        SmtpTransport(_to(port, timeout=0.2)).send(MAIL)
    assert watch.seconds < 2


def test_a_trickling_server_times_out(scripted_server: Callable[..., int]) -> None:
    """Each byte comes in time for its step; the conversation has a limit too."""

    def trickle(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"2")
            time.sleep(0.05)

    port = scripted_server(trickle)
    with Stopwatch() as watch, pytest.raises(MailTemporary):
        SmtpTransport(_to(port, timeout=0.2)).send(MAIL)
    assert watch.seconds < 3


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_server_trickling_during_the_tls_handshake_times_out(
    scripted_server: Callable[..., int], security: str
) -> None:
    def trickle(connection: socket.socket) -> None:
        if security == "starttls":
            with connection.makefile("rb") as lines:
                for reply in (b"220 hi", b"250-hi\r\n250 STARTTLS", b"220 go"):
                    connection.sendall(reply + b"\r\n")
                    if reply != b"220 go":
                        lines.readline()
        connection.sendall(b"\x16\x03\x03\x40\x00")  # the head of a handshake record of 16 kB
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(b"2")

    settings = MailSettings(
        host="127.0.0.1",
        port=scripted_server(trickle),
        sender="auth@app.example",
        timeout=0.2,
        security=security,
    )
    with Stopwatch() as watch, pytest.raises(MailTemporary):
        SmtpTransport(settings).send(MAIL)
    assert watch.seconds < 8


def test_time_spent_on_dns_counts_towards_the_timeout(
    scripted_server: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversation's deadline passes before there is a connection."""
    port = scripted_server(lambda connection: connection.recv(1) and None)
    find = socket.getaddrinfo

    def slow(*arguments: object, **options: object) -> object:
        wait_until(
            lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()),
            "the end of the conversation's time",
        )
        return find(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(MailTemporary, match=r"closed the connection|could not be reached|answer in time"):
        SmtpTransport(_to(port, timeout=0.05)).send(MAIL)


def test_a_server_that_hangs_up_during_the_tls_handshake_is_temporary(
    scripted_server: Callable[..., int],
) -> None:
    settings = MailSettings(
        host="127.0.0.1",
        port=scripted_server(lambda connection: None),
        sender="a@app.example",
        security="tls",
    )
    with pytest.raises(MailTemporary, match="could not be reached"):
        SmtpTransport(settings).send(MAIL)


def test_a_reply_that_is_not_smtp_is_a_mail_error(scripted_server: Callable[..., int]) -> None:
    port = scripted_server(lambda connection: connection.sendall(b"\xff" * 20_000 + b"\r\n"))
    with pytest.raises(MailError):
        SmtpTransport(_to(port)).send(MAIL)


def test_an_accepted_mail_is_not_resent_when_quit_fails(
    scripted_server: Callable[..., int],
) -> None:
    def talk(connection: socket.socket) -> None:
        replies = [b"220 hi", b"250 hi", b"250 from", b"250 to", b"354 go"]
        with connection.makefile("rb") as lines:
            for reply in replies:
                connection.sendall(reply + b"\r\n")
                lines.readline()
            while lines.readline() != b".\r\n":
                continue
            connection.sendall(b"250 taken\r\n")

    SmtpTransport(_to(scripted_server(talk))).send(MAIL)


def test_settings_without_host_or_sender_are_named() -> None:
    with pytest.raises(SettingError, match="HOST"):
        SmtpTransport(MailSettings(sender="auth@app.example"))
    with pytest.raises(SettingError, match="SENDER"):
        SmtpTransport(MailSettings(host="mail.app.example"))
    with pytest.raises(SettingError, match="SENDER"):
        SmtpTransport(MailSettings(host="mail.app.example", username="apikey"))


def test_a_user_name_that_is_an_email_is_the_default_sender(server: SimpleNamespace) -> None:
    transport = SmtpTransport(server.settings(sender=None, username="auth@app.example"))
    assert "auth@app.example" not in repr(transport)
    with pytest.raises(MailPermanent, match="login"):
        transport.send(MAIL)


def test_a_password_is_never_sent_in_plaintext() -> None:
    with pytest.raises(SettingError, match="plaintext"):
        SmtpTransport(
            MailSettings(host="mail.app.example", sender="a@app.example", username="a", security="none")
        )


@pytest.mark.parametrize(
    ("host", "port", "security"),
    [
        ("mail.app.example", 587, "starttls"),
        ("mail.app.example", 25, "starttls"),
        ("mail.app.example", 465, "tls"),
        ("localhost", 25, "none"),
        ("127.0.0.1", 1025, "none"),
        ("::1", 1025, "none"),
        ("localhost", 465, "tls"),
    ],
)
def test_the_port_decides_the_default_security(host: str, port: int, security: str) -> None:
    transport = SmtpTransport(MailSettings(host=host, port=port, sender="auth@app.example"))
    assert repr(transport) == f"<SmtpTransport {host}:{port} {security}>"


@pytest.mark.requirement("SECURITY-30")
def test_the_password_is_not_in_the_log_even_at_debug_level(
    start_server: Callable[..., SimpleNamespace], caplog: pytest.LogCaptureFixture
) -> None:
    inbox = _inbox(start_server)
    server = start_server(inbox, authenticator=inbox.authenticate, auth_require_tls=False)
    with caplog.at_level(logging.DEBUG, "asok_auth"):
        SmtpTransport(server.settings(username=USERNAME, password=PASSWORD)).send(MAIL)
    assert len(inbox.envelopes) == 1
    assert not [r for r in caplog.records if r.name.startswith("asok_auth")]


def _to(port: int, timeout: float = PATIENCE) -> MailSettings:
    return MailSettings(host="127.0.0.1", port=port, sender="auth@app.example", timeout=timeout)


def test_a_check_logs_in_and_sends_nothing(start_server: Callable[..., SimpleNamespace]) -> None:
    inbox = _inbox(start_server)
    server = start_server(inbox, authenticator=inbox.authenticate, auth_require_tls=False)
    SmtpTransport(server.settings(username=USERNAME, password=PASSWORD)).check()
    assert len(inbox.logins) == 1
    with pytest.raises(MailPermanent, match="535"):
        SmtpTransport(server.settings(username=USERNAME, password="wrong")).check()
    assert inbox.envelopes == []


def test_a_check_of_a_server_that_is_down_reports_it(unused_port: int) -> None:
    with pytest.raises(MailTemporary, match="refused the connection"):
        SmtpTransport(_to(unused_port)).check()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError("timed out"), "did not answer in time"),
        (OSError(101, "Network is unreachable"), r"could not be reached \(OSError\)"),
    ],
    ids=["time-out", "no network"],
)
def test_a_connection_that_cannot_be_opened_is_temporary(
    monkeypatch: pytest.MonkeyPatch, error: OSError, says: str
) -> None:
    """Even if looking for the server takes longer than a whole conversation may."""

    def connect(*arguments: object, **options: object) -> socket.socket:
        time.sleep(0.3)
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(MailTemporary, match=says):
        SmtpTransport(_to(25, timeout=0.05)).send(MAIL)
