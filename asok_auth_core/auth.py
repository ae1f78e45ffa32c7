"""The parts of one app's authentication, assembled once at start-up and handed to plugins."""

from __future__ import annotations

import secrets as system_random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .contracts import CredentialStore, LoginMethod, SecondFactor, StateStore, UserDirectory
from .engine.keys import KeyRing
from .engine.signers import SIGNERS, SignerFactory
from .events import Events
from .limits import Limits
from .mail.outbox import Outbox
from .plugins import Plugins
from .settings import Settings
from .types import Clock, Random

if TYPE_CHECKING:
    from jinja2 import Environment

    from .providers import OAuth2Provider


@dataclass(slots=True, repr=False)
class Auth:
    """Everything a flow or plugin needs; ``clock`` and ``random`` are passed in, never imported."""

    settings: Settings
    plugins: Plugins
    events: Events
    keys: KeyRing
    state: StateStore
    credentials: CredentialStore
    users: UserDirectory
    outbox: Outbox
    limits: Limits
    templates: Environment
    clock: Clock = time.time
    random: Random = system_random.token_bytes
    signers: Mapping[str, SignerFactory] = field(default_factory=lambda: SIGNERS)
    """Token signers by algorithm name, from all plugins."""
    providers: dict[str, OAuth2Provider] = field(default_factory=dict)
    login_methods: dict[str, LoginMethod] = field(default_factory=dict)
    second_factors: dict[str, SecondFactor] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Auth of {self.settings.app_name!r}>"
