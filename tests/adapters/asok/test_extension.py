"""Registering the extension: what starts, and what stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok.auth import MagicLink
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core import AuthExtension
from asok_auth_core.auth import Auth
from asok_auth_core.errors import ConfigurationError, SettingError
from asok_auth_core.plugin import LoginMethod, hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.raises import raises_code

from .apps import PAGES, RECENT_PAGE, Badge, Plugin, home


class TestStarting:
    def test_registered_by_hand_first(self, tmp_path: Path) -> None:
        """The usual idiom of extensions, and then Asok's."""
        with asok_app(tmp_path, extension=False) as app:
            extension = AuthExtension()
            extension.init_app(app)
            auth = extension.auth
            app.register_extension(extension)
            extension.init_app(app)
            assert extension.auth is auth, "started once"
            assert TestClient(app).get("/auth/login").status_code == 200
            extension.close()

    def test_registered_twice(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False) as app:
            extension = AuthExtension(app)
            app.register_extension(extension)
            app.register_extension(AuthExtension())
            assert app.extensions["AuthExtension"] is extension
            assert TestClient(app).get("/auth/login").status_code == 200
            extension.close()

    def test_two_extensions(self, tmp_path: Path) -> None:
        class Mine(AuthExtension):
            pass

        with asok_app(tmp_path) as app, pytest.raises(ConfigurationError, match="Two AuthExtensions"):
            app.register_extension(Mine())

    def test_two_apps_in_one_process(self, tmp_path: Path) -> None:
        """Each has its own; an app without the extension is as it was."""
        with (
            asok_app(tmp_path / "a", pages=PAGES, plugins=[Plugin()]) as first,
            asok_app(tmp_path / "b", plugins=[]) as second,
            asok_app(
                tmp_path / "c",
                extension=False,
                pages={
                    "kind.py": "def get(request):\n    return request.auth.magic.__module__\n",
                    "enter.py": PAGES["enter.py"].replace("request.query", "request.args"),
                    "posted.py": PAGES["posted.py"],
                    "leave.py": PAGES["leave.py"],
                    "recent.py": RECENT_PAGE,
                },
            ) as plain,
        ):
            assert "badge here" in TestClient(first).get("/auth/login").text
            assert "badge here" not in TestClient(second).get("/auth/login").text
            client = TestClient(plain)
            assert client.get("/auth/login").status_code == 404
            assert client.get("/kind").text.startswith(MagicLink.__module__)
            assert home(client) == "nobody"
            MODELS_REGISTRY["User"].create(email="ada@example.org")
            client.get("/enter?as=ada@example.org")
            assert home(client) == "ada@example.org"
            assert client.post("/posted").status_code == 403
            recent = client.get("/recent")
            assert recent.status_code == 500, "what needs a recent login has none to ask for"
            assert "got in" not in recent.text
            client.get("/leave")
            assert home(client) == "nobody"

    def test_no_user_model(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False) as app:
            app.config["AUTH_MODEL"] = "Member"
            with pytest.raises(
                ConfigurationError, match=r"no user model 'Member'. Create src/models/member.py"
            ):
                app.register_extension(AuthExtension())

    @pytest.mark.parametrize(
        ("auth", "message"),
        [
            (
                {"STATE_STORE": "sqlight:///x"},
                "is 'sqlight', which no plugin provides. Available: .*Did you mean 'sqlite'",
            ),
            ({"MAIL_TRANSPORT": "pigeon"}, "is 'pigeon', which no plugin provides"),
            ({"MAGIC_LINK": {"LIFETIEM": 1}}, "Did you mean 'LIFETIME'"),
        ],
    )
    def test_a_setting_that_is_wrong(self, tmp_path: Path, auth: dict[str, object], message: str) -> None:
        with pytest.raises(SettingError, match=message), asok_app(tmp_path, auth=auth):
            pass

    def test_a_short_key_outside_debug(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False, environ={"DEBUG": "false"}) as app:
            app.config["SECRET_KEY"] = "short"
            with pytest.raises(SettingError, match="SECRET_KEY has 5 bytes; at least 32"):
                app.register_extension(AuthExtension())

    def test_a_path_that_two_parts_want(self, tmp_path: Path) -> None:
        class Clashing(Badge):
            name = "clash"

        class Two(Plugin):
            @hookimpl
            def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
                return [Badge(auth), Clashing(auth)]

        with (
            raises_code("plugin", match="The path /auth/badge/echo is used twice"),
            asok_app(tmp_path, plugins=[Two()]),
        ):
            pass

    def test_broken_plugins_and_a_working_app(self, tmp_path: Path) -> None:
        class Broken:
            @hookimpl
            def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
                raise RuntimeError("broken inside")

        with asok_app(tmp_path, plugins=[Broken(), Plugin()]) as app:
            assert "badge here" in TestClient(app).get("/auth/login").text
            [info] = app.extensions["AuthExtension"].auth.plugins.registry.quarantined
            assert "RuntimeError: broken inside" in info.reason
        with (
            raises_code("plugin", match="broken inside"),
            asok_app(tmp_path, auth={"STRICT": True}, plugins=[Broken()]),
        ):
            pass


def test_installed_below_root(tmp_path: Path) -> None:
    """Asok rejects extension pages below /root; ours need no folder of pages."""
    with asok_app(tmp_path) as app:
        assert app._is_safe_extension_path("/root/x") is False
        extension = app.extensions["AuthExtension"]
        assert extension.get_pages_path() is None
        assert extension.get_templates_path() is None
        assert extension.get_static_path() is None
