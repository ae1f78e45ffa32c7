"""Settings: typed, from the app and the environment, and rejected by name."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from asok_auth_core.errors import SettingError
from asok_auth_core.settings import AppConfig, Settings, read, secrets


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    lifetime: int = 60
    names: tuple[str, ...] = ()
    on: bool = False


MINE: dict[str, type[msgspec.Struct]] = {"MINE": Own}


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
        sections=MINE,
    )
    assert settings.section(Own) == Own(lifetime=5, names=("a", "b"), on=True)
    assert read({}, {}, sections=MINE).section(Own) == Own()


def test_a_struct_that_no_manifest_names_has_no_section() -> None:
    with pytest.raises(SettingError, match=r"Own is not the settings of a loaded plugin.*settings=Own"):
        read({}, {}).section(Own)


REJECTED = {
    "unknown": ({"STATE_STOER": "x"}, "AUTH[\"STATE_STOER\"] is not a setting. Did you mean 'STATE_STORE'?"),
    "unknown, nothing near": ({"QQQ": 1}, 'AUTH["QQQ"] is not a setting. Known: APP_NAME, LAYOUT, '),
    "lower case": ({"strict": True}, "AUTH[\"strict\"] is not a setting. Did you mean 'STRICT'?"),
    "of the app": ({"APP": {"DEBUG": True}}, 'AUTH["APP"] is not a setting.'),
    "the sections": ({"SECTIONS": ()}, 'AUTH["SECTIONS"] is not a setting.'),
    "type": (
        {"RECENT_LOGIN": "soon"},
        "AUTH[\"RECENT_LOGIN\"] must be an integer of at least 1, got 'soon'.",
    ),
    "a text": ({"APP_NAME": 7}, 'AUTH["APP_NAME"] must be a string, got 7.'),
    "a list": ({"PLUGINS": "totp"}, "AUTH[\"PLUGINS\"] must be a list of strings, got 'totp'."),
    "in a list": ({"PLUGINS": ["totp", 7]}, 'AUTH["PLUGINS"][1] must be a string, got 7.'),
    "nested type": (
        {"MAIL": {"PORT": "many"}},
        'AUTH["MAIL"]["PORT"] must be an integer from 1 to 65535, got \'many\'.',
    ),
    "nested unknown": (
        {"MAIL": {"PROT": 1}},
        'AUTH["MAIL"]["PROT"] is not a setting. Did you mean \'PORT\'?',
    ),
    "no mapping": ({"MAIL": "smtp.example"}, 'AUTH["MAIL"] must be a mapping, got str.'),
    "section type": (
        {"MINE": {"LIFETIME": "x"}},
        'AUTH["MINE"]["LIFETIME"] must be an integer, got \'x\'.',
    ),
    "section unknown": ({"MINE": {"LIFETIEM": 1}}, "Did you mean 'LIFETIME'?"),
    "section no mapping": ({"MINE": 7}, 'AUTH["MINE"] must be a mapping, got int.'),
    "provider": ({"PROVIDERS": {"google": "id"}}, 'AUTH["PROVIDERS"]["google"] must be a mapping, got str.'),
    "revocation": ({"TOKEN_REVOCATION": "no"}, 'must be "checked" or "stateless", got \'no\''),
    "security": ({"MAIL": {"SECURITY": "ssl3"}}, 'must be "starttls", "tls" or "none", got \'ssl3\'.'),
    "policy": (
        {"REQUIRE_2FA": "everybody"},
        'AUTH["REQUIRE_2FA"] must be True, False or a pattern such as "admin.*", got \'everybody\'.',
    ),
    "policy type": ({"REQUIRE_2FA": []}, 'a pattern such as "admin.*", got list.'),
    "on login": (
        {"ON_LOGIN": "app.on_login"},
        'AUTH["ON_LOGIN"] must be a function of (request, user_info), got str.',
    ),
    "recent": ({"RECENT_LOGIN": 0}, "must be an integer of at least 1, got 0."),
    "trusted": ({"TRUSTED_DEVICE": -1}, 'AUTH["TRUSTED_DEVICE"] must be an integer of at least 0, got -1.'),
}


@pytest.mark.parametrize("case", REJECTED)
def test_an_invalid_setting_is_named_with_the_expected_value(case: str) -> None:
    given, message = REJECTED[case]
    with pytest.raises(SettingError, match=re.escape(message)):
        read({"AUTH": given}, {}, sections=MINE)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "no path",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/a\n",
    ],
)
@pytest.mark.parametrize("key", ["LOGIN_REDIRECT", "LOGOUT_REDIRECT"])
def test_a_redirect_leads_to_a_path_of_the_app(key: str, path: str) -> None:
    with pytest.raises(SettingError) as raised:
        read({"AUTH": {key: path}}, {})
    assert raised.value.message == f'AUTH["{key}"] must be a path of this app such as "/", got {path!r}.'
    assert getattr(read({"AUTH": {key: "/a b/ä?c#d"}}, {}), key.lower()) == "/a b/ä?c#d"


@pytest.mark.parametrize("policy", ["*", "admin.*", "admin.users.edit", True, False])
def test_policies_that_are_accepted(policy: object) -> None:
    assert read({"AUTH": {"REQUIRE_2FA": policy}}, {}).require_2fa == policy


@pytest.mark.parametrize("policy", ["", "admin", "admin.", ".*", "*.admin", "a..b", "a.b*", "a b.*", "a.*\n"])
def test_policies_that_would_match_nobody(policy: str) -> None:
    with pytest.raises(SettingError, match="REQUIRE_2FA"):
        read({"AUTH": {"REQUIRE_2FA": policy}}, {})


def test_auth_must_be_a_mapping() -> None:
    with pytest.raises(SettingError, match="must be a mapping, got list"):
        read({"AUTH": ["STRICT"]}, {})


ENVIRONMENT = {
    "ASOK_AUTH_STRIKT": "ASOK_AUTH_STRIKT is not a setting. Did you mean 'STRICT'?",
    "ASOK_AUTH_STRICT": "ASOK_AUTH_STRICT must be True or False, got 'nonsense'.",
    "ASOK_AUTH_MAIL": "is a section; set one key of it, as ASOK_AUTH_MAIL__<KEY>",
    "ASOK_AUTH_MAIL__PROT": "ASOK_AUTH_MAIL__PROT is not a setting. Did you mean 'PORT'?",
    "ASOK_AUTH_MINE": "is a section; set one key of it, as ASOK_AUTH_MINE__<KEY>",
    "ASOK_AUTH_MINE__LIFETIEM": "Did you mean 'LIFETIME'?",
    "ASOK_AUTH_MINE__LIFETIME": "ASOK_AUTH_MINE__LIFETIME must be an integer, got 'nonsense'.",
    "ASOK_AUTH_STRICT__X": "has no keys of its own",
    "ASOK_AUTH_RECENT_LOGIN": "ASOK_AUTH_RECENT_LOGIN must be an integer of at least 1, got 'nonsense'.",
    "ASOK_AUTH_PROVIDERS": "ASOK_AUTH_PROVIDERS must be a mapping, got str.",
}


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_an_invalid_environment_variable_is_named(variable: str) -> None:
    with pytest.raises(SettingError, match=re.escape(ENVIRONMENT[variable])):
        read({}, {variable: "nonsense"}, sections=MINE)


def test_sections_of_plugins_not_loaded_are_ignored() -> None:
    settings = read({"AUTH": {"GONE": {"A": 1}}}, {"ASOK_AUTH_GONE__A": "1"}, tolerate_sections=True)
    assert isinstance(settings, Settings)
    for config, environ in (({"AUTH": {"GONE": 1}}, {}), ({}, {"ASOK_AUTH_GONE": "1"})):
        assert read(config, environ, tolerate_sections=True) == settings
        with pytest.raises(SettingError, match="GONE"):
            read(config, environ, sections={}, tolerate_sections=True)


def test_a_misspelled_setting_of_the_core_is_rejected_before_plugins_are_imported() -> None:
    for config, environ in (({"AUTH": {"PLUGIN": ["totp"]}}, {}), ({}, {"ASOK_AUTH_PLUGIN": "totp"})):
        with pytest.raises(SettingError, match=r"PLUGIN.* is not a setting\. Did you mean 'PLUGINS'"):
            read(config, environ, tolerate_sections=True)


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
def test_mail_numbers_that_cannot_work_are_rejected_by_name(key: str, value: int) -> None:
    with pytest.raises(SettingError, match=re.escape(f'AUTH["MAIL"]["{key}"] must be a')):
        read({"AUTH": {"MAIL": {key: value}}}, {})


@pytest.mark.parametrize("auth", [{"MAIL": "x"}, {"MINE": 7}])
def test_a_variable_does_not_hide_a_section_that_is_no_mapping(auth: dict[str, object]) -> None:
    (name,) = auth
    variables = {"ASOK_AUTH_MAIL__HOST": "a", "ASOK_AUTH_MINE__LIFETIME": "1"}
    with pytest.raises(SettingError, match=re.escape(f'AUTH["{name}"] must be a mapping')):
        read({"AUTH": auth}, variables, sections=MINE)


class Nested(msgspec.Struct, frozen=True, rename=str.upper):
    limit: int = 1


class Lenient(msgspec.Struct, rename=str.upper):
    """A plugin's author who did not think of ``forbid_unknown_fields``."""

    lifetime: int = 60
    inner: Nested = Nested()
    rules: dict[str, Nested] = {}
    many: list[Nested] = []


