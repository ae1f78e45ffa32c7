"""Settings: typed, from the app and the environment, and refused by name."""

from __future__ import annotations

import re

import msgspec
import pytest

from asok_auth_core.errors import SettingError
from asok_auth_core.hookspecs import PluginManifest
from asok_auth_core.settings import Settings, read, secrets


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    lifetime: int = 60
    names: tuple[str, ...] = ()
    on: bool = False


MINE = PluginManifest(section="MINE", settings=Own)


def test_settings_have_defaults() -> None:
    settings = read({}, {})
    assert settings.state_store.startswith("sqlite:///")
    assert settings.recent_login == 600
    assert settings.plugins is None
    assert not settings.strict


def test_environment_variables_win() -> None:
    settings = read(
        {"AUTH": {"APP_NAME": "a", "RECENT_LOGIN": 5, "MAIL": {"HOST": "a", "PORT": 25}}},
        {
            "ASOK_AUTH_APP_NAME": "b",
            "ASOK_AUTH_MAIL__HOST": "b",
            "ASOK_AUTH_STRICT": "yes",
            "ASOK_AUTH_PLUGINS": "one, two",
        },
    )
    assert (settings.app_name, settings.recent_login, settings.strict) == ("b", 5, True)
    assert (settings.mail.host, settings.mail.port) == ("b", 25)
    assert settings.plugins == ("one", "two")


def test_a_plugin_reads_its_section() -> None:
    settings = read(
        {"AUTH": {"MINE": {"LIFETIME": 5}}},
        {"ASOK_AUTH_MINE__NAMES": "a,b", "ASOK_AUTH_MINE__ON": "true"},
        [MINE],
    )
    assert settings.section(Own, "MINE") == Own(lifetime=5, names=("a", "b"), on=True)
    assert read({}, {}, [MINE]).section(Own, "MINE") == Own()


