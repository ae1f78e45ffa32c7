"""The QR code: SVG that stands in the page and holds nothing but dots."""

from __future__ import annotations

from xml.etree import ElementTree

import segno
from asok_totp.qr import svg
from asok_totp.totp import Parameters, new_secret, provisioning_uri

URI = provisioning_uri(new_secret(b"s" * 20), Parameters(), account="ann@example.org", issuer="Shop")


def test_the_svg_draws_the_uri_and_does_not_contain_it() -> None:
    image = svg(URI, "QR code <for> ann")
    root = ElementTree.fromstring(image)
    title = root.find(".//{*}title")
    assert root.tag.endswith("svg")
    assert title is not None
    assert title.text == "QR code <for> ann"
    assert "otpauth" not in image
    assert "secret" not in image
    assert new_secret(b"s" * 20) not in image
    assert "<script" not in image
    assert "style=" not in image  # a content security policy without 'unsafe-inline' shows it


def test_the_modules_encode_the_uri() -> None:
    other = URI.replace("Shop", "Shoq")
    expected = segno.make(URI, error="m", micro=False).svg_inline(
        omitsize=True, border=4, dark="#000", light="#fff", title="x", svgclass="qr", lineclass=None
    )
    assert svg(URI, "x") == expected
    assert "viewBox=" in expected
    assert "width=" not in expected, "the page gives it a size"
    assert svg(other, "x") != expected


def test_the_longest_email_still_fits() -> None:
    account = "a" * 64 + "@" + "b" * 189
    uri = provisioning_uri(new_secret(b"s" * 64), Parameters("SHA512", 8), account=account, issuer="é" * 40)
    assert svg(uri, "x").startswith("<svg")
