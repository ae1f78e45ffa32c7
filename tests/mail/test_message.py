"""A message holds its parts and no injected header."""

from __future__ import annotations

from contextlib import suppress
from email import message_from_bytes
from email.errors import HeaderParseError
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asok_auth_core.errors import EmailInvalid, MailPermanent, SettingError
from asok_auth_core.mail.message import Sender, build_message, recipient_of
from asok_auth_core.types import OutgoingMail

SENDER = Sender.parse("App <auth@app.example>")
HEADERS = {"from", "to", "subject", "date", "message-id", "auto-submitted"}
MIME_HEADERS = {"mime-version", "content-type", "content-transfer-encoding"}


def build(mail: OutgoingMail, sender: Sender = SENDER) -> EmailMessage:
    message = build_message(mail, sender, clock=lambda: 1_700_000_000.0, random=lambda n: b"\x07" * n)
    return message_from_bytes(message.as_bytes(), policy=default)  # type: ignore[arg-type]


def _lines(part: EmailMessage) -> str:
    """Its text with the line ends of Python; mails have those of RFC 5322."""
    return str(part.get_content()).replace("\r\n", "\n")


def test_text_and_html_arrive_with_every_header_a_mail_needs() -> None:
    sent = build(OutgoingMail("Ann@App.example", "Your link", "text: ü\n", "<p>html: ü</p>\n"))
    assert sent["From"] == "App <auth@app.example>"
    assert sent["To"] == "Ann@app.example"
    assert sent["Subject"] == "Your link"
    assert sent["Date"].datetime.timestamp() == 1_700_000_000
    assert sent["Message-ID"] == "<" + "07" * 16 + "@app.example>"
    assert sent["Auto-Submitted"] == "auto-generated"
    text, html = sent.get_body(("plain",)), sent.get_body(("html",))
    assert text is not None
    assert html is not None
    assert _lines(text) == "text: ü\n"
    assert _lines(html) == "<p>html: ü</p>\n"


def test_a_mail_without_html_has_one_part() -> None:
    sent = build(OutgoingMail("ann@app.example", "Hello", "text\n"))
    assert sent.get_content_type() == "text/plain"
    assert _lines(sent) == "text\n"


def test_the_message_is_ascii_with_short_lines_and_crlf() -> None:
    link = "https://app.example/auth/magic/confirm?token=" + "a" * 2000
    mail = OutgoingMail("ann@app.example", "Grüße " * 30, f"ü {link}\n", f"<a href='{link}'>ü</a>")
    raw = build_message(mail, SENDER, clock=lambda: 0.0, random=bytes).as_bytes()
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    text = build(mail).get_body(("plain",))
    assert text is not None
    assert link in text.get_content()


@pytest.mark.parametrize(
    "bad",
    [
        "\r\nBcc: eve@evil.example",
        "\nBcc: x",
        "\r",
        "\x00",
        "\x85",
        "\u2028",
        "\ud800",
        "=?utf-8?q?=0D=0ABcc:_x?=",
    ],
)
def test_a_subject_with_a_control_character_is_rejected(bad: str) -> None:
    with pytest.raises(MailPermanent, match="subject"):
        build(OutgoingMail("ann@app.example", f"Your link{bad}", "text"))


@pytest.mark.parametrize(
    "to",
    [
        "=?utf-8?q?=0D=0ABcc=3Aeve=40evil.example?=@app.example",
        "ann@app.example, eve@evil.example",
        "ann@app.example\r\nBcc: eve@evil.example",
        "Ann <a@b.example>",
    ],
)
def test_a_recipient_that_is_not_one_email_is_rejected(to: str) -> None:
    with pytest.raises(EmailInvalid):
        build(OutgoingMail(to, "Your link", "text"))


@pytest.mark.parametrize("bad", ["\x00", "\x1b[2J", "\ud800"])
def test_a_body_with_a_control_character_is_rejected(bad: str) -> None:
    with pytest.raises(MailPermanent, match="text"):
        build(OutgoingMail("ann@app.example", "s", bad))
    with pytest.raises(MailPermanent, match="HTML"):
        build(OutgoingMail("ann@app.example", "s", "text", bad))


def test_an_oversized_mail_is_rejected() -> None:
    with pytest.raises(MailPermanent, match="at most 255"):
        build(OutgoingMail("ann@app.example", "s" * 256, "text"))
    with pytest.raises(MailPermanent, match="at most 1,000,000"):
        build(OutgoingMail("ann@app.example", "s", "t" * 1_000_001))