REFUSED = {
    "unknown": ({"STATE_STOER": "x"}, 'AUTH["STATE_STOER"] is not a setting. Did you mean STATE_STORE?'),
    "unknown, nothing near": ({"QQQ": 1}, 'AUTH["QQQ"] is not a setting. Known: '),
    "lower case": ({"strict": True}, 'AUTH["strict"] is not a setting. Did you mean STRICT?'),
    "type": ({"RECENT_LOGIN": "soon"}, 'AUTH["RECENT_LOGIN"]'),
    "nested type": ({"MAIL": {"PORT": "many"}}, 'AUTH["MAIL"]["PORT"]'),
    "nested unknown": ({"MAIL": {"PROT": 1}}, 'AUTH["MAIL"]["PROT"] is not a setting. Did you mean PORT?'),
    "section type": ({"MINE": {"LIFETIME": "x"}}, 'AUTH["MINE"]["LIFETIME"]'),
    "section unknown": ({"MINE": {"LIFETIEM": 1}}, "Did you mean LIFETIME?"),
    "section no mapping": ({"MINE": 7}, 'AUTH["MINE"]'),
    "revocation": ({"TOKEN_REVOCATION": "no"}, '"checked" or "stateless", got \'no\''),
    "security": ({"MAIL": {"SECURITY": "ssl3"}}, "got 'ssl3'"),
    "redirect": ({"LOGIN_REDIRECT": "//evil.example"}, 'AUTH["LOGIN_REDIRECT"] must be a path'),
    "policy": ({"REQUIRE_2FA": "everybody"}, "must be True, False or a pattern"),
    "on login": ({"ON_LOGIN": "app.on_login"}, 'AUTH["ON_LOGIN"] must be a function'),
    "recent": ({"RECENT_LOGIN": 0}, "at least 1 second, got 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_setting_is_named_with_the_expected_value(case: str) -> None:
    given, message = REFUSED[case]
    with pytest.raises(SettingError, match=re.escape(message)):
        read({"AUTH": given}, {}, [MINE])


def test_auth_must_be_a_mapping() -> None:
    with pytest.raises(SettingError, match="must be a mapping, got list"):
        read({"AUTH": ["STRICT"]}, {})


ENVIRONMENT = {
    "ASOK_AUTH_STRIKT": "Did you mean STRICT?",
    "ASOK_AUTH_MINE": "is a section; set one key of it, as ASOK_AUTH_MINE__<KEY>",
    "ASOK_AUTH_MINE__LIFETIEM": "Did you mean LIFETIME?",
    "ASOK_AUTH_STRICT__X": "has no keys of its own",
    "ASOK_AUTH_RECENT_LOGIN": 'AUTH["RECENT_LOGIN"]',
}


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_an_invalid_environment_variable_is_named(variable: str) -> None:
    with pytest.raises(SettingError, match=re.escape(ENVIRONMENT[variable])):
        read({}, {variable: "nonsense"}, [MINE])


def test_sections_of_plugins_not_loaded_are_ignored() -> None:
    settings = read({"AUTH": {"GONE": {"A": 1}}}, {"ASOK_AUTH_GONE__A": "1"}, tolerate_sections=True)
    assert isinstance(settings, Settings)
    with pytest.raises(SettingError, match="GONE"):
        read({"AUTH": {"GONE": 1}}, {}, tolerate_sections=True)


def test_asoks_own_mail_settings_are_the_defaults() -> None:
    config = {"MAIL_HOST": "smtp.example", "MAIL_FROM": "", "MAIL_TLS": "false"}
    settings = read(config, {"MAIL_FROM": "a@b.example", "MAIL_PORT": "2525", "MAIL_HOST": "other"})
    mail = settings.mail
    assert (mail.host, mail.port, mail.sender, mail.security) == ("smtp.example", 2525, "a@b.example", "none")
    assert read({"MAIL_TLS": True}, {}).mail.security == "starttls"
    assert read({"MAIL_TLS": False}, {}).mail.security == "none"
    assert read({**config, "AUTH": {"MAIL": {"HOST": "ours"}}}, {}).mail.host == "ours"


@pytest.mark.parametrize(
    ("key", "value"), [("PORT", 0), ("PORT", 65_536), ("TIMEOUT", 0), ("TIMEOUT", -1), ("RETRY_FOR", -1)]
)
def test_invalid_mail_numbers_are_named(key: str, value: int) -> None:
    with pytest.raises(SettingError, match=re.escape(f'AUTH["MAIL"]["{key}"]: expected')):
        read({"AUTH": {"MAIL": {key: value}}}, {})


def test_a_mail_number_can_come_from_the_environment() -> None:
    assert read({}, {"ASOK_AUTH_MAIL__TIMEOUT": "2.5"}).mail.timeout == 2.5


@pytest.mark.requirement("SECURITY-30")
def test_the_mail_password_is_not_in_a_repr() -> None:
    settings = read({"AUTH": {"MAIL": {"USERNAME": "CANARY-NAME", "PASSWORD": "CANARY-PASSWORD"}}}, {})
    assert "CANARY" not in repr(settings.mail) + repr(settings)


class TestSecrets:
    LONG = "k" * 32

    def test_keys_are_ordered_newest_first(self) -> None:
        config = {"SECRET_KEY": self.LONG, "SECRET_KEY_FALLBACKS": ["a" * 32, b"b" * 32]}
        assert secrets(config, {}, debug=False) == (self.LONG.encode(), b"a" * 32, b"b" * 32)
        config["SECRET_KEY_FALLBACKS"] = f"{'a' * 32}, {'b' * 32}"
        assert len(secrets(config, {}, debug=False)) == 3

    @pytest.mark.parametrize("key", [None, "", 7])
    def test_a_missing_key_is_an_error(self, key: object) -> None:
        with pytest.raises(SettingError, match=r"SECRET_KEY is missing\. Make one with"):
            secrets({"SECRET_KEY": key}, {}, debug=True)

    @pytest.mark.requirement("SECURITY-29")
    def test_a_short_key_is_an_error(self) -> None:
        """HMAC keys of at least 32 bytes outside DEBUG."""
        with pytest.raises(SettingError, match="SECRET_KEY has 31 bytes; at least 32") as raised:
            secrets({"SECRET_KEY": "s" * 31}, {}, debug=False)
        assert "s" * 31 not in raised.value.message
        assert secrets({"SECRET_KEY": "short"}, {}, debug=True) == (b"short",)
        with pytest.raises(SettingError, match=re.escape("SECRET_KEY_FALLBACKS[0] has 3 bytes")):
            secrets({"SECRET_KEY": self.LONG, "SECRET_KEY_FALLBACKS": ["old"]}, {}, debug=False)

    def test_fallbacks_must_be_a_list(self) -> None:
        with pytest.raises(SettingError, match="must be a list of keys, newest first; got int"):
            secrets({"SECRET_KEY": self.LONG, "SECRET_KEY_FALLBACKS": 7}, {}, debug=True)
