"""Finding plugins, checking them, keeping broken ones out, calling the rest."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import msgspec
import pluggy
import pytest
import typer
from markupsafe import Markup

from asok_auth_core import builtin
from asok_auth_core.auth import Auth
from asok_auth_core.commands.new_plugin import new_plugin
from asok_auth_core.contracts import LoginMethod, SecondFactor
from asok_auth_core.hookspecs import GROUP, PluginManifest
from asok_auth_core.plugin import hookimpl
from asok_auth_core.plugins import Plugins
from asok_auth_core.providers import OpenIDProvider
from asok_auth_core.registry import HOOKS, PluginRegistry
from asok_auth_core.settings import Settings
from asok_auth_core.startup import start
from asok_auth_core.testing.fakes import FakeUser, MemoryCredentialStore, MemoryUsers
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.types import Event, Finding, Grant, LoginAttempt, PluginInfo, User
from asok_auth_core.web import WebRequest

USER = FakeUser("1", "ada@example.org")
ATTEMPT = LoginAttempt(USER, "magic", "192.0.2.1", 0.0)

Install = Callable[[str, str], EntryPoint]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a module and give its entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(name: str, source: str) -> EntryPoint:
        module = f"installed_{name.replace('-', '_')}_{len(written)}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        written.append(module)
        return EntryPoint(name, module, GROUP)

    yield write
    for module in written:
        sys.modules.pop(module, None)


GOOD = """
    from asok_auth_core.plugin import hookimpl

    @hookimpl
    def asok_auth_permissions(user):
        return ["posts.edit"]
