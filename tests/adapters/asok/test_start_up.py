"""What the extension does to the app's database before the first request."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asok.orm import MODELS_REGISTRY
from asok.orm.engines.sqlite import SQLiteEngine
from asok.testing import TestClient

from asok_auth_core import AuthExtension
from asok_auth_core.adapters.asok.credentials import AsokCredentialStore
from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.auth import Auth
from asok_auth_core.errors import SettingError
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing.apps import asok_app


class TestTheCredentialTable:
    def tables(self, file: Path) -> list[str]:
        with closing(sqlite3.connect(file)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]

    def test_is_created_at_start_up(self, tmp_path: Path) -> None:
        """Not within a request's transaction, which making a table would end on MySQL."""
        with asok_app(tmp_path):
            assert "auth_credentials" in self.tables(tmp_path / "db.sqlite3")

    def test_start_up_closes_the_connections_it_opened(self, tmp_path: Path) -> None:
        """A server that forks after it would share it with its children."""
        with asok_app(tmp_path, extension=False) as app:
            engine = MODELS_REGISTRY["User"].get_engine()
            engine.close_connections()
            app.register_extension(AuthExtension())
            assert not hasattr(engine._local, "conn")
            app.extensions["AuthExtension"].close()

    def test_so_it_does_with_those_that_plugins_opened(self, tmp_path: Path) -> None:
        class WithTable:
            @hookimpl
            def asok_auth_start(self, auth: Auth) -> None:
                MODELS_REGISTRY["User"].create_table()
                assert MODELS_REGISTRY["User"].get_engine()._local.conn is not None

        with asok_app(tmp_path, extension=False) as app:
            engine = MODELS_REGISTRY["User"].get_engine()
            engine.close_connections()
            app.register_extension(AuthExtension(plugins=[WithTable()]))
            assert not hasattr(engine._local, "conn")
            app.extensions["AuthExtension"].close()

    def test_an_unavailable_database_does_not_stop_the_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(engine: object, sql: str, args: object = None) -> None:
            raise OSError("down")

        with asok_app(tmp_path, extension=False) as app:
            monkeypatch.setattr(SQLiteEngine, "execute", down)
            extension = AuthExtension()
            app.register_extension(extension)
            try:
                monkeypatch.undo()
                assert "auth_credentials" not in self.tables(tmp_path / "db.sqlite3")
                assert extension.auth.credentials.find("a", "b") is None
                assert "auth_credentials" in self.tables(tmp_path / "db.sqlite3")
            finally:
                extension.close()

    @pytest.mark.parametrize("url", ["sqlite://:memory:", "postgresql://127.0.0.1:1/none"])
    def test_is_created_later_where_start_up_must_not_connect(self, tmp_path: Path, url: str) -> None:
        with asok_app(tmp_path) as app:
            users = AsokUsers(app)
            MODELS_REGISTRY["User"]._db_path = url
            store = AsokCredentialStore(users, time.time, secrets.token_bytes)
            with store.at_start_up() as possible:
                assert possible is False

    def test_an_in_memory_database_creates_it_on_first_use(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, extension=False) as app:
            MODELS_REGISTRY["User"]._db_path = "sqlite://:memory:"
            extension = AuthExtension()
            app.register_extension(extension)
            try:
                added = extension.auth.credentials.add("1", "kind", "identifier", {})
                assert extension.auth.credentials.find("kind", "identifier") == added
                assert "auth_credentials" not in self.tables(tmp_path / "db.sqlite3")
            finally:
                extension.close()


@pytest.mark.requirement("SECURITY-29")
class TestSecretsOfBefore:
    """What Asok signed with an older key stays valid, and nothing else does."""

    def test_any_key_of_the_ring_verifies(self, tmp_path: Path) -> None:
        keys = ["n" * 32, "m" * 32, "o" * 32]
        environ = {"SECRET_KEY": keys[0], "SECRET_KEY_FALLBACKS": ",".join(keys[1:])}
        with asok_app(tmp_path, environ=environ) as app:

            def signed(key: str) -> str:
                return f"sid.{hmac.digest(key.encode(), b'sid', 'sha256').hex()}"

            assert app._sign("sid") == signed(keys[0])
            assert [app._verify_signature(signed(key)) for key in keys] == ["sid"] * 3
            for forged in (
                signed("x" * 32),
                signed(keys[1])[:-1],
                "sid.",
                "other" + signed(keys[1]),
            ):
                assert app._verify_signature(forged) is None, forged