LENIENT = {
    "a key": ({"LIFETIEM": 1}, 'AUTH["L"]["LIFETIEM"] is not a setting. Did you mean \'LIFETIME\'?'),
    "in a struct": ({"INNER": {"LIMITS": 1}}, 'AUTH["L"]["INNER"]["LIMITS"] is not a setting. Did you mean'),
    "in a mapping": ({"RULES": {"a": {"LIMITS": 1}}}, 'AUTH["L"]["RULES"]["a"]["LIMITS"] is not a setting.'),
    "in a list": ({"MANY": [{}, {"LIMITS": 1}]}, 'AUTH["L"]["MANY"][1]["LIMITS"] is not a setting.'),
}


@pytest.mark.parametrize("case", LENIENT)
def test_an_unknown_key_is_rejected_whatever_the_plugins_struct_says(case: str) -> None:
    given, message = LENIENT[case]
    with pytest.raises(SettingError, match=re.escape(message)):
        read({"AUTH": {"L": given}}, {}, sections={"L": Lenient})


def test_an_unknown_variable_is_rejected_whatever_the_plugins_struct_says() -> None:
    with pytest.raises(
        SettingError, match=r"ASOK_AUTH_L__LIFETIEM is not a setting\. Did you mean 'LIFETIME'"
    ):
        read({}, {"ASOK_AUTH_L__LIFETIEM": "1"}, sections={"L": Lenient})
    assert read({}, {"ASOK_AUTH_L__LIFETIME": "7"}, sections={"L": Lenient}).section(Lenient).lifetime == 7


