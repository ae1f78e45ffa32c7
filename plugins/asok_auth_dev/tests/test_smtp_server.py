"""The mail server on loopback, and the transport that leads to it."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from asok_auth_dev import smtp_server
from asok_auth_dev.settings import DevSettings
from asok_auth_dev.smtp_server import Mailbox, MailServer, development_transport, mail_server

from asok_auth_core.plugin import (
    AppConfig,
    ConfigurationError,
    MailSettings,
    OutgoingMail,
    Settings,
    SmtpTransport,
)
from asok_auth_core.testing import MailTransportContract, ReceivedMail, TransportUnderTest


class TestDevelopmentTransport(MailTransportContract):
    @pytest.fixture
    def under_test(self, server: MailServer, tmp_path: Path) -> TransportUnderTest:
        def received() -> list[ReceivedMail]:
            return [ReceivedMail(mail.recipients, mail.message) for mail in server.mailbox.mails()]

        gone = SmtpTransport(MailSettings(host="127.0.0.1", port=9, sender="auth@app.example", timeout=60))
        return TransportUnderTest(
            development_transport(
                Settings(app=AppConfig(debug=True, root=tmp_path), sections=(DevSettings(),))
            ),
            received,
            gone,
        )


def test_it_listens_on_loopback_only(server: MailServer) -> None:
    assert server.server is not None
    assert {listener.getsockname()[0] for listener in server.server.sockets} == {"127.0.0.1"}


def test_the_same_port_is_the_same_server(server: MailServer) -> None:
    assert mail_server(0) is server


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_an_error_that_names_the_setting(taken_port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf'AUTH\["DEV"\]\["SMTP_PORT"\].*127\.0\.0\.1:{taken_port}'):
        mail_server(taken_port)


def test_a_configured_port_is_used(server: MailServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    fixed = mail_server(port)
    assert fixed.port == port
    development_transport(
        Settings(
            app=AppConfig(debug=True, root=tmp_path),
            sections=(DevSettings(smtp_port=port),),
            mail=MailSettings(sender="A <a@app.example>"),
        )
    ).send(OutgoingMail("ann@app.example", "Hello", "text\n", "<p>html</p>\n"))
    (mail,) = fixed.mailbox.mails()
    assert (mail.number, mail.subject, mail.sender) == (1, "Hello", "A <a@app.example>")
    assert (mail.text.strip(), mail.html.strip()) == ("text", "<p>html</p>")
    assert server.mailbox.mails() == ()
    fixed.stop()


def test_a_mail_that_is_too_big_is_rejected(server: MailServer) -> None:
    with smtplib.SMTP(server.hostname, server.port) as connection, pytest.raises(smtplib.SMTPException):
        connection.sendmail("a@app.example", ["b@app.example"], "x" * (smtp_server.MAX_MAIL_BYTES + 1))
    assert server.mailbox.mails() == ()


def test_the_mailbox_keeps_the_latest_mails_and_their_numbers() -> None:
    mailbox = Mailbox()
    for index in range(smtp_server.MAX_MAILS + 3):
        mailbox.add(("ann@app.example",), f"Subject: {index}\n\ntext".encode())
    mails = mailbox.mails()
    assert len(mails) == smtp_server.MAX_MAILS
    assert [mails[0].number, mails[-1].number] == [203, 4]
    assert mailbox.find("3") is None
    found = mailbox.find("4")
    assert found is not None
    assert found.subject == "3"
    mailbox.clear()
    assert mailbox.mails() == ()
    assert mailbox.add(("ann@app.example",), b"").number == 204


def test_the_mailbox_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_server, "MAX_ALL_BYTES", 1000)
    mailbox = Mailbox()
    for _ in range(10):
        mailbox.add(("ann@app.example",), b"Subject: x\n\n" + b"y" * 388)
    assert [mail.number for mail in mailbox.mails()] == [10, 9]


def test_the_mailbox_survives_a_restart(tmp_path: Path) -> None:
    before, folder = Mailbox(), tmp_path / "mailbox"
    before.keep_in(folder)
    before.add(("ann@app.example",), b"To: Ann <ann@app.example>\nSubject: first\n\ntext\n")
    before.add(("bob@app.example",), b"To: bob@app.example\nSubject: second\n\ntext\n")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    after = Mailbox()
    after.keep_in(folder)
    kept = [(mail.number, mail.subject, mail.recipients, mail.at) for mail in after.mails()]
    assert [one[:3] for one in kept] == [
        (2, "second", ("bob@app.example",)),
        (1, "first", ("ann@app.example",)),
    ]
    assert abs(kept[0][3] - before.mails()[0].at) < 10
    after.add(("ann@app.example",), b"Subject: third\n\n")
    assert [mail.number for mail in before.mails()] == [3, 2, 1]


def test_processes_with_one_folder_have_one_mailbox(tmp_path: Path) -> None:
    one, two = Mailbox(), Mailbox()
    for mailbox in (one, two):
        mailbox.keep_in(tmp_path)
    assert one.mails() == two.mails() == ()
    threads = [
        threading.Thread(target=mailbox.add, args=((), f"Subject: {number}\n\n".encode()))
        for number in range(20)
        for mailbox in (one, two)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mailbox in (one, two):
        assert sorted(int(mail.subject) for mail in mailbox.mails()) == sorted([*range(20)] * 2)
        assert {mail.number for mail in mailbox.mails()} == set(range(1, 41))
    one.clear()
    assert two.mails() == ()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_has_no_more_mails_than_the_mailbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_server, "MAX_MAILS", 3)
    mailbox = Mailbox()
    mailbox.keep_in(tmp_path)
    for _ in range(5):
        mailbox.add((), b"Subject: x\n\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.eml", "4.eml", "5.eml"]


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"Subject: =?x?q?=?=\n\n", b"Content-Type: multipart/mixed\n\n"]
)
def test_a_malformed_mail_is_kept(raw: bytes) -> None:
    mail = Mailbox().add(("ann@app.example",), raw)
    assert isinstance(mail.subject + mail.sender + mail.text + mail.html, str)
