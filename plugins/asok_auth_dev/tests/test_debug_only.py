"""Without DEBUG, nothing of this distribution is there."""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from pathlib import Path

import asok_auth_dev
import pytest
from asok.testing import TestClient
from asok_auth_dev.smtp_server import mail_server

from asok_auth_core.plugin import AppConfig, MailSettings, SettingError, Settings
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.testing import asok_app, raises_code

PRODUCTION = Settings(mail=MailSettings())


def test_outside_debug_the_plugin_is_not_loaded() -> None:
    registry = PluginRegistry()
    registry.register(asok_auth_dev, "dev")
    plugins = Plugins(registry)
    assert "dev" not in plugins.mail_transports(PRODUCTION)
    (info,) = registry.quarantined
    assert info.name == "dev"
    assert "only with DEBUG on" in info.reason


def test_outside_debug_strict_mode_stops_the_start() -> None:
    registry = PluginRegistry(strict=True)
    registry.register(asok_auth_dev, "dev")
    plugins = Plugins(registry)
    with raises_code("plugin", match="only with DEBUG on"):
        plugins.mail_transports(PRODUCTION)


def test_with_debug_the_plugin_loads() -> None:
    registry = PluginRegistry(strict=True)
    registry.register(asok_auth_dev, "dev")
    plugins = Plugins(registry)
    assert "dev" in plugins.mail_transports(Settings(app=AppConfig(debug=True)))


def test_an_app_in_production_has_no_mailbox_and_no_mail_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mail_server.cache_clear()
    with caplog.at_level(logging.ERROR), asok_app(tmp_path, environ={"DEBUG": "false"}) as app:
        assert TestClient(app).get("/auth/dev/mailbox").status_code == 404
        assert TestClient(app).get("/auth/login").status_code == 200
    assert "only with DEBUG on" in caplog.text
    assert mail_server.cache_info().currsize == 0


def test_an_app_in_production_that_asks_for_the_dev_transport_does_not_start(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match="only with DEBUG on"),
        asok_app(tmp_path, environ={"DEBUG": "false"}, auth={"MAIL_TRANSPORT": "dev"}),
    ):
        raise AssertionError("the app has started")


def test_an_app_with_another_mail_transport_starts_no_mail_server(tmp_path: Path) -> None:
    mail_server.cache_clear()
    with asok_app(tmp_path):
        assert mail_server.cache_info().currsize == 0


def test_it_is_found_by_its_entry_point() -> None:
    (entry,) = [entry for entry in metadata.entry_points(group="asok_auth") if entry.name == "dev"]
    assert entry.load() is sys.modules["asok_auth_dev"]