class Secretive(msgspec.Struct, frozen=True, rename=str.upper):
    token: Annotated[str, msgspec.Meta(min_length=40)]
    hosts: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "given",
    [
        {"TOKEN": "CANARY"},
        {"TOKEN": ["CANARY"]},
        {"TOKEN": {"a": "CANARY"}},
        {"TOKEN": "C" * 40, "HOSTS": "CANARY"},
        {"TOKEN": "C" * 40, "HOSTS": [["CANARY"]]},
        "CANARY",
    ],
)
def test_a_message_quotes_no_free_text_of_a_section(given: object) -> None:
    with pytest.raises(SettingError) as raised:
        read({"AUTH": {"S": given}}, {}, sections={"S": Secretive})
    assert "CANARY" not in raised.value.message
    assert 'AUTH["S"]' in raised.value.message
    assert raised.value.__cause__ is None


def test_a_message_quotes_no_password() -> None:
    for auth in ({"MAIL": {"PASSWORD": ["CANARY"]}}, {"MAIL": "CANARY"}, {"PROVIDERS": {"x": "CANARY"}}):
        with pytest.raises(SettingError) as raised:
            read({"AUTH": auth}, {})
        assert "CANARY" not in raised.value.message


def test_a_key_that_must_be_given_is_named() -> None:
    with pytest.raises(
        SettingError,
        match=re.escape('AUTH["S"]["TOKEN"] is missing; it must be a string of at least 40 characters.'),
    ):
        read({}, {}, sections={"S": Secretive})


class Windowed(msgspec.Struct, frozen=True, rename=str.upper):
    window: int = 2
    kind: Literal["short", 5] = "short"
    few: Annotated[tuple[int, ...], msgspec.Meta(max_length=2)] = ()

    def __post_init__(self) -> None:
        if self.window % 2:
            raise ValueError("WINDOW must be even")


