"""Magic links hold to the contract of a login method, by link and by code."""

from __future__ import annotations

import re

import asok_magic_link

from asok_auth_core.plugin import Auth, WebResponse
from asok_auth_core.testing import Browser, LoginMethodContract, RoutesContract, TestParts


def ask(parts: TestParts, auth: Auth, browser: Browser) -> str:
    browser.post("/auth/magic/send", {"email": "ada@example.com"})
    assert auth.outbox.flush(60) == 0
    return parts.mail.sent[-1].text


class TestByLink(LoginMethodContract):
    def plugin(self) -> object:
        return asok_magic_link

    def log_in(self, auth: Auth, parts: TestParts, browser: Browser) -> WebResponse:
        [token] = re.findall(r"callback\?token=(\S+)", ask(parts, auth, browser))
        browser.get(f"/auth/magic/callback?token={token}")
        return browser.post("/auth/magic/callback", {"token": token})


class TestByCode(LoginMethodContract):
    def plugin(self) -> object:
        return asok_magic_link

    def log_in(self, auth: Auth, parts: TestParts, browser: Browser) -> WebResponse:
        [code] = re.findall(r"\n    (\S+)\n", ask(parts, auth, browser))
        return browser.post("/auth/magic/code", {"email": "ada@example.com", "code": code})


class TestItsPages(RoutesContract):
    def plugin(self) -> object:
        return asok_magic_link
