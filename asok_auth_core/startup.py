"""Puts the parts together once, when an app starts: settings, plugins, keys, stores, mail, methods."""

from __future__ import annotations

import secrets as system_random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from . import builtin
from .auth import Auth
from .contracts import CredentialStore, UserDirectory
from .engine.keys import KeyRing
from .engine.suggest import did_you_mean
from .errors import ConfigurationError, SettingError
from .events import Events
from .flows.provider_setup import configured_providers
from .limits import Limits
from .mail.outbox import Outbox
from .pages.render import environment
from .plugins import Plugins
from .settings import read, secrets
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

    ``root`` is the app's folder; ``plugins`` are given by hand, besides the installed ones;
    ``roles`` is the plugin that reads the framework's user model.
    Raises ConfigurationError or StoreUnavailable with what to do about it.
    """
    # The plugins decide which settings exist, and two settings decide which plugins load.
    first = read(config, environ, tolerate_sections=True)
    loaded = Plugins(strict=first.strict, allow=first.plugins)
    loaded.register(builtin, builtin.NAME)
    if roles is not None:
        loaded.register(roles, "roles")
    for plugin in plugins:
        loaded.register(plugin)
    loaded.discover(entry_points)
    settings = read(
        {**config, "ROOT_DIR": str(root)},
        environ,
        sections={m.section: m.settings for m in loaded.manifests if m.section and m.settings},
        tolerate_sections=any(info.state != "loaded" for info in loaded.infos),
    )
    if settings.layout is not None and not (_overrides(root) / settings.layout).is_file():
        raise SettingError(f'AUTH["LAYOUT"]: there is no template {_overrides(root) / settings.layout}.')
    keys = KeyRing(secrets(config, environ, debug=settings.app.debug))
    scheme = settings.state_store.partition(":")[0]
    make_store = _chosen("STATE_STORE", scheme, loaded.state_stores(settings), loaded)
    make_transport = _chosen(
        "MAIL_TRANSPORT", settings.mail_transport, loaded.mail_transports(settings), loaded
    )
    signers = loaded.signers(settings)
    _chosen("SIGNER", settings.signer, signers, loaded)
    state = make_store(settings.state_store)
    events = Events(loaded, clock)
    auth = Auth(
        settings=settings,
        plugins=loaded,
        events=events,
        keys=keys,
        state=state,
        credentials=credentials(clock, random),
        users=users,
        outbox=Outbox(make_transport(), events, retry_for=settings.mail.retry_for),
        limits=Limits(state, events, clock),
        templates=environment(_overrides(root)),
        clock=clock,
        random=random,
        signers=signers,
    )
    auth.providers.update(configured_providers(loaded.providers(settings), settings, environ))
    auth.login_methods.update(loaded.login_methods(auth))
    for info in loaded.quarantined:
        if info.name == builtin.NAME:
            raise ConfigurationError(f"The core itself cannot start: {info.reason}.", code="plugin")
    auth.second_factors.update(loaded.second_factors(auth))
    auth.templates = environment(_overrides(root), template_packages(auth))
    return auth


def template_packages(auth: Auth) -> tuple[str, ...]:
    """The packages of everything that has pages: where templates and translations are looked for."""
    parts = [*auth.login_methods.values(), *auth.second_factors.values(), *auth.providers.values()]
    return tuple(dict.fromkeys(type(part).__module__.partition(".")[0] for part in parts))


def _overrides(root: Path) -> Path:
    return root / "src" / "partials"


def _chosen(key: str, wanted: str, offered: Mapping[str, T], plugins: Plugins) -> T:
    """The offer named ``wanted``. Raises SettingError naming what there is and what is broken."""
    if wanted in offered:
        return offered[wanted]
    hint = did_you_mean(wanted, offered)
    broken = "".join(f" Plugin {info.name!r} is not used: {info.reason}." for info in plugins.quarantined)
    raise SettingError(
        f'AUTH["{key}"] asks for {wanted!r}, which no plugin gives; there is: {", ".join(sorted(offered))}.'
        f"{hint and ' ' + hint} Install the plugin that gives it, or change the setting.{broken}"
    )
