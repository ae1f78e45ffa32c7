"""The pictures of README and docs: ``nox -s screenshots``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser


def test_pictures(another, totp, tmp_path):
    folder = Path(os.environ.get("PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    ada, address = another(), "ada@example.org"

    def picture(name: str) -> None:
        for scheme in ("light", "dark"):
            ada.page.emulate_media(color_scheme=scheme)
            ada.page.set_viewport_size({"width": 480, "height": 500})
            ada.page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
        assert (folder / f"{name}-dark.png").stat().st_size < 90_000

    ada.goto("/auth/login")
    picture("login")
    ada.fill("Email address", address)
    ada.press("Send me a link and a code")
    ada.page.evaluate("document.activeElement.blur()")
    picture("code")
    ada.goto(ada.mail(address)[0])
    ada.press("Log in")
    ada.goto("/auth/totp")
    ada.press("Set up an authenticator app")
    picture("second-factor")
    ada.page.locator("summary").click()
    secret = ada.page.locator(".asok-auth-secret").text_content()
    ada.fill("Code shown in the app", totp(secret, -1))
    ada.press("Turn on")
    picture("recovery-codes")
    ada.create_token("Backup")
    ada.goto("/auth/account")
    picture("account")
    assert len(list(folder.glob("*-dark.png"))) == len(list(folder.glob("*-light.png"))) == 5
    assert re.search("Backup", ada.page.inner_text("main"))