class TestButtonsOfProviders:
    def test_a_template_shows_none_while_no_provider_is_installed(self, tmp_path: Path) -> None:
        page = {"enter/page.html": "<main>{{ oauth_buttons('/next') }}</main>"}
        with asok_app(tmp_path, pages=page, auth={"PLUGINS": []}) as app:
            assert "<main></main>" in TestClient(app).get("/enter").text
            del app.extensions["AuthExtension"].auth.login_methods["oauth"]
            assert "<main></main>" in TestClient(app).get("/enter").text


class TestSettingsThatCannotWork:
    """Each stops the start with the reason."""

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("app.example", "must be a URL such as"),
            ("//app.example", "must be a URL such as"),
            ("ftp://app.example", "must be a URL such as"),
            ("https://", "must be a URL such as"),
            ("https://app.example:99999", "host and port"),
            ("https://app.example:0", "host and port"),
            ("https://app.example:https", "host and port"),
            ("https://app.example:", "host and port"),
            ("https://a b.example", "host and port"),
            ("https://app.exa\tmple", "host and port"),
            ("https://app..example", "host and port"),
            ("https://-app.example", "host and port"),
            ("https://*.example", "host and port"),
            ("https://<your-domain>", "host and port"),
            ("https://$HOST", "host and port"),
            ("https://0.0.0.0:8000", "host and port"),
            ("http://[::]:8000", "host and port"),
            ("https://999.0.0.1", "host and port"),
            ("https://[::1", "must be a URL such as"),
            ("https://[not:an:ip]", "must be a URL such as"),
            ("https://app.example/shop", "a scheme and a host only"),
            ("https://app.example?", "a scheme and a host only"),
            ("https://app.example#", "a scheme and a host only"),
            ("https://ann:secret@app.example", "a scheme and a host only"),
            ("ftp://ann:secret@app.example", "must be a URL such as"),
            ("https://app.example,https://b.example", "a scheme and a host only"),
            ("https://b\u00fccher.example", "in ASCII, as browsers send it"),
            ("https://app\ud800.example", "in ASCII, as browsers send it"),
        ],
    )
    def test_app_url(self, tmp_path: Path, url: str, reason: str) -> None:
        for where in places(url):
            given: dict[str, Any] = {where: {"APP_URL": url}}
            with (
                pytest.raises(SettingError, match=f"APP_URL.*{reason}") as error,
                asok_app(tmp_path, **given),
            ):
                pass
            assert "secret" not in error.value.message
            assert error.value.message.isascii()

    @pytest.mark.parametrize(
        ("url", "read"),
        [
            ("https://app.example/", "https://app.example"),
            (" HTTPS://App.Example \n", "https://app.example"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://shop_1:8000", "http://shop_1:8000"),
            ("https://10.0.0.1", "https://10.0.0.1"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ],
    )
    def test_an_app_url_that_works(self, tmp_path: Path, url: str, read: str) -> None:
        with asok_app(tmp_path, config={"APP_URL": url}) as app:
            assert app.extensions["AuthExtension"].auth.settings.app.url == read

    @pytest.mark.parametrize("name", ["MAIL_PASSWORD", "MAIL_USERNAME"])
    @pytest.mark.parametrize("value", ["p\u00e5ss", "pa\nss", "pa\x00ss", "pa\ud800ss"])
    def test_what_no_mail_server_can_be_sent(self, tmp_path: Path, name: str, value: str) -> None:
        mail = {"MAIL_HOST": "smtp.app.example", "MAIL_USERNAME": "ann", "MAIL_PASSWORD": "s", name: value}
        for where in places(value):
            given: dict[str, Any] = {where: mail}
            with (
                pytest.raises(SettingError, match=r"must be ASCII \(MAIL_USERNAME, MAIL_PASSWORD\)") as error,
                asok_app(tmp_path, auth={"MAIL_TRANSPORT": "smtp"}, **given),
            ):
                pass
            assert value not in error.value.message


def places(value: str) -> list[str]:
    """Where a setting can have this value: the environment holds bytes without NUL."""
    fits = "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    return ["config", "environ"] if fits else ["config"]
