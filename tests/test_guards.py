"""The app does not start without a plugin that may reject something."""

from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest
import typer

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import LoginMethod, MailTransport, StateStore
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.signers import SIGNERS
from asok_auth_core.engine.tokens import TokenClaims, TokenCodec
from asok_auth_core.errors import ConfigurationError, SettingError
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.permissions import can
from asok_auth_core.plugin import hookimpl
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import HOOKS, PluginRegistry
from asok_auth_core.testing import FakeRequest, raises_code
from asok_auth_core.testing.login_method import EnrolledFactor
from asok_auth_core.testing.parts import Browser, RecordedMail, build_auth
from asok_auth_core.types import OutgoingMail, Proof
from asok_auth_core.web import Route

pytestmark = pytest.mark.requirement("SECURITY-34")

Install = Callable[..., EntryPoint]
Start = Callable[..., Auth]

PROVIDER = """
from asok_auth_core.plugin import hookimpl

@hookimpl
def asok_auth_permissions(user):
    return ["posts.edit"]
"""
POLICY = """
from asok_auth_core.plugin import hookimpl

@hookimpl
def asok_auth_before_login(attempt):
    return "Not today."
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one module, and give its entry point."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    modules: list[str] = []

    def install(
        source: str, *, name: str = "guard", distribution: str = "", attribute: str = ""
    ) -> EntryPoint:
        distribution = distribution or f"asok-{name}"
        module = distribution.replace("-", "_")
        modules.append(module)
        (folder / f"{module}.py").write_text(textwrap.dedent(source))
        info = folder / f"{module}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n")
        value = f"{module}:{attribute}" if attribute else module
        (info / "entry_points.txt").write_text(f"[asok_auth]\n{name} = {value}\n")
        [entry] = [e for e in entry_points(group="asok_auth") if e.dist and e.dist.name == distribution]
        return entry

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an app with entry points, as in production unless ``debug``."""
    made: list[Auth] = []

    def start(
        *found: EntryPoint, debug: bool = False, plugins: Iterable[object] = (), **auth: object
    ) -> Auth:
        settings = {"STRICT": False, **auth}
        config = {"DEBUG": debug}
        made.append(
            build_auth(tmp_path, plugins=tuple(plugins), settings=settings, config=config, entry_points=found)
        )
        return made[-1]

    yield start
    for auth in made:
        auth.outbox.close()


def state_of(auth: Auth, name: str) -> str:
    [info] = [info for info in auth.plugins.infos if info.name == name]
    return info.state


MAY_BE_GUARDS = {
    "an import fails": (
        "import a_library_that_is_gone\n" + POLICY,
        "No module named 'a_library_that_is_gone'",
    ),
    "a syntax error": ("def (", "SyntaxError"),
    "SystemExit": ("raise SystemExit('bye')", "SystemExit: bye"),
    "another BaseException": ("class Odd(BaseException): ...\nraise Odd('odd')", "Odd: odd"),
    "a misspelled hook": (
        POLICY.replace("before_login", "befor_login"),
        "Did you mean 'asok_auth_before_login'?",
    ),
    "a misspelled hook without mark": ("def asok_auth_befor_login(attempt): ...", "'asok_auth_befor_login'"),
    "a hook without the prefix": (POLICY.replace("asok_auth_before", "before"), "no hook 'before_login'"),
    "no hook": ("def before_login(attempt): ...", "it implements no hook"),
    "another API": (
        "from asok_auth_core.plugin import PluginManifest\nasok_auth_plugin = PluginManifest(api='>=2')\n"
        + PROVIDER,
        "written for plugin API >=2",
    ),
    "a bad API range": (
        "from asok_auth_core.plugin import PluginManifest\nasok_auth_plugin = PluginManifest(api='two')\n"
        + PROVIDER,
        "api range 'two' is not valid",
    ),
    "a bad manifest": ("asok_auth_plugin = 'guard'\n" + PROVIDER, "not a PluginManifest"),
}