"""


def states(registry: PluginRegistry) -> dict[str, str]:
    return {info.name: info.state for info in registry.infos}


def info_of(registry: PluginRegistry, name: str) -> PluginInfo:
    [info] = [info for info in registry.infos if info.name == name]
    return info


def reason(registry: PluginRegistry, name: str) -> str:
    return info_of(registry, name).reason


BROKEN = {
    "import": ("raise RuntimeError('no such library')", "cannot be imported: RuntimeError: no such library"),
    "syntax": ("def (", "cannot be imported: SyntaxError"),
    "misspelled": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def asok_auth_permisions(user): ...
        """,
        "there is no hook 'asok_auth_permisions' (Did you mean 'asok_auth_permissions'?)",
    ),
    "unmarked": ("def asok_auth_event(event): ...", "asok_auth_event is not marked with @hookimpl"),
    "empty": ("", "it implements no hook"),
    "argument": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def asok_auth_permissions(member): ...
        """,
        "asok_auth_permissions has no argument 'member'. asok_auth_permissions passes: user",
    ),
    "argument-misspelled": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def asok_auth_export_user(auth, usr): ...
        """,
        "no argument 'usr' (Did you mean 'user'?). asok_auth_export_user passes: auth, user",
    ),
    "argument-with-default": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def asok_auth_export_user(auth, user=None): ...
        """,
        "the argument 'user' of asok_auth_export_user has a default, so it would never be passed",
    ),
    "any-arguments": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def asok_auth_event(*event): ...
        """,
        "the argument '*event' is not passed by its plain name. asok_auth_event passes: event",
    ),
    "argument-by-keyword": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def asok_auth_event(*, event: object): ...
        """,
        "the argument 'event' is not passed by its plain name. asok_auth_event passes: event",
    ),
    "without-prefix": (
        """
        from asok_auth_core.plugin import hookimpl
        @hookimpl
        def denies(user): ...
        """,
        "there is no hook 'denies' (Did you mean 'asok_auth_denies'?)",
    ),
    "other-api": (
        """
        from asok_auth_core.plugin import PluginManifest, hookimpl
        asok_auth_plugin = PluginManifest(api=">=2.0")
        @hookimpl
        def asok_auth_event(event): ...
        """,
        "written for plugin API >=2.0, this is 1.0",
    ),
    "bad-api": (
        """
        from asok_auth_core.plugin import PluginManifest, hookimpl
        asok_auth_plugin = PluginManifest(api="two")
        @hookimpl
        def asok_auth_event(event): ...
        """,
        "api range 'two' is not valid",
    ),
    "bad-manifest": (
        """
        from asok_auth_core.plugin import hookimpl
        asok_auth_plugin = {"api": "1"}
        @hookimpl
        def asok_auth_event(event): ...
        """,
        "not a PluginManifest",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_in_debug_a_broken_plugin_is_named_and_the_others_work(
    install: Install, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, why = BROKEN[name]
    registry = PluginRegistry(debug=True)
    registry.discover([install(name, source), install("good", GOOD)])
    assert states(registry) == {name: "quarantined", "good": "loaded"}
    assert why in reason(registry, name)
    assert any(name in record.getMessage() and why in record.getMessage() for record in caplog.records)
    [(plugin, grants)] = Plugins(registry).permissions(USER, on_error=_fail)
    assert plugin == "good"
    assert grants.allows("posts.edit")


@pytest.mark.parametrize("name", BROKEN)
def test_strict_mode_stops_with_the_same_reason(install: Install, name: str) -> None:
    source, why = BROKEN[name]
    with raises_code("plugin", match=name) as raised:
        PluginRegistry(strict=True).discover([install(name, source)])
    assert why in raised.value.message


def test_an_inventory_logs_nothing_and_records_everything(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    registry = PluginRegistry(inventory=True, strict=True)
    registry.discover([install("empty", "")])
    assert states(registry) == {"empty": "quarantined"}
    assert not caplog.records


def test_only_listed_plugins_are_loaded(install: Install) -> None:
    registry = PluginRegistry(required=["good"])
    registry.discover([install("good", GOOD), install("other", GOOD)])
    assert states(registry) == {"good": "loaded", "other": "disabled"}
    assert reason(registry, "other") == 'not listed in AUTH["PLUGINS"]'


def test_installed_plugins_are_found_by_entry_point() -> None:
    registry = PluginRegistry()
    registry.discover()
    info = info_of(registry, "magic-link")
    assert (info.state, info.distribution) == ("loaded", "asok-magic-link")
    assert info.hooks == ("asok_auth_login_methods",)
    assert info.version


@pytest.mark.parametrize("debug", [False, True])
def test_a_second_plugin_of_one_name_added_by_hand_stops_the_start(debug: bool) -> None:
    """It may hold a policy, which must not be lost because of its name."""
    registry = PluginRegistry(debug=debug)
    registry.register(giving("asok_auth_permissions", ["a.b"], "one"), name="own")
    with raises_code("plugin", match="the name 'own' is taken"):
        registry.register(giving("asok_auth_denies", "no", "two"), name="own")


# -- failure policies ----------------------------------------------------------------------------


class Raising:
    """Implements one hook, which raises."""

    def __new__(cls, hook: str) -> ModuleType:
        module = ModuleType("raising")

        def implementation() -> None:
            raise RuntimeError("broken inside")

        implementation.__name__ = hook
        setattr(module, hook, hookimpl(implementation))
        return module


def _fail(plugin: str, error: Exception) -> None:
    raise AssertionError((plugin, error))


def with_plugins(*plugins: object) -> Plugins:
    registry = PluginRegistry()
    for plugin in plugins:
        registry.register(plugin)
    return Plugins(registry)


REGISTRATION = {
    "asok_auth_providers": lambda p: p.providers(Settings()),
    "asok_auth_signers": lambda p: p.signers(Settings()),
    "asok_auth_mail_transports": lambda p: p.mail_transports(Settings()),
    "asok_auth_state_stores": lambda p: p.state_stores(Settings()),
    "asok_auth_login_methods": lambda p: p.login_methods(None),
}


@pytest.mark.parametrize("hook", REGISTRATION)
def test_a_registration_hook_that_raises_is_quarantined(hook: str) -> None:
    plugins = with_plugins(Raising(hook))
    assert REGISTRATION[hook](plugins) == {}
    [info] = plugins.registry.quarantined
    assert info.reason == f"{hook} raised RuntimeError: broken inside"


def test_a_second_factor_that_raises_stops_the_start() -> None:
    plugins = with_plugins(Raising("asok_auth_second_factors"))
    with raises_code("plugin", match="running without it would allow what it may reject"):
        plugins.second_factors(None)  # type: ignore[arg-type]


def test_a_plugin_that_can_deny_is_never_dropped_silently() -> None:
    """A registration hook raises; the plugin's denials would be lost with it."""
    module = Raising("asok_auth_providers")
    module.asok_auth_denies = hookimpl(lambda: None)
    plugins = with_plugins(module)
    with raises_code("plugin", match="asok_auth_denies"):
        plugins.providers(Settings())


def test_a_misspelled_hook_beside_a_denying_one_stops_the_start() -> None:
    module = ModuleType("half")
    module.asok_auth_denies = hookimpl(lambda: None)
    module.asok_auth_evnt = hookimpl(lambda: None)
    with raises_code("plugin", match="asok_auth_evnt"):
        PluginRegistry().register(module)