def test_what_a_section_checks_itself_is_said_in_its_own_words() -> None:
    sections: dict[str, type[msgspec.Struct]] = {"W": Windowed}
    with pytest.raises(SettingError, match=re.escape('AUTH["W"]: WINDOW must be even.')):
        read({"AUTH": {"W": {"WINDOW": 3}}}, {}, sections=sections)
    with pytest.raises(SettingError, match=re.escape('AUTH["W"]["FEW"]: Expected `array` of length <= 2.')):
        read({"AUTH": {"W": {"FEW": [1, 2, 3]}}}, {}, sections=sections)


def test_a_variable_can_give_any_of_the_values_a_literal_names() -> None:
    sections: dict[str, type[msgspec.Struct]] = {"W": Windowed}
    assert read({}, {"ASOK_AUTH_W__KIND": "5"}, sections=sections).section(Windowed).kind == 5
    with pytest.raises(SettingError, match=re.escape("ASOK_AUTH_W__KIND must be \"short\" or 5, got '6'.")):
        read({}, {"ASOK_AUTH_W__KIND": "6"}, sections=sections)


def test_the_apps_own_configuration() -> None:
    config = {
        "DEBUG": True,
        "APP_URL": "https://app.example/",
        "ROOT_DIR": "/srv/app",
        "OAUTH_PROVIDERS": {"google": {"client_id": "a"}},
    }
    app = read(config, {"APP_URL": "https://other.example"}).app
    assert app == AppConfig(
        debug=True,
        url="https://app.example",
        root=Path("/srv/app"),
        oauth_providers={"google": {"client_id": "a"}},
    )
    assert read({}, {"APP_URL": "https://other.example"}).app.url == "https://other.example"
    assert read({}, {}).app == AppConfig(debug=False, url=None, root=Path(), oauth_providers={})


@pytest.mark.requirement("SECURITY-18")
@pytest.mark.parametrize("given", ["HTTPS://app.example", " https://app.example/ ", "Https://app.example//"])
def test_a_spelling_of_https_is_https(given: str) -> None:
    """Otherwise cookies would be sent without Secure and __Host-."""
    assert read({"APP_URL": given}, {}).app.url == "https://app.example"


@pytest.mark.parametrize(
    "given",
    ["https://app.example/shop", "https://app.example?x=1", "https://app.example#x", "https://a@app.example"],
)
def test_an_app_url_with_more_than_a_host_is_rejected_with_the_reason(given: str) -> None:
    with pytest.raises(SettingError, match="serve the app at a host of its own"):
        read({"APP_URL": given}, {})


@pytest.mark.parametrize(
    "given",
    ["app.example", "//app.example", "https:app.example", "https://", "ftp://app.example", "https://[x"],
)
def test_an_app_url_that_is_no_url_is_rejected(given: str) -> None:
    with pytest.raises(SettingError, match="APP_URL must be a URL such as"):
        read({"APP_URL": given}, {})


@pytest.mark.parametrize(("text", "debug"), [("false", False), ("0", False), ("on", True)])
def test_debug_as_text_means_what_it_says(text: str, debug: bool) -> None:
    assert read({"DEBUG": text}, {}).app.debug is debug


APP = {
    "DEBUG": ("maybe", "DEBUG must be True or False, got 'maybe'."),
    "OAUTH_PROVIDERS": ({"google": "CANARY"}, 'OAUTH_PROVIDERS["google"] must be a mapping, got str.'),
    "MAIL_PORT": ("many", "MAIL_PORT must be an integer from 1 to 65535, got 'many'."),
    "MAIL_TLS": ("maybe", "MAIL_TLS must be True or False, got 'maybe'."),
}


@pytest.mark.parametrize("key", APP)
def test_a_wrong_setting_of_the_app_is_named_as_the_app_calls_it(key: str) -> None:
    value, message = APP[key]
    with pytest.raises(SettingError) as raised:
        read({key: value}, {})
    assert raised.value.message == message


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


def test_a_value_of_a_rare_type_is_named_by_its_type() -> None:
    class Opening(msgspec.Struct, rename=str.upper):
        day: datetime.date

    with pytest.raises(SettingError) as caught:
        read({"AUTH": {"OPENING": {"DAY": "soon"}}}, {}, sections={"OPENING": Opening})
    assert 'AUTH["OPENING"]["DAY"]' in str(caught.value)
    assert "of type date" in str(caught.value)
