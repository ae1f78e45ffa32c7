"""The client IP behind proxies."""

from __future__ import annotations

import pytest
from asok import Asok

from asok_auth_core.testing.apps import asgi_call


class TestBehindAProxy:
    @pytest.mark.parametrize(
        ("trusted", "seen"),
        [
            (None, "127.0.0.1"),
            ("", "127.0.0.1"),
            ("10.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "10.0.0.7"),
            (" 127.0.0.1, 10.0.0.0/8 ", "192.0.2.9"),
            (["127.0.0.1", "10.0.0.7"], "192.0.2.9"),
        ],
        ids=["none", "empty", "another", "one", "two", "list"],
    )
    @pytest.mark.requirement("SECURITY-33")
    def test_only_trusted_proxies_are_believed(self, app: Asok, trusted: object, seen: str) -> None:
        app.config["TRUSTED_PROXIES"] = trusted
        forwarded = ("X-Forwarded-For", "203.0.113.1, 192.0.2.9, 10.0.0.7")
        assert asgi_call(app, "GET", "/client", [forwarded])[2].split("<")[0].strip() == seen
