"""Assemble the parts of an app when it starts."""

from __future__ import annotations

import secrets as system_random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from . import builtin
from .auth import Auth
from .contracts import CredentialStore, MailTransport, StateStore, UserDirectory
from .engine.keys import KeyRing
from .engine.suggest import did_you_mean
from .errors import SettingError
from .events import Events
from .flows.provider_setup import configured_providers
from .limits import Limits
from .mail.missing import NoTransport
from .mail.outbox import Outbox
from .pages.folders import packages_of
from .pages.locales import Catalogs
from .pages.render import environment
from .plugins import Plugins, made_by_plugin
from .registry import CORE, PluginRegistry
from .settings import read, secrets
from .stores.owned import OwnedStateStore
from .types import Clock, Random

T = TypeVar("T")


def start(
    config: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    root: Path,
    users: UserDirectory,
    credentials: Callable[[Clock, Random], CredentialStore],
    plugins: Sequence[object] = (),
    roles: object | None = None,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
    clock: Clock = time.time,
    random: Random = system_random.token_bytes,
) -> Auth:
    """One app's authentication from its configuration.

    ``root`` is the app's folder; ``plugins`` are used in addition to the installed ones;
    ``roles`` is the plugin that reads the framework's user model. When all else is built, the caller calls
    ``auth.plugins.start(auth)``, and ``auth.plugins.stop(auth)`` in the end.
    Raises ConfigurationError or StoreUnavailable with what to do about it.
    """
    # The plugins decide which settings exist, and some settings decide which plugins load.
    first = read(config, environ, tolerate_sections=True)
    registry = PluginRegistry(
        strict=first.strict,
        required=first.plugins,
        optional=first.optional_plugins,
        debug=first.app.debug,
    )
    registry.register(builtin, CORE, "asok-auth-core")
    if roles is not None:
        registry.register(roles, "roles", "asok-auth-core")
    for plugin in plugins:
        registry.register(plugin)
    registry.discover(entry_points)
    settings = read(
        {**config, "ROOT_DIR": str(root)},
        environ,
        sections=registry.sections(),
        tolerate_sections=any(info.state != "loaded" for info in registry.infos),
    )
    if settings.layout is not None and not (_overrides(root) / settings.layout).is_file():
        raise SettingError(f'AUTH["LAYOUT"]: there is no template {_overrides(root) / settings.layout}.')
    hooks = Plugins(registry)
    keys = KeyRing(secrets(config, environ, debug=settings.app.debug))
    scheme = settings.state_store.partition(":")[0]
    make_store = _chosen("STATE_STORE", scheme, hooks.state_stores(settings), registry)
    make_transport = _chosen(
        "MAIL_TRANSPORT", settings.mail_transport, hooks.mail_transports(settings), registry
    )
    signers = hooks.signers(settings)
    _chosen("SIGNER", settings.signer, signers, registry)
    store = made_by_plugin(
        lambda: make_store(settings.state_store),
        StateStore,
        f'AUTH["STATE_STORE"]: the factory of {hooks.owner("asok_auth_state_stores", scheme)} for {scheme!r}',
    )
    if settings.mail_transport == "smtp" and not settings.mail.host:
        make_transport = _without_mail_server(make_transport, registry.mail_senders(settings))
    transport_owner = hooks.owner("asok_auth_mail_transports", settings.mail_transport)
    transport = made_by_plugin(
        make_transport,
        MailTransport,
        f'AUTH["MAIL_TRANSPORT"]: the factory of {transport_owner} for {settings.mail_transport!r}',
    )
    lasting = credentials(clock, random)
    state = OwnedStateStore(store, keys, random, lambda: lasting.installation(users, random).id)
    events = Events(hooks, clock)
    auth = Auth(
        settings=settings,
        plugins=hooks,
        events=events,
        keys=keys,
        state=state,
        credentials=lasting,
        users=users,
        outbox=Outbox(transport, events, retry_for=settings.mail.retry_for),
        limits=Limits(state, events, clock),
        templates=environment(_overrides(root)),
        clock=clock,
        random=random,
        signers=signers,
    )
    hooks.auth = auth
    auth.providers.update(configured_providers(hooks.providers(settings), settings, environ))
    auth.login_methods.update(hooks.login_methods(auth))
    # Backups last: a challenge starts with the first factor.
    factors = sorted(hooks.second_factors(auth).items(), key=lambda named: bool(named[1].backup))
    auth.second_factors.update(factors)
    auth.sign_up_steps.update(hooks.sign_up_steps(auth))
    auth.account_sections.update(hooks.account_sections(auth))
    parts = (*auth.login_methods.values(), *auth.second_factors.values(), *auth.providers.values())
    modules = (*registry.modules, *(type(part).__module__ for part in parts))
    auth.packages = packages_of(modules, app=root / "src")
    auth.templates = environment(_overrides(root), auth.packages)
    catalogs = Catalogs(("asok_auth_core.pages", *auth.packages))
    auth.translator = lambda language, message, values: catalogs.translate(message, language, values)
    auth.routes = tuple(hooks.routes(auth))
    return auth


def _without_mail_server(
    make_transport: Callable[[], MailTransport], senders: Sequence[str]
) -> Callable[[], MailTransport]:
    """A factory for an app without a mail server, which some plugins may need."""

    def make() -> MailTransport:
        if not senders:
            return NoTransport()
        try:
            return make_transport()
        except SettingError as error:
            names = ", ".join(map(repr, senders))
            raise SettingError(f"{error.message} Needed, because mail is sent by: {names}.") from None

    return make


def _overrides(root: Path) -> Path:
    return root / "src" / "partials"


def _chosen(key: str, wanted: str, offered: Mapping[str, T], registry: PluginRegistry) -> T:
    """The factory named ``wanted``.

    Raises SettingError naming the others and the broken plugins.
    """
    if wanted in offered:
        return offered[wanted]
    sentences = [
        f'AUTH["{key}"] is {wanted!r}, which no plugin provides. Available: {", ".join(sorted(offered))}.',
        did_you_mean(wanted, offered),
        "Install the plugin that provides it, or change the setting.",
        *(f"Plugin {info.name!r} is not loaded: {info.reason}." for info in registry.quarantined),
    ]
    raise SettingError(" ".join(filter(None, sentences)))