@pytest.mark.parametrize(
    ("text", "email", "name"),
    [
        ("auth@app.example", "auth@app.example", ""),
        ("App <auth@app.example>", "auth@app.example", "App"),
        ('"App, Inc." <auth@app.example>', "auth@app.example", "App, Inc."),
        ("Büro <auth@bücher.example>", "auth@xn--bcher-kva.example", "Büro"),
        ("auth@localhost", "auth@localhost", ""),
    ],
)
def test_a_sender_is_an_email_address_with_or_without_a_name(text: str, email: str, name: str) -> None:
    sender = Sender.parse(text)
    assert (sender.email, sender.name) == (email, name)
    sent = build(OutgoingMail("ann@app.example", "s", "t"), sender)
    (shown,) = sent["From"].addresses
    assert (shown.addr_spec, shown.display_name) == (email, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "App",
        "App <>",
        "a@b.example, c@d.example",
        "App\r\nBcc: x <auth@app.example>",
        "=?utf-8?q?=0D=0ABcc:_x?= <auth@app.example>",
        "auth@app",
    ],
)
def test_an_invalid_sender_is_an_error_naming_the_setting(text: str) -> None:
    with pytest.raises(SettingError, match=r'AUTH\["MAIL"\]\["SENDER"\]'):
        Sender.parse(text)


def test_a_mails_repr_holds_no_body() -> None:
    """A log line with a mail in it must hold no link."""
    shown = repr(OutgoingMail("ann@app.example", "Your link", "CANARY-TEXT", "CANARY-HTML"))
    assert "CANARY" not in shown


_injections = st.sampled_from(
    [
        "\r\nBcc: eve@evil.example",
        "\nTo: eve@evil.example",
        "\r\n\r\nbody",
        "=?utf-8?q?=0D=0ABcc:_x?=",
        ",",
        "\x0b",
        "ü",
    ]
)
_field = st.lists(st.one_of(st.text(max_size=60), _injections), max_size=4).map("".join)


@given(
    to=st.one_of(st.just("ann@app.example"), _field.map(lambda text: f"{text}@app.example"), _field),
    subject=_field,
    text=_field,
    html=st.none() | _field,
)
def test_any_input_gives_only_our_headers_and_one_recipient(
    to: str, subject: str, text: str, html: str | None
) -> None:
    try:
        sent = build(OutgoingMail(to, subject, text, html))
    except (EmailInvalid, MailPermanent):
        return
    assert {name.lower() for name in sent} - MIME_HEADERS == HEADERS
    assert len(sent.keys()) == len({name.lower() for name in sent})
    assert len(sent["To"].addresses) == 1
    assert recipient_of(sent) == sent["To"].addresses[0].addr_spec
    assert sent["From"] == "App <auth@app.example>"
    parts = [part.get_content_type() for part in sent.walk() if not part.is_multipart()]
    assert parts == (["text/plain"] if html is None else ["text/plain", "text/html"])
    for part in sent.walk():
        if part is not sent:
            assert {name.lower() for name in part} <= MIME_HEADERS


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=255))
def test_a_subject_arrives_unchanged(subject: str) -> None:
    assume("=?" not in subject)
    assert build(OutgoingMail("ann@app.example", subject, "t"))["Subject"].split() == subject.split()


def test_no_second_header_is_written_even_without_the_subject_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python before the fix of CVE-2024-6923 would write the second header."""
    monkeypatch.setattr("asok_auth_core.mail.message.ENCODED_WORD", "never")
    headers: set[str] = set()
    with suppress(MailPermanent):
        headers = {
            name.lower()
            for name in build(OutgoingMail("ann@app.example", "=?utf-8?q?=0D=0ABcc:_eve@evil.example?=", "t"))
        }
    assert headers - MIME_HEADERS in (set(), HEADERS)


def test_a_message_python_cannot_write_is_a_permanent_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python since the fix of CVE-2024-6923 raises instead of writing it."""

    def reject(message: EmailMessage) -> bytes:
        raise HeaderParseError("Header value appears to contain an embedded header")

    monkeypatch.setattr(EmailMessage, "as_bytes", reject)
    with pytest.raises(MailPermanent, match=r"could not be encoded \(HeaderParseError\)"):
        build(OutgoingMail("ann@app.example", "s", "t"))
