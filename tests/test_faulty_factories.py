"""Faulty parts of plugins are reported at startup, with the plugin's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.plugin import (
    Identity,
    LoginMethod,
    MemoryStateStore,
    OAuth2Provider,
    OpenIDProvider,
    PluginManifest,
    SecondFactor,
    User,
    WebRequest,
    hookimpl,
)


class Strava(OAuth2Provider):
    name = "strava"
    label = "Strava"


class WithText(Strava):
    scopes = "read"  # type: ignore[assignment]

    def identity(self, claims: object, fetch: object, answer: object) -> Identity:  # type: ignore[override]
        raise AssertionError("never called")


def fail(*given: object) -> object:
    raise ZeroDivisionError("division by zero")


def plugin(hook: str, given: object) -> object:
    """The plugin "hands", whose ``hook`` returns ``given``."""
    function = staticmethod(hookimpl(_function(hook, given)))
    return type("Hands", (), {"__name__": "hands", hook: function})()


def _function(name: str, given: object) -> Callable[[], object]:
    def returns() -> object:
        return given

    returns.__name__ = name
    return returns


CHOSEN: Mapping[str, tuple[str, object, dict[str, object], str]] = {
    "a signer that is not used": (
        "asok_auth_signers",
        {"XS512": fail},
        {},
        "The factory of the token signer 'XS512' of plugin 'hands' raised ZeroDivisionError",
    ),
    "a signer that is none": (
        "asok_auth_signers",
        {"XS512": lambda material: "key"},
        {},
        "The factory of the token signer 'XS512' of plugin 'hands' returned str, not Signer",
    ),
    "a store": (
        "asok_auth_state_stores",
        {"box": fail},
        {"STATE_STORE": "box:"},
        "AUTH[\"STATE_STORE\"]: the factory of plugin 'hands' for 'box' raised ZeroDivisionError",
    ),
    "a store that is none": (
        "asok_auth_state_stores",
        {"box": lambda url: None},
        {"STATE_STORE": "box:"},
        "AUTH[\"STATE_STORE\"]: the factory of plugin 'hands' for 'box' returned NoneType, not StateStore",
    ),
    "a mail transport that is none": (
        "asok_auth_mail_transports",
        {"bird": lambda: None},
        {"MAIL_TRANSPORT": "bird"},
        "the factory of plugin 'hands' for 'bird' returned NoneType, not MailTransport",
    ),
}


@pytest.mark.parametrize(("hook", "given", "settings", "told"), CHOSEN.values(), ids=CHOSEN)
def test_a_factory_that_fails_stops_the_start_and_is_named(
    make_auth: Callable[..., Auth], hook: str, given: object, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_auth(plugins=(plugin(hook, given),), settings=settings)
    assert told in raised.value.message
    assert "asok_auth_core" not in raised.value.message
    assert "Fix, upgrade or uninstall the plugin." in raised.value.message


LISTED: Mapping[str, tuple[str, Iterable[object], str]] = {
    "a provider's class": (
        "asok_auth_providers",
        [Strava],
        "it returned the class Strava; return an instance",
    ),
    "a provider's name": ("asok_auth_providers", ["strava"], "it returned str, not OAuth2Provider"),
    "a provider without identity": ("asok_auth_providers", [Strava()], "'strava' has no method identity()"),
    "scopes as text": ("asok_auth_providers", [WithText()], "scopes of the provider 'strava' is a text"),
    "a factor's class": ("asok_auth_second_factors", [SecondFactor], "it returned the class SecondFactor"),
    "a method's name": ("asok_auth_login_methods", ["magic"], "it returned str, not LoginMethod"),
}


class Pin(SecondFactor):
    name = "pin"
    label = "PIN"

    def is_enrolled(self, user: User) -> bool:
        return False

    def reset(self, user: User) -> None:
        return

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        raise AssertionError("never called")

    def verify(self, request: WebRequest, user: User) -> bool:
        return False


class Door(LoginMethod):
    name = "door"


class Acme(OpenIDProvider):
    name = "acme"
    label = "Acme"
    issuer = "https://login.acme.example"


def with_attribute(part: type, name: str, value: object) -> object:
    """A part like ``part`` in which ``name`` is ``value``."""
    return type(f"Odd{part.__name__}", (part,), {name: value})()


MISFITS: Mapping[str, tuple[str, type, str, object, str]] = {
    "a challenge without problem": (
        "asok_auth_second_factors",
        Pin,
        "challenge",
        lambda self, request, user: Markup(),
        "OddPin.challenge must take (request, user, problem=None)",
    ),
    "a challenge that needs problem": (
        "asok_auth_second_factors",
        Pin,
        "challenge",
        lambda self, request, user, problem: Markup(),
        "OddPin.challenge must take (request, user, problem=None)",
    ),
    "a verify with more": (
        "asok_auth_second_factors",
        Pin,
        "verify",
        lambda self, request, user, code: True,
        "OddPin.verify must take (request, user)",
    ),
    "routes that are none": (
        "asok_auth_second_factors",
        Pin,
        "routes",
        (),
        "OddPin.routes is of type tuple, not a method",
    ),
    "a factor without label": (
        "asok_auth_second_factors",
        Pin,
        "label",
        " ",
        "the factor 'pin' has no label",
    ),
    "a factor's enrol_path": (
        "asok_auth_second_factors",
        Pin,
        "enrol_path",
        "auth/pin",
        "enrol_path of the factor 'pin' is 'auth/pin'; write a path or None",
    ),
    "a login block without problem": (
        "asok_auth_login_methods",
        Door,
        "login_block",
        lambda self, request: None,
        "OddDoor.login_block must take (request, problem=None)",
    ),
    "an order that is none": (
        "asok_auth_login_methods",
        Door,
        "order",
        "first",
        "order of the login method 'door' is 'first', not a whole number",
    ),
    "an identity without answer": (
        "asok_auth_providers",
        Acme,
        "identity",
        lambda self, claims, fetch: None,
        "OddAcme.identity must take (claims, fetch, answer)",
    ),
    "an issuer's check": (
        "asok_auth_providers",
        Acme,
        "accepts_issuer",
        lambda self, issuer: True,
        "OddAcme.accepts_issuer must take (issuer, claims)",
    ),
}


@pytest.mark.parametrize(("hook", "part", "name", "value", "told"), MISFITS.values(), ids=MISFITS)
def test_a_part_that_does_not_fit_its_contract_is_named(
    make_auth: Callable[..., Auth], hook: str, part: type, name: str, value: object, told: str
) -> None:
    make_auth(plugins=(plugin(hook, [part()]),))
    with pytest.raises(ConfigurationError) as raised:
        make_auth(plugins=(plugin(hook, [with_attribute(part, name, value)]),))
    assert raised.value.code == "plugin"
    assert told in raised.value.message
    assert "'hands'" in raised.value.message


def test_a_factor_that_never_names_its_label_is_named(make_auth: Callable[..., Auth]) -> None:
    nameless = type("Nameless", (Pin,), {})
    del Pin.label
    try:
        with pytest.raises(ConfigurationError, match="the factor 'pin' has no label; set label to the name"):
            make_auth(plugins=(plugin("asok_auth_second_factors", [nameless()]),))
    finally:
        Pin.label = "PIN"


def test_methods_may_take_more_than_their_contract_says(make_auth: Callable[..., Auth]) -> None:
    def challenge(self: object, *arguments: object, size: int = 6, **more: object) -> Markup:
        raise AssertionError("never called")

    pin = with_attribute(Pin, "challenge", challenge)
    assert "pin" in make_auth(plugins=(plugin("asok_auth_second_factors", [pin]),)).second_factors


class Box(MemoryStateStore):
    def put(self, key: str, value: bytes) -> None:  # type: ignore[override]
        raise AssertionError("never called")


def test_a_store_that_does_not_fit_its_contract_is_named(make_auth: Callable[..., Auth]) -> None:
    stores = plugin("asok_auth_state_stores", {"box": lambda url: Box()})
    told = (
        r"of plugin 'hands' for 'box' returned an unusable StateStore: Box\.put must take \(key, value, ttl\)"
    )
    with pytest.raises(ConfigurationError, match=told):
        make_auth(plugins=(stores,), settings={"STATE_STORE": "box:"})


@pytest.mark.parametrize(("hook", "given", "told"), LISTED.values(), ids=LISTED)
def test_a_part_that_is_no_part_is_named(
    make_auth: Callable[..., Auth], hook: str, given: Iterable[object], told: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_auth(plugins=(plugin(hook, given),))
    assert told in raised.value.message
    assert "'hands'" in raised.value.message


def test_a_route_that_is_none_is_named(make_auth: Callable[..., Auth]) -> None:
    with pytest.raises(ConfigurationError, match=r"'hands'.*returned tuple, not Route"):
        make_auth(plugins=(plugin("asok_auth_routes", [("/things", lambda request: None)]),))


def test_a_manifest_under_another_name_is_found(make_auth: Callable[..., Auth]) -> None:
    """It may say ``required``, so nothing is known about the plugin."""
    made = plugin("asok_auth_permissions", [])
    type(made).asok_auth_pluginn = PluginManifest(required=True)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="its PluginManifest is called asok_auth_pluginn"):
        make_auth(plugins=(made,))
