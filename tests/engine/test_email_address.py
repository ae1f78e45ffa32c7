"""One text in, one safe address out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.provisional import domains

from asok_auth_core.engine.email_address import account_key, email_domain, parse_email, same_account
from asok_auth_core.errors import EmailInvalid


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ann@app.example", "ann@app.example"),
        ("Ann@APP.Example", "Ann@app.example"),
        ("  ann@app.example ", "ann@app.example"),
        ("a.n+tag_o'neil@mail.app.example", "a.n+tag_o'neil@mail.app.example"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--Bcher-KVA.example", "ann@xn--bcher-kva.example"),
        ("ann@straße.example", "ann@xn--strae-oqa.example"),
        ("ann@app\uff0eexample", "ann@app.example"),
        ("ann@\uff41pp.example", "ann@app.example"),
        ("ann@app.test", "ann@app.test"),
    ],
)
def test_an_email_has_one_normalized_form(text: str, address: str) -> None:
    assert parse_email(text) == address


@pytest.mark.parametrize(
    "text",
    [
        # NextAuth CVE-2022-35924: a list of which one is verified and the other gets the account
        "ann@app.example,eve@evil.example",
        "ann@app.example, eve@evil.example",
        "ann@app.example;eve@evil.example",
        "ann@app.example eve@evil.example",
        "ann@app.example,",
        ",ann@app.example",
        "ann@app.example@evil.example",
        "ann@evil.example,@app.example",
        "@evil.example:ann@app.example",
        "team:ann@app.example;",
        # display names, comments, quotes, literals
        "Ann <ann@app.example>",
        "<ann@app.example>",
        '"ann"@app.example',
        '"ann@evil.example,"@app.example',
        "ann(comment)@app.example",
        "ann@app.example(comment)",
        "ann@[127.0.0.1]",
        "ann@[IPv6:::1]",
        # encoded words (RFC 2047), which Python's email package decodes while it writes a header
        "=?utf-8?q?=0D=0ABcc=3Aeve=40evil.example?=@app.example",
        "=?utf-8?q?eve=40evil.example=2C?=@app.example",
        "=?utf-8?b?ZXZlQGV2aWwuZXhhbXBsZSw=?=@app.example",
        "x=?us-ascii?q?=3E?=@app.example",
        # control characters and white space
        "ann@app.example\n",
        "ann@app.example\r\nBcc: eve@evil.example",
        "ann\r\nBcc: eve@evil.example\r\n@app.example",
        "ann@app.example\x00",
        "ann\x7f@app.example",
        "ann@app\t.example",
        "an n@app.example",
        "ann@app.example\u2028Bcc: eve@evil.example",
        "ann\u00a0@app.example",
        "ann\u200b@app.example",
        "ann@app.\u202eexample",
        "ann\ud800@app.example",
        "ann@app\ud800.example",
        # look-alikes before the @: Cyrillic, fullwidth, Kelvin sign, dotless i
        "\u0430nn@app.example",
        "\uff41nn@app.example",
        "an\u212a@app.example",
        "ann\u0131@app.example",
        # not complete
        "",
        " ",
        "ann",
        "@",
        "ann@",
        "@app.example",
        "ann@app",
        "ann@localhost",
        "ann@mail.localhost",
        "ann@test",
        "ann@app..example",
        "ann@.app.example",
        "ann@app.example.",
        ".ann@app.example",
        "ann.@app.example",
        "an..n@app.example",
        "ann@-app.example",
        "ann@app_mail.example",
        "ann@127.0.0.1",
        "ann@app.123",
        "ann@xn--a.example",
        "ann@ab--cd.example",
        # too long
        "a" * 65 + "@app.example",
        "ann@" + "b" * 64 + ".example",
        "ann@" + "b." * 125 + "example",
        "ann@" + "ü." * 83 + "example",
        "a" * 10_240 + "@app.example",
        "ann@" + "xn--" + "a" * 10_240 + ".example",
        "ann@app.example," * 640,
    ],
)
def test_anything_but_one_email_is_rejected_without_echoing_it(text: str) -> None:
    with pytest.raises(EmailInvalid) as caught:
        parse_email(text)
    assert caught.value.status == 400
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert not any(part in caught.value.message for part in ("ann", "eve@", "evil"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("ann@app.example, eve@app.example", "one email address"),
        ("Ann <ann@app.example>", "without a name"),
        ("ann@app.exa mple", "must not contain spaces"),
        ("änn@app.example", "Before the @"),
        ("ann@app", "name@example.com"),
        ("x" * 300 + "@app.example", "limit is 254"),
        ("", "enter an email address"),
    ],
)
def test_each_common_mistake_has_its_own_message(text: str, part: str) -> None:
    with pytest.raises(EmailInvalid, match=part):
        parse_email(text)


def test_localhost_passes_only_where_allowed() -> None:
    assert parse_email("Ann@LocalHost", allow_localhost=True) == "Ann@localhost"
    with pytest.raises(EmailInvalid):
        parse_email("ann@localhost", allow_localhost=False)
    with pytest.raises(EmailInvalid):
        parse_email("an n@localhost", allow_localhost=True)
    with pytest.raises(EmailInvalid):
        parse_email("ann@otherhost", allow_localhost=True)


def test_the_longest_email_passes_and_one_byte_more_does_not() -> None:
    domain = ".".join(["b" * 63] * 3)[: 254 - 65 - len(".example")] + ".example"
    longest = "a" * 64 + "@" + domain
    assert len(longest) == 254
    assert parse_email(longest) == longest
    with pytest.raises(EmailInvalid):
        parse_email(longest.replace("@", "@b"))


def test_look_alike_domains_differ_when_normalized() -> None:
    assert parse_email("ann@p\u0430ypal.example") != parse_email("ann@paypal.example")


def test_account_key_folds_case_and_nothing_else() -> None:
    assert account_key("Ann.Lee+Tag@app.example") == "ann.lee+tag@app.example"
    assert account_key("annlee@app.example") != account_key("ann.lee@app.example")
    with pytest.raises(EmailInvalid):
        account_key("\u212aate@app.example")


def test_spellings_of_one_email_share_an_account_and_look_alikes_do_not() -> None:
    assert same_account("Ann@app.example", "ann@app.example")
    assert not same_account("ann@app.example", "ann+tag@app.example")
    assert not same_account("\u212aate@app.example", "kate@app.example")
    assert not same_account("\u212aate@app.example", "\u212aate@app.example")
    assert not same_account(None, None)
    assert not same_account("", "")
    assert not same_account("ann@app.example", None)


def test_address_domain_is_what_follows_the_at() -> None:
    assert email_domain("Ann@App.example") == "app.example"


@given(st.text(max_size=300))
def test_any_text_is_rejected_or_gives_one_printable_ascii_email(text: str) -> None:
    try:
        address = parse_email(text)
    except EmailInvalid:
        return
    assert_is_one_address(address)


_locals = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[A-Za-z0-9]{1,10})?", fullmatch=True)
_unicode_labels = st.text(
    st.characters(categories=("Ll", "Lu", "Lo", "Nd"), max_codepoint=0x2FFF), min_size=1, max_size=12
)


@given(_locals, st.one_of(domains(max_length=100), _unicode_labels.map(lambda label: f"{label}.example")))
def test_normalizing_is_idempotent_and_the_key_ignores_case(local: str, domain: str) -> None:
    try:
        address = parse_email(f"{local}@{domain}")
    except EmailInvalid:
        return
    assert_is_one_address(address)
    assert parse_email(address) == address
    assert account_key(parse_email(f"{local.swapcase()}@{domain}")) == account_key(address)


@given(_locals, st.sampled_from(["\r", "\n", "\x00", ",", ";", "<", "\u2029", "=?"]), st.integers(0, 40))
def test_one_invalid_character_anywhere_rejects_the_email(local: str, bad: str, position: int) -> None:
    good = f"{local}@mail.app.example"
    place = position % (len(good) + 1)
    with pytest.raises(EmailInvalid):
        parse_email(good[:place] + bad + good[place:])


def assert_is_one_address(address: str) -> None:
    assert address.isascii()
    assert address.isprintable()
    assert address.count("@") == 1
    assert len(address) <= 254
    assert not set(' ,;<>"()[]:\\') & set(address)
    domain = address.rpartition("@")[2]
    assert "." in domain
    assert domain == domain.lower()


def test_parsing_imports_no_module_that_does_io() -> None:
    code = (
        "import sys, asok_auth_core.engine.email_address;"
        "print(sorted({'asok', 'pluggy', 'requests', 'dns', 'smtplib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