class Named(LoginMethod):
    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


class NamedFactor(SecondFactor):
    label = "Named"

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]

    def is_enrolled(self, user: User) -> bool:
        return False

    def reset(self, user: User) -> None:
        raise AssertionError("nobody has it")

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        raise AssertionError("nobody has it")

    def verify(self, request: WebRequest, user: User) -> bool:
        return False


class NamedProvider(OpenIDProvider):
    issuer = "https://login.example"

    def __init__(self, name: str) -> None:
        self.name = name


def giving(hook: str, value: object, name: str = "giving") -> ModuleType:
    module = ModuleType(name)
    setattr(module, hook, hookimpl(lambda: value))
    return module


def test_two_plugins_registering_one_name_are_an_error() -> None:
    first, second = Named("x"), Named("x")
    plugins = with_plugins(
        giving("asok_auth_login_methods", [first], "one"), giving("asok_auth_login_methods", [second], "two")
    )
    methods = plugins.login_methods(None)  # type: ignore[arg-type]
    assert len(methods) == 1
    [info] = plugins.registry.quarantined
    assert "asok_auth_login_methods returns 'x', which plugin" in info.reason


NOT_ATTRIBUTES = ["my-method", "My", "1st", "_own", "class", "schlüssel", "a b", "", None]


@pytest.mark.parametrize("name", NOT_ATTRIBUTES)
def test_a_login_method_that_request_auth_cannot_name_is_quarantined(name: str) -> None:
    plugins = with_plugins(
        giving("asok_auth_login_methods", [Named(name)], "bad"),
        giving("asok_auth_login_methods", [Named("my_method2")], "good"),
    )
    assert list(plugins.login_methods(None)) == ["my_method2"]  # type: ignore[arg-type]
    [info] = plugins.registry.quarantined
    assert info.name == "bad"
    assert f"the name {name!r}, which cannot follow request.auth.:" in info.reason


@pytest.mark.parametrize("name", NOT_ATTRIBUTES)
def test_a_second_factor_that_request_auth_cannot_name_stops_the_start(name: str) -> None:
    plugins = with_plugins(giving("asok_auth_second_factors", [NamedFactor(name)], "bad"))
    with raises_code("plugin") as raised:
        plugins.second_factors(None)  # type: ignore[arg-type]
    assert "Plugin 'bad' is not loaded: asok_auth_second_factors returns" in raised.value.message
    assert f"the name {name!r}, which cannot follow request.auth.:" in raised.value.message


def test_a_provider_may_have_a_dash_in_its_name() -> None:
    plugins = with_plugins(giving("asok_auth_providers", [NamedProvider("my-provider")]))
    assert list(plugins.providers(Settings())) == ["my-provider"]


def test_none_from_a_hook_registers_nothing() -> None:
    plugins = with_plugins(*(giving(hook, None, hook) for hook in HOOKS))
    assert plugins.providers(Settings()) == {}
    assert plugins.second_factors(None) == {}  # type: ignore[arg-type]
    assert list(plugins.permissions(USER, on_error=_fail)) == []
    assert plugins.denies(USER, "a.b", None, on_error=_fail) is None
    assert plugins.before_login(ATTEMPT, on_error=_fail) is None
    assert list(plugins.checks(None)) == []  # type: ignore[arg-type]
    plugins.event(Event("x", 0.0))


def test_grants_are_merged_and_one_that_raises_grants_nothing() -> None:
    errors: list[tuple[str, str]] = []
    plugins = with_plugins(
        giving("asok_auth_permissions", ["a.b"], "one"),
        giving("asok_auth_permissions", [Grant("c.*", "role editor")], "two"),
        Raising("asok_auth_permissions"),
    )
    granted = dict(plugins.permissions(USER, on_error=lambda p, e: errors.append((p, str(e)))))
    assert set(granted) == {"one", "two"}
    assert granted["one"].allows("a.b")
    assert granted["two"].allows("c.d")
    assert errors == [("raising", "broken inside")]


@pytest.mark.parametrize("hook", ["asok_auth_denies", "asok_auth_before_login"])
def test_a_guard_that_raises_denies(hook: str) -> None:
    errors: list[str] = []
    plugins = with_plugins(Raising(hook), giving(hook, None, "silent"))

    def ask() -> tuple[str, str] | None:
        on_error = lambda plugin, error: errors.append(plugin)  # noqa: E731
        if hook == "asok_auth_denies":
            return plugins.denies(USER, "a.b", None, on_error)
        return plugins.before_login(ATTEMPT, on_error)

    rejection = ask()
    assert rejection is not None
    assert rejection[0] == "raising"
    assert errors == ["raising"]


