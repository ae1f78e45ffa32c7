"""Configure the plugins' providers with one app's credentials and settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ..engine.suggest import did_you_mean
from ..errors import SettingError
from ..providers import OAuth2Provider
from ..settings import Settings
from ..types import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("asok_auth")

CREDENTIALS = ("client_id", "client_secret")


def configured_providers(
    given: Mapping[str, OAuth2Provider], settings: Settings, environ: Mapping[str, str]
) -> dict[str, OAuth2Provider]:
    """Each provider, configured from the settings, else from the environment.

    Settings are ``AUTH["PROVIDERS"][name]``, then ``OAUTH_PROVIDERS[name]``; environment variables
    are ``<NAME>_CLIENT_ID`` and ``<NAME>_CLIENT_SECRET``. A provider without a client id has no
    button, but works with credentials that the caller passes. Raises SettingError.
    """
    for name in settings.providers:
        if name not in given:
            raise SettingError(_unknown(name, given))
    for name in settings.app.oauth_providers:
        if name.lower() not in given:
            logger.warning("%s It is ignored.", _unknown(name, given, 'app.config["OAUTH_PROVIDERS"]'))
    return {name: _configured(provider, settings, environ) for name, provider in given.items()}


def _configured(provider: OAuth2Provider, settings: Settings, environ: Mapping[str, str]) -> OAuth2Provider:
    prefix = provider.name.upper().replace("-", "_")
    options: dict[str, object] = {
        key: value for key in CREDENTIALS if (value := environ.get(f"{prefix}_{key.upper()}"))
    }
    for name, older in settings.app.oauth_providers.items():
        if name.lower() == provider.name:
            options.update((key, value) for key, value in older.items() if value)
    options.update(settings.providers.get(provider.name, {}))
    made = provider.configured(cast("Mapping[str, JSON]", options), debug=settings.app.debug)
    made_by_class = type(made).client_secret_for is not OAuth2Provider.client_secret_for
    has_secret = made.client_secret or made_by_class or made.token_auth == "none"  # noqa: S105 - a method's name
    if made.client_id and not has_secret:
        raise SettingError(
            f"The client secret of {made.label} is missing. Set {prefix}_CLIENT_SECRET in the environment "
            f'or AUTH["PROVIDERS"]["{made.name}"]["client_secret"].'
        )
    return made


def _unknown(name: str, given: Iterable[str], where: str = 'AUTH["PROVIDERS"]') -> str:
    hint = did_you_mean(name, given) or (
        "Install the plugin that registers it: asok-oauth-google, asok-oauth-github, asok-oauth-oidc for any "
        "OpenID provider, or one of your own (asok-auth new-plugin)."
    )
    return f'{where}["{name}"]: no plugin registers this provider. {hint}'
