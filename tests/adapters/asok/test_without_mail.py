"""An app needs a mail server only if a loaded plugin does not work without mail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.errors import SettingError
from asok_auth_core.plugin import PluginManifest, Settings, hookimpl
from asok_auth_core.testing.apps import asgi_call, asok_app

from .apps import ENTER_PAGE, Plugin

NOTICES_ONLY = {"EMAIL_CHANGE": False, "DELETION": False}
WITHOUT = {
    "core alone": ([], {}),
    "providers only": (["asok-oauth-google", "asok-oauth-github"], {}),
    "authenticator apps": (["asok-totp"], {}),
    "notices alone": (["asok-auth-account"], {"ACCOUNT": NOTICES_ONLY}),
}
WITH = {
    "magic links": (["asok-magic-link"], {}, "magic"),
    "a change of the email address": (["asok-auth-account"], {"ACCOUNT": {"DELETION": False}}, "account"),
    "invitations": (["asok-auth-account"], {"ACCOUNT": {**NOTICES_ONLY, "SIGN_UP": "invite"}}, "account"),
}


def app_without_mail(
    root: Path, loaded: list[str], auth: Mapping[str, object], **arguments: Any
) -> AbstractContextManager[Asok]:
    """An app with these plugins, without any setting of mail."""
    settings = {"PLUGINS": loaded, "MAIL_TRANSPORT": "smtp", **auth}
    return asok_app(root, auth=settings, config={"MAIL_FROM": None}, **arguments)


@pytest.mark.parametrize(("plugins", "auth"), WITHOUT.values(), ids=WITHOUT)
def test_without_such_a_plugin_an_app_starts_and_serves(
    tmp_path: Path, plugins: list[str], auth: Mapping[str, object]
) -> None:
    with app_without_mail(tmp_path, plugins, auth) as app:
        assert TestClient(app).get("/auth/login").status_code == 200
        assert asgi_call(app, "GET", "/auth/login")[0] == 200
        found = app.extensions["AuthExtension"].auth
        [finding] = [one for one in found.plugins.checks(found) if one.check == "mail"]
        assert finding.severity == "info"
        assert "no mail server" in finding.message


@pytest.mark.parametrize(("plugins", "auth", "name"), WITH.values(), ids=WITH)
def test_with_one_the_start_names_setting_and_plugin(
    tmp_path: Path, plugins: list[str], auth: Mapping[str, object], name: str
) -> None:
    with (
        pytest.raises(SettingError, match=rf"MAIL_HOST.* is missing: .*mail is sent by: '{name}[a-z-]*'\."),
        app_without_mail(tmp_path, plugins, auth),
    ):
        pass


def test_a_mail_server_that_is_set_is_checked_in_any_app(tmp_path: Path) -> None:
    config = {"MAIL_HOST": "smtp.app.example", "MAIL_FROM": None}
    with (
        pytest.raises(SettingError, match="MAIL_FROM"),
        asok_app(tmp_path, auth={"PLUGINS": [], "MAIL_TRANSPORT": "smtp"}, config=config),
    ):
        pass


def test_notices_are_events_then(tmp_path: Path) -> None:
    plugin = Plugin()
    pages = {"enter.py": ENTER_PAGE}
    plugins, auth = WITHOUT["notices alone"]
    with app_without_mail(tmp_path, plugins, auth, pages=pages, plugins=[plugin]) as app:
        MODELS_REGISTRY["User"].create(email="ann@app.example")
        for _ in range(2):  # the second browser is a new one, which a notice would tell of
            assert TestClient(app).get("/enter").status_code == 302
        app.extensions["AuthExtension"].auth.outbox.flush(60)
    names = [event.name for event in plugin.events]
    assert names.count("login.succeeded") == 2
    assert not [name for name in names if name.startswith(("mail.", "notice."))]


@pytest.mark.parametrize("needs", [True, False, None, "raises"])
def test_a_manifest_says_so_for_its_plugin(tmp_path: Path, needs: object) -> None:
    """Anything but False, as a function's answer, and an exception count as True."""

    class Pigeons:
        asok_auth_plugin = PluginManifest(sends_mail=lambda settings: answer(settings))

        @hookimpl
        def asok_auth_event(self) -> None:
            return

    def answer(settings: Settings) -> Any:
        if needs == "raises":
            raise LookupError(settings.app_name)
        return needs

    started = app_without_mail(tmp_path, [], {}, plugins=[Pigeons()])
    if needs is False:
        with started:
            return
    with pytest.raises(SettingError, match="mail is sent by: 'Pigeons'"), started:
        pass
