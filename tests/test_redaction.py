"""Secrets are neither in a repr nor in a traceback with locals."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import traceback
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.pretty import Pretty

from asok_auth_core.errors import SettingError
from asok_auth_core.providers import OpenIDProvider
from asok_auth_core.settings import Settings, read
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.testing.oauth_app import OAuthApp
from asok_auth_core.testing.parts import SECRET_KEY, TestParts, build_auth
from asok_auth_core.types import Credential, RedactedStruct

pytestmark = pytest.mark.requirement("SECURITY-48")

CANARY = "CANARY-9f31"

PACKAGES = (
    "asok_auth_core",
    "asok_auth_dev",
    "asok_auth_postgres",
    "asok_auth_redis",
    "asok_magic_link",
    "asok_oauth_github",
    "asok_oauth_google",
    "asok_oauth_oidc",
    "asok_totp",
)
SECRET = re.compile(
    r"(.*_)?(secret|password|token|code|codes|code_keys|code_challenge|nonce|sealed|imported|backup_codes)"
    r"|body|headers|form|data|raw|uri|qr|text|html|next_url|state_store|providers|oauth_providers|sections"
    r"|value|values|cookies|answer"
)
"""Names of fields that hold a secret, or text in which there is one."""

PUBLIC = {
    "asok_auth_core.auth.Auth.providers",  # see test_auth_and_its_parts
    "asok_auth_core.pages.stylesheet.Stylesheet.text",
    "asok_totp.api.Status.recovery_codes",  # how many
    "asok_totp.importing.Report.without_codes",  # ids of users
}


def classes() -> Iterator[type]:
    """Every dataclass and struct of the core and the plugins."""
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if module.name.startswith(("asok_auth_core.testing", "asok_auth_core.scaffold")):
                continue
            for kind in vars(importlib.import_module(module.name)).values():
                if (
                    isinstance(kind, type)
                    and kind.__module__ == module.name
                    and (dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct))
                ):
                    yield kind


def fields(kind: type) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.init]
    return list(kind.__struct_fields__)  # type: ignore[attr-defined]


def secrets_of(kind: type) -> list[str]:
    where = f"{kind.__module__}.{kind.__qualname__}"
    return [name for name in fields(kind) if SECRET.fullmatch(name) and f"{where}.{name}" not in PUBLIC]


def shown(value: object) -> str:
    """Everything that prints ``value``: repr, str, format, rich, tracebacks."""

    def fail(argument: object) -> None:
        held = [argument]
        raise RuntimeError(len(held))

    try:
        fail(value)
    except RuntimeError as error:
        trace = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "held = [" in trace
    written = StringIO()
    Console(file=written, width=1000).print(Pretty(value, expand_all=True))
    return "\n".join((repr(value), str(value), f"{value}", f"{value!r}", trace, written.getvalue()))


HOLDERS = [kind for kind in classes() if secrets_of(kind)]


def test_the_classes_are_found() -> None:
    names = {kind.__name__ for kind in HOLDERS}
    assert names >= {
        "AuthenticatorRow", "Client", "Credential", "Enrolment", "FlowRecord", "IssuedProof", "EmailGrant",
        "MailSettings", "OutgoingMail", "PendingLogin", "RecoveryRow", "Settings", "Tokens", "WebResponse",
    }  # fmt: skip


@pytest.mark.parametrize("kind", HOLDERS, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_no_secret_field_is_shown(kind: type) -> None:
    secret = secrets_of(kind)
    value = kind(**{name: CANARY if name in secret else "plain" for name in fields(kind)})
    assert [getattr(value, name) for name in secret] == [CANARY] * len(secret)
    assert CANARY not in shown(value)


class Section(msgspec.Struct, frozen=True, rename=str.upper):
    api_key: str = ""


def test_settings() -> None:
    settings = read(
        {
            "AUTH": {
                "STATE_STORE": f"redis://:{CANARY}@127.0.0.1/0",
                "MAIL": {"HOST": "smtp.example", "USERNAME": "app", "PASSWORD": CANARY},
                "PROVIDERS": {"google": {"client_id": "a", "client_secret": CANARY}},
                "MINE": {"API_KEY": CANARY},
            },
            "OAUTH_PROVIDERS": {"github": {"client_id": "a", "client_secret": CANARY}},
            "SECRET_KEY": CANARY * 4,
            "APP_URL": "https://app.example",
        },
        {"ASOK_AUTH_MAIL__USERNAME": CANARY},
        sections={"MINE": Section},
    )
    assert settings.section(Section).api_key == settings.mail.password == CANARY
    said = shown(settings) + shown(settings.mail) + shown(settings.app)
    assert CANARY not in said
    assert "smtp.example" in said
    assert "https://app.example" in said


def test_auth_and_its_parts(tmp_path: Path) -> None:
    parts = TestParts(FrozenClock())
    settings = {
        "STATE_STORE": f"test://:{CANARY}@127.0.0.1",
        "MAIL": {"PASSWORD": CANARY},
    }
    auth = build_auth(tmp_path, settings=settings, parts=parts)
    try:
        auth.credentials.add("1", "kind", "identifier", {"secret": CANARY})
        auth.state.put("key", CANARY.encode(), 60)
        for part in (auth, *(getattr(auth, name) for name in auth.__slots__)):
            said = shown(part)
            assert CANARY not in said
            assert SECRET_KEY not in said
        assert CANARY not in shown(auth.credentials.find("kind", "identifier"))
    finally:
        auth.outbox.close()
        auth.state.close()


def test_providers_and_what_holds_their_secrets(tmp_path: Path) -> None:
    provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
    config = {"PROVIDERS": {"example": {"client_id": "app", "client_secret": CANARY}}}
    app = OAuthApp(provider, tmp_path, config=config)
    held = app.auth.providers["example"]
    assert held.client_secret == CANARY
    for part in (held, held.client(), app.auth.login_methods["oauth"], app.oauth.flow, app.auth.keys):
        assert CANARY not in shown(part)
    assert CANARY not in shown([held]) + shown({"example": held})


def test_a_mistake_in_a_setting_does_not_repeat_a_secret() -> None:
    """The error is printed at startup, and may go to an error tracker."""
    wrong: list[dict[str, object]] = [
        {"MAIL": {"PASSWORD": [CANARY]}},
        {"PROVIDERS": {"example": CANARY}},
        {"PROVIDERS": CANARY},
        {"STATE_STORE": [CANARY]},
        {"MINE": {"API_KEY": {"value": CANARY}}},
    ]
    told = []
    for given in wrong:
        with pytest.raises(SettingError) as caught:
            read({"AUTH": given}, {}, sections={"MINE": Section})
        told.append(shown(caught.value) + "".join(traceback.format_exception(caught.value)))
    assert [text for text in told if CANARY in text] == []


def test_a_redacted_struct_shows_what_it_names() -> None:
    class Held(RedactedStruct, frozen=True):
        shown = ("name",)

        name: str
        value: str

    class Open(RedactedStruct, frozen=True):
        shown = ("name",)

        name: str

    assert repr(Held("a", CANARY)) == "Held(name='a', …)"
    assert repr(Open("a")) == "Open(name='a')"
    assert repr(Settings()).startswith("Settings(plugins=None, optional_plugins=(), strict=False, ")


def test_a_credential_shows_which_it_is() -> None:
    made = Credential("1", "7", "totp", "7", CANARY, 1, 0.0)
    assert repr(made).startswith("Credential(id='1', user_id='7', kind='totp', identifier='7', version=1")
