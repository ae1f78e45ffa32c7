"""The contract of mail transports holds for ours, and unsafe ones fail it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from asok_auth_core.mail.file import FileTransport
from asok_auth_core.mail.smtp import SmtpTransport
from asok_auth_core.settings import MailSettings
from asok_auth_core.testing.mail_transport import MailTransportContract, ReceivedMail, TransportUnderTest
from asok_auth_core.testing.waiting import PATIENCE


class Postbox:
    def __init__(self) -> None:
        self.received: list[ReceivedMail] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        self.received.append(ReceivedMail(tuple(envelope.rcpt_tos), message))  # type: ignore[arg-type]
        return "250 OK"


class LoopbackController(Controller):
    async def _create_server(self) -> object:
        server = await super()._create_server()
        self.port = server.sockets[0].getsockname()[1]
        return server


class TestSmtpTransport(MailTransportContract):
    @pytest.fixture
    def under_test(self) -> Iterator[TransportUnderTest]:
        postbox = Postbox()
        controller = LoopbackController(postbox, hostname="127.0.0.1", port=0)
        controller.start()
        settings = MailSettings(
            host="127.0.0.1", port=controller.port, sender="auth@app.example", timeout=PATIENCE
        )
        gone = MailSettings(host="127.0.0.1", port=9, sender="auth@app.example", timeout=PATIENCE)
        yield TransportUnderTest(SmtpTransport(settings), lambda: postbox.received, SmtpTransport(gone))
        controller.stop()


class TestFileTransport(MailTransportContract):
    @pytest.fixture
    def under_test(self, tmp_path: Path) -> TransportUnderTest:
        transport = FileTransport(MailSettings(directory="mail"), root=tmp_path)
        (tmp_path / "file").write_text("")

        def received() -> list[ReceivedMail]:
            mails = [
                message_from_bytes(file.read_bytes(), policy=default)
                for file in transport.directory.glob("*.eml")
            ]
            return [ReceivedMail(tuple(to.addr_spec for to in m["To"].addresses), m) for m in mails]

        broken = FileTransport(MailSettings(directory="file"), root=tmp_path)
        return TransportUnderTest(transport, received, broken)


UNSAFE = '''
import smtplib, threading, time
from email import message_from_string
from email.message import EmailMessage
from email.policy import default

import pytest

from asok_auth_core.contracts import MailTransport
from asok_auth_core.errors import MailTemporary
from asok_auth_core.mail.message import Sender, build_message
from asok_auth_core.testing.mail_transport import MailTransportContract, ReceivedMail, TransportUnderTest


class Gone(MailTransport):
    def send(self, mail):
        raise ConnectionRefusedError(mail.to)


class Injectable(MailTransport):
    """Pastes the fields into a text, and takes commas for a list."""

    def __init__(self):
        self.received = []

    def send(self, mail):
        text = f"To: {mail.to}\\nSubject: {mail.subject}\\n\\n{mail.text}"
        message = message_from_string(text, policy=default)
        recipients = [*mail.to.split(","), *filter(None, [message["Bcc"]])]
        self.received.append(ReceivedMail(tuple(recipients), message))


class Racy(MailTransport):
    """Keeps the mail in an attribute while it is being sent."""

    def __init__(self):
        self.received = []

    def send(self, mail):
        self.mail = mail
        build_message(mail, Sender("auth@app.example"), clock=time.time, random=bytes)
        time.sleep(0.001)
        message = build_message(self.mail, Sender("auth@app.example"), clock=time.time, random=bytes)
        self.received.append(ReceivedMail((self.mail.to,), message))


class Exhausted(Racy):
    """Rejects what other threads send."""

    def send(self, mail):
        if threading.current_thread() is not threading.main_thread():
            raise MailTemporary("Another mail is being sent.")
        super().send(mail)


class TestInjectable(MailTransportContract):
    @pytest.fixture
    def under_test(self):
        transport = Injectable()
        return TransportUnderTest(transport, lambda: transport.received, Gone())


class TestRacy(MailTransportContract):
    @pytest.fixture
    def under_test(self):
        transport = Racy()
        return TransportUnderTest(transport, lambda: transport.received, Gone())


class TestExhausted(MailTransportContract):
    @pytest.fixture
    def under_test(self):
        transport = Exhausted()
        return TransportUnderTest(transport, lambda: transport.received, Gone())


class TestForgotten(MailTransportContract):
    pass
'''


def test_each_fault_fails_the_suite(tmp_path: Path) -> None:
    (tmp_path / "test_unsafe.py").write_text(UNSAFE)
    arguments = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*arguments, f"--rootdir={tmp_path}", "test_unsafe.py"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = {
        tuple(line.split()[1].split("::")[1:])
        for line in run.stdout.splitlines()
        if line.startswith(("FAILED", "ERROR"))
    }
    of = {
        name: {test.partition("[")[0] for kind, test in failed if kind == name}
        for name in ("TestInjectable", "TestRacy", "TestExhausted", "TestForgotten")
    }
    assert of["TestInjectable"] >= {
        "test_recipient_subject_text_and_html_arrive",
        "test_anything_but_one_email_address_is_rejected",
        "test_a_subject_that_would_start_another_header_is_rejected",
        "test_an_unreachable_service_is_a_mail_error_without_secrets",
    }, run.stdout
    assert of["TestRacy"] == {
        "test_mails_sent_at_the_same_time_are_not_mixed_up",
        "test_an_unreachable_service_is_a_mail_error_without_secrets",
    }
    assert "test_mails_sent_at_the_same_time_are_not_mixed_up" in of["TestExhausted"]
    contract = {name for name in vars(MailTransportContract) if name.startswith("test_")}
    assert of["TestForgotten"] == contract
