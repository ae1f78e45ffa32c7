"""The console transport prints, and only where that is harmless."""

from __future__ import annotations

import io

import pytest

from asok_auth_core.errors import EmailInvalid, MailTemporary, SettingError
from asok_auth_core.mail.console import ConsoleTransport
from asok_auth_core.settings import MailSettings
from asok_auth_core.types import OutgoingMail


def test_headers_and_text_are_printed() -> None:
    stream = io.StringIO()
    transport = ConsoleTransport(MailSettings(), debug=True, stream=stream, clock=lambda: 0.0)
    transport.send(OutgoingMail("ann@app.example", "Grüße", "https://app.example/link\n", "<p>html</p>"))
    shown = stream.getvalue()
    for line in ("To: ann@app.example", "Subject: Grüße", "https://app.example/link"):
        assert line in shown.splitlines()
    assert "<p>" not in shown


def test_without_a_stream_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleTransport(MailSettings(), debug=True).send(OutgoingMail("ann@app.example", "s", "body"))
    assert "body" in capsys.readouterr().err


def test_it_is_rejected_outside_debug() -> None:
    """Links that log in do not belong in a server's output."""
    with pytest.raises(SettingError, match="MAIL_TRANSPORT"):
        ConsoleTransport(MailSettings(), debug=False)


def test_injections_are_rejected() -> None:
    stream = io.StringIO()
    with pytest.raises(EmailInvalid):
        ConsoleTransport(MailSettings(), debug=True, stream=stream).send(
            OutgoingMail("a@b.example\n", "s", "t")
        )
    assert stream.getvalue() == ""


def test_a_closed_stream_is_a_temporary_failure() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(MailTemporary):
        ConsoleTransport(MailSettings(), debug=True, stream=stream).send(
            OutgoingMail("a@b.example", "s", "t")
        )
