"""The contract suite of a mail transport, as a class of tests to inherit.

    class TestMyTransport(MailTransportContract):
        @pytest.fixture
        def under_test(self, tmp_path):
            service = FakeService(tmp_path)
            yield TransportUnderTest(MyTransport(service.url), service.received, MyTransport("http://127.0.0.1:9"))
            service.stop()

Needs pytest. The tests focus on security: a login link must reach exactly one recipient.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage

import pytest

from ..contracts import MailTransport
from ..errors import EmailInvalid, MailError, MailPermanent
from ..types import OutgoingMail
from .waiting import Stopwatch

CANARY = "canary-7Hc2"
ANSWER_WITHIN = 30.0
"""Seconds within which a transport must fail if its service is not available."""


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """An email as the receiving side got it."""

    recipients: tuple[str, ...]
    """The addresses it was delivered to, from the envelope (SMTP's RCPT TO), not from the header To."""
    message: EmailMessage
    """The message as it arrived, parsed with ``email.policy.default``. For a service that takes JSON, build
    it from what the service was sent: Subject, a text/plain body and, if there is one, a text/html body."""


@dataclass(frozen=True, slots=True)
class TransportUnderTest:
    """What the suite of mail transports tests."""

    transport: MailTransport
    received: Callable[[], Sequence[ReceivedMail]]
    """Returns every mail that has arrived so far."""
    broken: MailTransport
    """One of the same kind whose service is down: a port without a listener, a folder that is a file."""


class MailTransportContract:
    """Inherit, name the class ``Test…`` and fill in :meth:`under_test`."""

    @pytest.fixture
    def under_test(self) -> TransportUnderTest:
        """A new transport that has sent nothing; may be a generator that cleans up."""
        raise NotImplementedError("Fill in the fixture under_test.")

    def test_recipient_subject_text_and_html_arrive(self, under_test: TransportUnderTest) -> None:
        mail = OutgoingMail(
            "Ann.Lee+tag@app.example", "Ihr Link für «App»", "Grüße\n\nzwei\n", "<p>Grüße</p>\n"
        )
        under_test.transport.send(mail)
        received = _only(under_test)
        assert received.recipients == ("Ann.Lee+tag@app.example",)
        assert received.message["Subject"] == mail.subject
        assert _body(received, "plain") == mail.text.strip()
        assert _body(received, "html") == (mail.html or "").strip()

    def test_a_mail_without_html_has_only_its_text(self, under_test: TransportUnderTest) -> None:
        under_test.transport.send(OutgoingMail("ann@app.example", "Hello", "text"))
        received = _only(under_test)
        assert _body(received, "plain") == "text"
        assert received.message.get_body(("html",)) is None

    def test_a_long_link_arrives_unbroken(self, under_test: TransportUnderTest) -> None:
        link = "https://app.example/auth/magic/confirm?token=" + "aB3-_.=" * 200
        under_test.transport.send(
            OutgoingMail("ann@app.example", "Hello", f"{link}\n", f'<a href="{link}">x</a>')
        )
        received = _only(under_test)
        assert link in _body(received, "plain")
        assert link in _body(received, "html")

    @pytest.mark.parametrize(
        "to",
        [
            "ann@app.example,eve@evil.example",
            "ann@app.example, eve@evil.example",
            "ann@app.example;eve@evil.example",
            "ann@app.example eve@evil.example",
            "Ann <eve@evil.example>",
            "ann@app.example\r\nBcc: eve@evil.example",
            "ann@app.example\nTo: eve@evil.example",
            "ann@app.example>\r\nRCPT TO:<eve@evil.example",
            "=?utf-8?q?=0D=0ABcc=3Aeve=40evil.example?=@app.example",
            "ann@app.example\x00",
            "",
        ],
    )
    def test_anything_but_one_email_address_is_rejected(
        self, under_test: TransportUnderTest, to: str
    ) -> None:
        with pytest.raises((EmailInvalid, MailPermanent)):
            under_test.transport.send(OutgoingMail(to, "Hello", "text"))
        assert list(under_test.received()) == []

    @pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "=?utf-8?q?=0D=0ABcc:_eve=40evil.example?="])
    def test_a_subject_that_would_start_another_header_is_rejected(
        self, under_test: TransportUnderTest, end: str
    ) -> None:
        with pytest.raises((EmailInvalid, MailPermanent)):
            under_test.transport.send(
                OutgoingMail("ann@app.example", f"Hello{end}Bcc: eve@evil.example", "text")
            )
        assert list(under_test.received()) == []

    @pytest.mark.parametrize("end", ["\r\n.\r\n", "\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r"])
    def test_a_body_cannot_start_another_mail(self, under_test: TransportUnderTest, end: str) -> None:
        smuggled = f"one{end}MAIL FROM:<eve@evil.example>\r\nRCPT TO:<eve@evil.example>\r\nDATA\r\ntwo"
        under_test.transport.send(OutgoingMail("ann@app.example", "Hello", smuggled))
        received = _only(under_test)
        assert received.recipients == ("ann@app.example",)
        assert _body(received, "plain").startswith("one")
        assert _body(received, "plain").endswith("two")

    def test_a_body_cannot_become_a_header(self, under_test: TransportUnderTest) -> None:
        under_test.transport.send(OutgoingMail("ann@app.example", "Hello", "Bcc: eve@evil.example\n\ntext"))
        received = _only(under_test)
        assert received.message["Bcc"] is None
        assert received.recipients == ("ann@app.example",)

    def test_mails_sent_at_the_same_time_are_not_mixed_up(self, under_test: TransportUnderTest) -> None:
        threads, each = 8, 5
        start = threading.Barrier(threads)
        problems: list[Exception] = []

        def send(number: int) -> None:
            start.wait()
            for index in range(each):
                name = f"p{number}x{index}"
                try:
                    under_test.transport.send(
                        OutgoingMail(f"{name}@app.example", f"for {name}", f"link {name}")
                    )
                except MailError as error:
                    problems.append(error)

        workers = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert problems == []
        seen = sorted(
            (received.recipients, str(received.message["Subject"]), _body(received, "plain"))
            for received in under_test.received()
        )
        names = [f"p{number}x{index}" for number in range(threads) for index in range(each)]
        assert seen == sorted(((f"{name}@app.example",), f"for {name}", f"link {name}") for name in names)

    def test_an_unreachable_service_is_a_mail_error_without_secrets(
        self, under_test: TransportUnderTest
    ) -> None:
        mail = OutgoingMail(f"{CANARY}@app.example", CANARY, CANARY, CANARY)
        with Stopwatch() as watch, pytest.raises(MailError) as caught:
            under_test.broken.send(mail)
        assert watch.seconds < ANSWER_WITHIN
        assert caught.value.message
        assert CANARY not in caught.value.message
        assert caught.value.__cause__ is None or CANARY not in str(caught.value.__cause__)

    def test_a_failure_does_not_affect_the_next_mail(self, under_test: TransportUnderTest) -> None:
        with pytest.raises((EmailInvalid, MailPermanent)):
            under_test.transport.send(OutgoingMail("nobody", "Hello", "text"))
        under_test.transport.send(OutgoingMail("ann@app.example", "Hello", "text"))
        assert _only(under_test).recipients == ("ann@app.example",)

    def test_close_may_be_called_twice(self, under_test: TransportUnderTest) -> None:
        under_test.transport.send(OutgoingMail("ann@app.example", "Hello", "text"))
        under_test.transport.close()
        under_test.transport.close()
        assert len(under_test.received()) == 1


def _only(under_test: TransportUnderTest) -> ReceivedMail:
    (received,) = under_test.received()
    return received


def _body(received: ReceivedMail, kind: str) -> str:
    """The text of one body, with Unix line endings and stripped."""
    part = received.message.get_body((kind,))
    assert part is not None, f"the mail has no text/{kind} part"
    return "\n".join(str(part.get_content()).splitlines()).strip()