def test_one_reason_to_reject_outweighs_every_other_plugin() -> None:
    for order in ([None, "no"], ["no", None]):
        plugins = with_plugins(
            *(giving("asok_auth_before_login", value, f"p{n}") for n, value in enumerate(order))
        )
        rejection = plugins.before_login(ATTEMPT, on_error=_fail)
        assert rejection is not None
        assert rejection[1] == "no"


def test_an_observer_that_raises_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    module = ModuleType("watching")

    @hookimpl
    def asok_auth_event(event: Event) -> None:
        told.append(event.name)

    module.asok_auth_event = asok_auth_event
    with_plugins(module, Raising("asok_auth_event")).event(Event("login.succeeded", 0.0))
    assert told == ["login.succeeded"]
    assert "'raising' failed on event login.succeeded" in caplog.text


def test_a_check_that_raises_is_a_finding() -> None:
    good = Finding("good", "info", "fine")
    plugins = with_plugins(Raising("asok_auth_checks"), giving("asok_auth_checks", [good], "good"))
    findings = list(plugins.checks(None))  # type: ignore[arg-type]
    assert good in findings
    [bad] = [finding for finding in findings if finding is not good]
    assert (bad.check, bad.severity) == ("raising", "error")
    assert "broken inside" in bad.message


def test_a_command_that_raises_is_reported() -> None:
    errors: list[str] = []
    plugins = with_plugins(Raising("asok_auth_commands"))
    plugins.commands(typer.Typer(), lambda plugin, error: errors.append(plugin))
    assert errors == ["raising"]


def test_a_command_of_a_name_that_is_taken_is_left_out_with_its_owner() -> None:
    def adds(*names: str) -> Callable[[typer.Typer], None]:
        def asok_auth_commands(cli: typer.Typer) -> None:
            for name in names:
                cli.command(name)(lambda: None)
                cli.add_typer(typer.Typer(), name=f"{name}-more")

        return asok_auth_commands

    cli, errors = typer.Typer(), []
    cli.command()(new_plugin)
    plugins = PluginRegistry()
    for name, commands in {
        "one": ["a"],
        "two": ["b", "a"],
        "three": ["new-plugin"],
        "four": ["c", "c"],
    }.items():
        module = ModuleType(name)
        module.asok_auth_commands = hookimpl(adds(*commands))  # type: ignore[attr-defined]
        plugins.register(module, name, f"asok-{name}")
    Plugins(plugins).commands(cli, lambda plugin, error: errors.append(f"{plugin}: {error}"))
    assert sorted(errors) == [
        "four: The command 'c' is one of plugin 'four' (distribution asok-four) already.",
        "three: The command 'new-plugin' is one of the core already.",
        "two: The command 'a' is one of plugin 'one' (distribution asok-one) already.",
    ]
    assert [one.name for one in cli.registered_commands] == [None, "a"]
    assert [one.name for one in cli.registered_groups] == ["a-more"]


class OneSetting(msgspec.Struct):
    text: str = ""


def with_section(name: str, hook: str = "asok_auth_event") -> ModuleType:
    module = giving(hook, None, name)
    module.asok_auth_plugin = PluginManifest(section="MINE", settings=OneSetting)
    return module


def test_of_two_plugins_with_one_settings_section_the_second_is_quarantined() -> None:
    registry = PluginRegistry()
    registry.register(with_section("one"), "one", "asok-one")
    registry.register(with_section("two"), "two", "asok-two")
    registry.register(giving("asok_auth_event", None, "other"))
    assert registry.sections() == {"MINE": OneSetting}
    [info] = registry.quarantined
    assert info.name == "two"
    assert info.reason == "its settings section 'MINE' is that of plugin 'one' (distribution asok-one)"