@pytest.mark.parametrize("case", MAY_BE_GUARDS)
def test_a_plugin_that_may_be_a_guard_stops_the_start(install: Install, start: Start, case: str) -> None:
    source, why = MAY_BE_GUARDS[case]
    entry = install(source)
    with raises_code("plugin") as raised:
        start(entry)
    message = raised.value.message
    assert "Plugin 'guard' (distribution asok-guard 2.0, entry point 'guard = asok_guard')" in message
    assert why in message
    assert 'AUTH["OPTIONAL_PLUGINS"]' in message


@pytest.mark.parametrize("case", MAY_BE_GUARDS)
@pytest.mark.parametrize("name", ["guard", "asok-guard"])
def test_an_optional_plugin_does_not(install: Install, start: Start, case: str, name: str) -> None:
    source, why = MAY_BE_GUARDS[case]
    auth = start(install(source), OPTIONAL_PLUGINS=[name])
    [info] = [info for info in auth.plugins.infos if info.name == "guard"]
    assert info.state == "quarantined"
    assert why in info.reason


@pytest.mark.parametrize("case", MAY_BE_GUARDS)
def test_in_debug_it_is_logged_as_an_error(
    install: Install, start: Start, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, why = MAY_BE_GUARDS[case]
    assert state_of(start(install(source), debug=True), "guard") == "quarantined"
    assert any(why in r.getMessage() and r.levelname == "ERROR" for r in caplog.records)


def test_strict_holds_in_debug_too(install: Install, start: Start) -> None:
    entry = install("def (")
    with raises_code("plugin", match="STRICT"):
        start(entry, debug=True, STRICT=True)


def test_ctrl_c_while_a_plugin_is_imported_is_passed_on(install: Install, start: Start) -> None:
    entry = install("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        start(entry)


@pytest.mark.parametrize("hook", ["asok_auth_providers", "asok_auth_second_factors"])
def test_ctrl_c_in_a_hook_is_passed_on(start: Start, hook: str) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(plugins=[with_hook(hook, interrupted)], OPTIONAL_PLUGINS=["waiting"])


def test_ctrl_c_while_a_part_lists_its_pages_is_passed_on(start: Start) -> None:
    class Interrupted(Method):
        def routes(self) -> Iterable[Route]:
            raise KeyboardInterrupt

    auth = start(plugins=[with_hook("asok_auth_login_methods", lambda: [Interrupted()])])
    with pytest.raises(KeyboardInterrupt):
        Browser(auth)


KNOWN_GUARDS = {
    "a hook that takes another argument": POLICY.replace("attempt", "login"),
    "a hook whose argument has a default": POLICY.replace("attempt", "attempt=None"),
    "a hook without mark": POLICY.replace("@hookimpl", ""),
    "a wrapper": POLICY.replace("@hookimpl", "@hookimpl(wrapper=True)"),
    "an old wrapper": POLICY.replace("@hookimpl", "@hookimpl(hookwrapper=True)").replace("return", "yield"),
    "a hook marked as another": POLICY.replace("@hookimpl", "@hookimpl(specname='asok_auth_event')").replace(
        "attempt", ""
    ),
    "a misspelled hook beside it": POLICY + "\n@hookimpl\ndef asok_auth_evnt(event): ...",
    "another API": "from asok_auth_core.plugin import PluginManifest\n"
    "asok_auth_plugin = PluginManifest(api='>=2')\n" + POLICY,
    "a factor that raises": PROVIDER + "\n@hookimpl\ndef asok_auth_second_factors(auth): import nothing_here",
    "a factor that exits": PROVIDER + "\n@hookimpl\ndef asok_auth_second_factors(auth): raise SystemExit(1)",
    "a provider that raises beside it": POLICY + "\n@hookimpl\ndef asok_auth_providers(settings): 1 / 0",
    "a required observer with a bad section": """
        from asok_auth_core.plugin import PluginManifest, hookimpl
        asok_auth_plugin = PluginManifest(required=True, section="audit")
        @hookimpl
        def asok_auth_event(event): ...
        """,
    "a required observer of another API": """
        from asok_auth_core.plugin import PluginManifest, hookimpl
        asok_auth_plugin = PluginManifest(required=True, api=">=2")
        @hookimpl
        def asok_auth_event(event): ...
        """,
    "a required observer": """
        from asok_auth_core.plugin import PluginManifest, hookimpl
        asok_auth_plugin = PluginManifest(required=True)
        @hookimpl
        def asok_auth_event(event): ...
        @hookimpl
        def asok_auth_providers(settings): 1 / 0
        """,
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("case", KNOWN_GUARDS)
def test_a_known_guard_stops_the_start_whatever_the_settings(
    install: Install, start: Start, case: str, debug: bool
) -> None:
    entry = install(KNOWN_GUARDS[case])
    with raises_code("plugin", match="asok-guard 2.0"):
        start(entry, debug=debug, OPTIONAL_PLUGINS=["guard"])


HARMLESS = {
    "an observer": "\n@hookimpl\ndef asok_auth_event(event): ...",
    "a check": "\n@hookimpl\ndef asok_auth_checks(auth): return []",
}


@pytest.mark.parametrize("case", HARMLESS)
def test_a_plugin_without_a_guard_is_quarantined(install: Install, start: Start, case: str) -> None:
    entry = install(PROVIDER + HARMLESS[case] + "\n@hookimpl\ndef asok_auth_providers(settings): 1 / 0")
    assert state_of(start(entry), "guard") == "quarantined"
    with raises_code("plugin", match="STRICT"):
        start(entry, STRICT=True)
    with raises_code("plugin", match=r"AUTH\[.PLUGINS.\] lists it"):
        start(entry, PLUGINS=["guard"])


def test_exiting_in_a_registration_hook_does_not_end_the_app(install: Install, start: Start) -> None:
    entry = install(PROVIDER + "\n@hookimpl\ndef asok_auth_login_methods(auth): raise SystemExit(3)")
    assert state_of(start(entry), "guard") == "quarantined"


# -- the lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
def test_a_listed_plugin_that_is_missing_stops_the_start(start: Start, debug: bool) -> None:
    with raises_code("plugin", match="'totpp' is not loaded: it is not installed"):
        start(debug=debug, PLUGINS=["totpp"])


def test_a_misspelled_name_in_the_list_gets_a_hint(install: Install, start: Start) -> None:
    entry = install(PROVIDER)
    with raises_code("plugin", match="Did you mean 'guard'"):
        start(entry, PLUGINS=["gaurd"])


def test_an_optional_plugin_that_is_missing_is_no_error(start: Start) -> None:
    start(OPTIONAL_PLUGINS=["nothing-here"])


@pytest.mark.parametrize("lists", [("guard", "guard"), ("asok-guard", "guard"), ("guard", "asok-guard")])
def test_a_plugin_in_both_lists_is_an_error(install: Install, start: Start, lists: tuple[str, str]) -> None:
    entry = install(PROVIDER)
    with pytest.raises(SettingError, match="both name 'guard'"):
        start(entry, PLUGINS=[lists[0]], OPTIONAL_PLUGINS=[lists[1]])


def test_a_name_in_both_lists_is_an_error_though_nothing_is_installed(start: Start) -> None:
    with pytest.raises(SettingError, match="both name 'gone'"):
        start(PLUGINS=["gone"], OPTIONAL_PLUGINS=["gone"])


def test_a_plugin_outside_the_lists_is_not_imported(install: Install, start: Start) -> None:
    outside, listed = install("raise SystemExit", name="outside"), install(PROVIDER, name="listed")
    perhaps = install(PROVIDER, name="perhaps")
    auth = start(outside, listed, perhaps, PLUGINS=["listed"], OPTIONAL_PLUGINS=["perhaps"])
    assert [state_of(auth, name) for name in ("outside", "listed", "perhaps")] == [
        "disabled",
        "loaded",
        "loaded",
    ]
    assert "asok_outside" not in sys.modules


@pytest.mark.parametrize("listed", [[], ["asok-auth-core"], ["asok_auth_core"]])
def test_the_core_runs_whatever_is_listed(start: Start, listed: list[str]) -> None:
    auth = start(PLUGINS=listed)
    assert state_of(auth, "asok_auth_core") == "loaded"
    assert "token" in auth.login_methods


# -- names ---------------------------------------------------------------------------------------


def clash(install: Install) -> tuple[EntryPoint, EntryPoint]:
    return (
        install(POLICY, name="totp", distribution="asok-totp-fork"),
        install(PROVIDER, name="totp", distribution="an-other"),
    )


@pytest.mark.parametrize("debug", [False, True])
def test_two_distributions_of_one_name_stop_the_start(install: Install, start: Start, debug: bool) -> None:
    with raises_code("plugin", match="the name 'totp' is taken") as raised:
        start(*clash(install), debug=debug, OPTIONAL_PLUGINS=["totp"])
    assert "asok-totp-fork 2.0" in raised.value.message
    assert "an-other 2.0" in raised.value.message


def test_a_list_can_choose_between_them(install: Install, start: Start) -> None:
    auth = start(*clash(install), PLUGINS=["asok-totp-fork"])
    assert state_of(auth, "totp") == "loaded"
    assert state_of(auth, "totp (an-other)") == "disabled"
    ada = auth.users.create("ada@example.com")
    with raises_code("login_rejected", match="Not today"):
        complete_login(auth, FakeRequest("/"), ada, Proof("app"))


def test_a_listed_name_of_two_distributions_stops_the_start(install: Install, start: Start) -> None:
    with raises_code("plugin", match="the name 'totp' is taken"):
        start(*clash(install), PLUGINS=["totp"])


def test_an_installed_plugin_cannot_take_the_cores_name(install: Install, start: Start) -> None:
    entry = install(PROVIDER, name="asok_auth_core", distribution="an-other")
    with raises_code("plugin", match="the name 'asok_auth_core' is taken by distribution asok-auth-core"):
        start(entry)


def test_a_plugin_found_twice_is_loaded_once(install: Install, start: Start) -> None:
    entry = install(POLICY)
    assert state_of(start(entry, entry), "guard") == "loaded"


def test_an_installed_plugin_that_the_app_passes_too_is_loaded_once(install: Install, start: Start) -> None:
    entry = install(POLICY)
    auth = start(entry, plugins=[entry.load()], PLUGINS=["guard"])
    assert [state_of(auth, "asok_guard"), state_of(auth, "guard")] == ["loaded", "disabled"]


SECTION = (
    PROVIDER
    + """
import msgspec
from asok_auth_core.plugin import PluginManifest

class SmsSettings(msgspec.Struct, rename=str.upper):
    sender: str = ""

asok_auth_plugin = PluginManifest(section="SMS", settings=SmsSettings)
"""
)


def test_a_plugins_section_that_is_no_mapping_is_named_with_its_type(install: Install, start: Start) -> None:
    entry = install(SECTION)
    with pytest.raises(SettingError, match=r'AUTH\["SMS"\] must be a mapping, got int\.'):
        start(entry, SMS=5)


# -- what is not a plugin ------------------------------------------------------------------------

CLASS = """
from asok_auth_core.plugin import hookimpl

class Guard:
    @hookimpl
    def asok_auth_{hook}(self): ...

def guard(): ...
guard_text = "guard"
"""


@pytest.mark.parametrize("hook", ["before_login", "event"])
def test_an_entry_point_that_names_a_class_is_explained(install: Install, start: Start, hook: str) -> None:
    entry = install(CLASS.format(hook=hook), attribute="Guard")
    with raises_code("plugin", match="names the class Guard; name a module, or an instance"):
        start(entry)


@pytest.mark.parametrize("attribute", ["guard", "guard_text", "missing"])
def test_so_is_one_that_names_something_else(install: Install, start: Start, attribute: str) -> None:
    entry = install(CLASS.format(hook="event"), attribute=attribute)
    with raises_code("plugin", match=f"asok_guard:{attribute}"):
        start(entry)


def test_a_plugin_that_cannot_be_read_is_named(start: Start) -> None:
    class Unreadable:
        @property
        def asok_auth_event(self) -> object:
            raise RuntimeError("no such file")

    with raises_code("plugin", match="'Unreadable' is not loaded: RuntimeError: no such file"):
        start(plugins=[Unreadable()])


# -- hooks that pluggy would silently leave out -----------------------------------------------------


def _policy() -> str:
    return "Not today."


class _Callable:
    def __call__(self) -> str:
        return "Not today."


class _Lazy:
    def __init__(self, hook: str) -> None:
        self.hook = hook

    def __getattr__(self, name: str) -> object:
        if name != self.__dict__.get("hook"):
            raise AttributeError(name)
        return hookimpl(_policy)


def with_value(hook: str, value: object) -> object:
    """A plugin with an observer, and ``value`` as ``hook``."""
    return type("Plugin", (), {hook: value, "asok_auth_event": staticmethod(hookimpl(lambda event: None))})()


NEVER_CALLED: dict[str, Callable[[str], object]] = {
    "a partial": lambda hook: with_hook(hook, functools.partial(_policy)),
    "a callable object": lambda hook: with_hook(hook, _Callable()),
    "a property": lambda hook: with_value(hook, property(lambda self: hookimpl(_policy))),
    "made on demand": _Lazy,
    "None": lambda hook: with_value(hook, None),
    "text": lambda hook: with_value(hook, "Not today."),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("hook", ["asok_auth_before_login", "asok_auth_denies", "asok_auth_second_factors"])
@pytest.mark.parametrize("case", NEVER_CALLED)
def test_a_guard_that_would_never_be_called_stops_the_start(
    start: Start, case: str, hook: str, debug: bool
) -> None:
    plugin = NEVER_CALLED[case](hook)
    with raises_code("plugin", match=f"{hook} would never be called: write it as a function or method"):
        start(plugins=[plugin], debug=debug, OPTIONAL_PLUGINS=[type(plugin).__name__])


def test_any_other_hook_that_would_never_be_called_is_quarantined(start: Start) -> None:
    plugin = with_hook("asok_auth_permissions", functools.partial(_policy))
    assert state_of(start(plugins=[plugin]), "waiting") == "quarantined"


@dataclass(frozen=True)
class Closed:
    """A policy that is compared by its fields."""

    reason: str

    @hookimpl
    def asok_auth_before_login(self, attempt: object) -> str:
        return self.reason


class Watched(Closed):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Closed | ModuleType)

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("plugins", [[Closed("a"), Watched("b")], [Watched("b")]], ids=["two", "the core"])
def test_a_guard_that_is_equal_to_another_plugin_stops_the_start(start: Start, plugins: list[object]) -> None:
    """It would count as that plugin, which is loaded already."""
    with raises_code("plugin", match="'Watched' is not loaded: it is equal to the plugin"):
        start(plugins=plugins, debug=True)


def test_a_plugin_that_cannot_be_hashed_is_explained(start: Start) -> None:
    @dataclass
    class Mutable:
        reason: str = "Not today."

        @hookimpl
        def asok_auth_before_login(self, attempt: object) -> str:
            return self.reason

    with raises_code("plugin", match=r"use @dataclass\(eq=False\)"):
        start(plugins=[Mutable()], debug=True)


# -- coroutine functions -------------------------------------------------------------------------


def with_hook(hook: str, function: object) -> ModuleType:
    module = ModuleType("waiting")
    setattr(module, hook, hookimpl(function))
    return module


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_coroutine_function_as_hook_stops_the_start(start: Start, hook: str, debug: bool) -> None:
    async def coroutine() -> None: ...

    async def generator() -> object:
        yield

    for function in (coroutine, generator):
        with raises_code("plugin", match=f"{hook} is a coroutine function"):
            start(plugins=[with_hook(hook, function)], debug=debug)


class Factor(EnrolledFactor):
    name = "waiting"
    label = "Waiting"


FACTOR_METHODS = ("is_enrolled", "reset", "begin", "challenge", "verify", "routes", "account_block")


class Method(LoginMethod):
    name = "waiting"


async def _waiting(*arguments: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("contract", "method"),
    [(Factor, name) for name in FACTOR_METHODS]
    + [
        (Method, name)
        for name in ("routes", "login_block", "account_block", "buttons", "allows_redirect", "authenticate")
    ],
)
@pytest.mark.parametrize("static", [False, True])
def test_a_coroutine_function_in_a_part_stops_the_start(
    start: Start, contract: type, method: str, static: bool
) -> None:
    part = type("Part", (contract,), {method: staticmethod(_waiting) if static else _waiting})()
    hook = "asok_auth_second_factors" if contract is Factor else "asok_auth_login_methods"
    with raises_code("plugin", match=rf"'waiting' is not loaded: Part\.{method} is a coroutine function"):
        start(plugins=[with_hook(hook, lambda: [part])], debug=True)


def test_an_optional_plugin_whose_part_is_never_awaited_is_left_out(start: Start) -> None:
    """The operator has said that the app may run without it; no part of it is used."""
    part = type("Part", (Method,), {"authenticate": _waiting})()
    auth = start(plugins=[with_hook("asok_auth_login_methods", lambda: [part])], OPTIONAL_PLUGINS=["waiting"])
    assert state_of(auth, "waiting") == "quarantined"
    assert "waiting" not in auth.login_methods


def test_a_coroutine_function_in_a_store_or_transport_stops_the_start(start: Start) -> None:
    class Mail(RecordedMail):
        async def send(self, mail: OutgoingMail) -> None:  # type: ignore[override]
            return None

    transport: MailTransport = Mail()
    with raises_code("plugin", match=r"Mail\.send is a coroutine function"):
        start(plugins=[with_hook("asok_auth_mail_transports", lambda: {"own": lambda: transport})],
              MAIL_TRANSPORT="own")  # fmt: skip

    class Store(StateStore):
        pass

    waiting = type("Waiting", (Store,), dict.fromkeys(("take", "incr"), _waiting))
    waiting.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    with raises_code("plugin", match=r"Waiting\.take is a coroutine function"):
        start(plugins=[with_hook("asok_auth_state_stores", lambda: {"own": lambda url: waiting()})],
              STATE_STORE="own:")  # fmt: skip


def test_a_coroutine_function_in_a_signer_stops_the_start(start: Start) -> None:
    """Its coroutine would count as a matching signature."""
    signer = type("Waiting", (SIGNERS["HS256"],), {"algorithm": "WAIT", "verify_encoded": _waiting})
    with raises_code("plugin", match=r"Waiting\.verify_encoded is a coroutine function"):
        start(plugins=[with_hook("asok_auth_signers", lambda: {"WAIT": signer})], SIGNER="WAIT")


@pytest.mark.parametrize("same", [True, False])
def test_two_factors_of_one_name_stop_the_start(start: Start, same: bool) -> None:
    """The second would take the place of the first."""
    one, two = ([Factor(), Factor()], []) if same else ([Factor()], [Factor()])
    plugins = [with_hook("asok_auth_second_factors", lambda found=found: found) for found in (one, two)]
    for plugin, name in zip(plugins, ("one", "two"), strict=True):
        plugin.__name__ = name
    with raises_code("plugin", match="returns 'waiting', which plugin 'one' returns already"):
        start(plugins=plugins)


@pytest.mark.parametrize(
    "odd", ["yes", 1, 0, None, "", _policy], ids=["text", "1", "0", "None", "no text", "a method"]
)
def test_a_factor_is_a_backup_only_if_it_says_true(start: Start, odd: object) -> None:
    """A backup alone is not asked for, so a truthy value would disable the factor."""
    factor = type("Odd", (Factor,), {"backup": odd})()
    with raises_code("plugin", match="backup of the factor 'waiting' is neither True nor False"):
        start(plugins=[with_hook("asok_auth_second_factors", lambda: [factor])], debug=True)


@pytest.mark.parametrize("name", ["admin_totp", "trusted_device"])
def test_a_factor_cannot_take_a_name_that_session_records_use(start: Start, name: str) -> None:
    """It would stand in for the Admin's own factor, or for a trusted browser."""
    factor = type("Taker", (Factor,), {"name": name})()
    with raises_code("plugin", match=f"the name '{name}', which session records use"):
        start(plugins=[with_hook("asok_auth_second_factors", lambda: [factor])])


@pytest.mark.parametrize("hook", ["asok_auth_checks", "asok_auth_commands"])
def test_exiting_in_a_tools_hook_does_not_end_the_command(start: Start, hook: str) -> None:
    def leave() -> None:
        raise SystemExit(3)

    registry = PluginRegistry()
    registry.register(with_hook(hook, leave))
    errors: list[str] = []
    plugins = Plugins(registry)
    plugins.commands(typer.Typer(), lambda plugin, error: errors.append(repr(error)))
    found = list(plugins.checks(start()))
    assert errors == (["SystemExit(3)"] if hook == "asok_auth_commands" else [])
    assert [finding.severity for finding in found] == (["error"] if hook == "asok_auth_checks" else [])


# -- verdicts ------------------------------------------------------------------------------------


async def _no() -> str:
    return "no"


def _yield_nothing() -> Iterator[str]:
    yield from ()


def shown(verdict: object) -> str:
    """A name for the test, the same in each process."""
    return repr(verdict) if isinstance(verdict, str | bytes | int | list | tuple) else type(verdict).__name__


ANYTHING_BUT_NONE = ["", " ", 0, False, [], (), object(), b"no", True, _yield_nothing]


@pytest.mark.parametrize(
    "verdict",
    ANYTHING_BUT_NONE,
    ids=shown,
)
def test_anything_but_none_from_a_policy_rejects(start: Start, verdict: object) -> None:
    auth = start(plugins=[with_hook("asok_auth_before_login", lambda: verdict)])
    ada = auth.users.create("ada@example.com")
    request = FakeRequest("/")
    with raises_code("login_rejected") as raised:
        complete_login(auth, request, ada, Proof("app"))
    assert raised.value.message.strip()
    assert request.user is None


@pytest.mark.parametrize(
    "verdict",
    ANYTHING_BUT_NONE,
    ids=shown,
)
def test_anything_but_none_from_denies_denies(start: Start, verdict: object) -> None:
    grants = ModuleType("grants")
    grants.asok_auth_permissions = hookimpl(lambda: ["*"])  # type: ignore[attr-defined]
    auth = start(plugins=[grants, with_hook("asok_auth_denies", lambda: verdict)])
    request = FakeRequest(user=auth.users.create("ada@example.com"))
    assert can(auth, request, "posts.edit") is False


def test_a_function_that_returns_a_coroutine_rejects(start: Start) -> None:
    made = []

    def policy() -> object:
        made.append(_no())
        return made[-1]

    auth = start(plugins=[with_hook("asok_auth_before_login", policy)])
    with raises_code("login_rejected"):
        complete_login(auth, FakeRequest("/"), auth.users.create("ada@example.com"), Proof("app"))
    made[0].close()


@pytest.mark.parametrize("answer", ["yes", 1, object(), None, "no"], ids=shown)
def test_a_signature_counts_only_if_the_signer_says_true(answer: object) -> None:
    signer = type("Odd", (SIGNERS["HS256"],), {"verify_encoded": lambda self, message, signature: answer})
    codec = TokenCodec(
        purpose="test",
        claims=TokenClaims,
        keys=KeyRing([b"k" * 32]),
        clock=lambda: 0.0,
        signers={"HS256": signer},
    )
    with raises_code("token_signature"):
        codec.verify(codec.sign(TokenClaims(iat=0)))


# -- the installed plugins -----------------------------------------------------------------------


def test_without_pyotp_the_app_does_not_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("asok_totp", "pyotp"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyotp", None)  # type: ignore[arg-type]
    totp = next(entry for entry in entry_points(group="asok_auth") if entry.name == "totp")
    with raises_code("plugin", match="'totp' .*asok-totp.*pyotp"):
        start(totp)


def test_an_inventory_survives_every_plugin(install: Install) -> None:
    registry = PluginRegistry(inventory=True, strict=True)
    registry.discover(
        [
            install("raise SystemExit", name="leaves"),
            install(KNOWN_GUARDS["a wrapper"], name="guard"),
            *clash(install),
        ]
    )
    assert len(registry.quarantined) == 3


def test_errors_name_no_secret(install: Install, start: Start) -> None:
    """The message quotes what the plugin said, and nothing of the app's settings."""
    with pytest.raises(ConfigurationError) as raised:
        start(install("def ("))
    assert "2b7e151628aed2a6" not in str(raised.value)