BAD_MANIFESTS = {
    "no settings": ({"section": "MINE"}, "the section 'MINE' has no settings; name their class"),
    "no section": (
        {"settings": OneSetting},
        'settings has no section; name one, such as section="ONE_SETTING"',
    ),
    "lower case": (
        {"section": "smsGateway", "settings": OneSetting},
        "section is 'smsGateway'; it must be upper-case letters, digits and single _, such as 'SMS_GATEWAY'",
    ),
    "two dashes": ({"section": "A__B", "settings": OneSetting}, "section is 'A__B'; it must be upper-case"),
    "not a text": ({"section": 5, "settings": OneSetting}, "section is 5; it must be upper-case"),
    "of the core": (
        {"section": "MAIL", "settings": OneSetting},
        "section is 'MAIL', which is a setting of the core; choose another name",
    ),
    "no struct": ({"section": "MINE", "settings": dict}, "it must be a class that inherits msgspec.Struct"),
    "an instance": ({"section": "MINE", "settings": OneSetting()}, "it must be a class that inherits"),
    "required": ({"required": "yes"}, "required is 'yes'; it must be True or False"),
    "mail": ({"sends_mail": "yes"}, "sends_mail is 'yes'; it must be True, False or a function of"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_used_is_an_error_that_names_its_plugin(case: str) -> None:
    given, why = BAD_MANIFESTS[case]
    module = giving("asok_auth_event", None, "sms")
    module.asok_auth_plugin = PluginManifest(**given)
    with raises_code("plugin") as raised:
        PluginRegistry().register(module, "sms", "asok-sms")
    assert raised.value.message.startswith(
        "Plugin 'sms' (distribution asok-sms) is not loaded: in its PluginManifest, "
    )
    assert why in raised.value.message


def test_a_guard_with_the_settings_section_of_another_plugin_stops_the_start() -> None:
    registry = PluginRegistry()
    registry.register(with_section("one"), "one")
    registry.register(with_section("two", "asok_auth_denies"), "two")
    with raises_code("plugin", match="its settings section 'MINE' is that of plugin 'one'"):
        registry.sections()


def test_a_factor_with_the_name_of_another_plugins_login_method_stops_the_start() -> None:
    plugins = with_plugins(
        giving("asok_auth_login_methods", [Named("x")], "one"),
        giving("asok_auth_second_factors", [NamedFactor("x")], "two"),
    )
    plugins.login_methods(None)  # type: ignore[arg-type]
    with raises_code("plugin", match="'x' has the name of a login method of plugin 'one'"):
        plugins.second_factors(None)  # type: ignore[arg-type]


def test_one_plugin_may_have_a_login_method_and_a_factor_of_one_name() -> None:
    module = giving("asok_auth_login_methods", [Named("x")], "both")
    module.asok_auth_second_factors = hookimpl(lambda: [NamedFactor("x")])  # type: ignore[attr-defined]
    plugins = with_plugins(module)
    assert list(plugins.login_methods(None)) == list(plugins.second_factors(None)) == ["x"]  # type: ignore[arg-type]


def test_the_time_that_an_import_takes_is_recorded(install: Install) -> None:
    times = iter([10.0, 11.5])
    registry = PluginRegistry(stopwatch=lambda: next(times))
    registry.discover([install("good", GOOD)])
    assert registry.infos[0].import_seconds == 1.5


def test_hook_calls_can_be_watched() -> None:
    """Every call goes through pluggy, so its monitoring sees it."""
    plugins = with_plugins(giving("asok_auth_event", None, "one"), giving("asok_auth_event", None, "two"))
    seen: list[str] = []

    def before(name: str, implementations: list[pluggy.HookImpl], arguments: dict[str, object]) -> None:
        seen.extend(f"{name}:{impl.plugin_name}" for impl in implementations)

    undo = plugins.registry.manager.add_hookcall_monitoring(before, lambda *outcome: None)
    plugins.event(Event("x", 0.0))
    undo()
    assert sorted(seen) == ["asok_auth_event:one", "asok_auth_event:two"]


@pytest.mark.requirement("SECURITY-32")
def test_the_app_does_not_start_without_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its login methods, tokens would be ignored rather than rejected."""

    def broken(auth: Auth) -> LoginMethod:
        raise RuntimeError("out of order")

    monkeypatch.setattr(builtin, "TokenMethod", broken)
    with raises_code("plugin", match=r"'asok_auth_core'.*out of order.*running without it would allow"):
        start(
            {
                "SECRET_KEY": "k" * 32,
                "MAIL_HOST": "127.0.0.1",
                "MAIL_FROM": "auth@app.example",
                "AUTH": {"STATE_STORE": "memory:"},
            },
            {},
            root=tmp_path,
            users=MemoryUsers(),
            credentials=lambda clock, random: MemoryCredentialStore(clock),
            entry_points=[],
        )
