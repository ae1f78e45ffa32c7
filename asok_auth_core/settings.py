"""``AUTH`` and ``ASOK_AUTH_*``: read once at startup, typed.

``app.config["AUTH"]`` is a mapping with the upper-case keys below. Each key can be given in the
environment as ``ASOK_AUTH_<KEY>`` instead, a key of a section as ``ASOK_AUTH_<SECTION>__<KEY>``;
the environment wins. Lists in the environment are separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from .engine.permissions import MAX_LENGTH, POLICY_PATTERN
from .engine.suggest import VERY_CLOSE, did_you_mean
from .engine.typed import check, convert, fields, from_text, is_struct, may_show, unknown_key
from .engine.urls import is_host
from .errors import SettingError
from .types import RedactedStruct

ENV_PREFIX = "ASOK_AUTH_"
MIN_SECRET_BYTES = 32

S = TypeVar("S", bound=msgspec.Struct)

PathInApp = Annotated[
    str,
    # Browsers read "//host" and "/\\host" as another host, and drop control characters first.
    Meta(pattern=r"\A/(?![/\\])[^\x00-\x1f\x7f]*\Z", description='a path of this app such as "/"'),
]
Policy = Annotated[
    str, Meta(pattern=POLICY_PATTERN, max_length=MAX_LENGTH, description='a pattern such as "admin.*"')
]


class MailSettings(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """How mail is sent. Defaults come from Asok's own ``MAIL_*`` settings."""

    shown = ("host", "port", "sender", "security", "timeout", "retry_for", "directory")

    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    username: str | None = None
    password: str | None = None
    sender: str | None = None
    """The From address, as ``auth@app.example`` or ``App <auth@app.example>``."""
    security: Literal["starttls", "tls", "none"] | None = None
    """``tls`` is implicit TLS. None: as Asok's MAIL_TLS says."""
    timeout: Annotated[float, Meta(gt=0, le=300)] = 10.0
    """Seconds for each step of the SMTP conversation."""
    retry_for: Annotated[int, Meta(ge=0, le=86_400)] = 600
    """Seconds for which a temporary failure is tried again in the background."""
    directory: str = ".asok/mail"
    """Where the ``file`` transport writes, relative to the app."""


class AppConfig(
    RedactedStruct,
    frozen=True,
    kw_only=True,
    rename={"debug": "DEBUG", "url": "APP_URL", "root": "ROOT_DIR", "oauth_providers": "OAUTH_PROVIDERS"},
):
    """The settings that the core reads from the app's configuration outside ``AUTH``."""

    shown = ("debug", "url", "root")

    debug: bool = False
    url: str | None = None
    """``APP_URL`` without a trailing slash, such as ``https://app.example``."""
    root: Path = Path()
    """The app's folder."""
    oauth_providers: dict[str, dict[str, object]] = {}
    """``OAUTH_PROVIDERS``, the setting of asok-auth-providers."""


class Settings(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """The core's settings. Times are seconds."""

    shown = (
        "app", "plugins", "optional_plugins", "strict", "signer", "mail_transport", "mail", "app_name",
        "layout", "login_redirect", "logout_redirect", "session_idle", "session_lifetime",
        "session_remember", "session_ip_days", "recent_login", "require_2fa", "trusted_device",
        "token_page", "token_revocation", "support_pages",
    )  # fmt: skip

    plugins: tuple[str, ...] | None = None
    """Plugins that must load, by name or distribution; no others are imported. None: all installed ones."""
    optional_plugins: tuple[str, ...] = ()
    """Plugins that the app may start without if they are broken, unless they are known to be guards."""
    strict: bool = False
    """True: the app does not start without a broken plugin that rejects nothing either."""
    state_store: str = "sqlite:///.asok/auth-state.sqlite3"
    """URL of the store for short-lived state; a relative file is below the app's folder."""
    signer: str = "HS256"
    """JWS algorithm of the tokens the app writes."""
    mail_transport: str = "smtp"
    mail: MailSettings = MailSettings()
    app_name: str = "this app"
    """The app's name on pages and in mails."""
    layout: str | None = None
    """The app's own template, below ``src/partials``, that surrounds every page of core and plugins."""
    login_redirect: PathInApp = "/"
    """Where a login leads if no ``next`` was given."""
    logout_redirect: PathInApp = "/"
    session_idle: Annotated[int, Meta(ge=60)] = 14 * 86_400
    """Seconds after which a session that was not used ends, unless the user asked to be remembered."""
    session_lifetime: Annotated[int, Meta(ge=60)] = 30 * 86_400
    """Seconds after which a session ends in any case, unless the user asked to be remembered."""
    session_remember: Annotated[int, Meta(ge=60)] = 365 * 86_400
    """Seconds after which the session of a user who asked to be remembered ends."""
    session_ip_days: Annotated[int, Meta(ge=0, le=365)] = 30
    """Days for which the client IP that a session was started from is kept; 0: not at all."""
    recent_login: Annotated[int, Meta(ge=1)] = 600
    """How recent a login must be, in seconds, for our pages that change factors, email addresses, linked
    logins and API tokens. ``request.auth.token.create`` in a page of yours does not ask for one: guard
    that page with ``@requires_recent_login`` if its tokens are worth it."""
    require_2fa: bool | Policy = False
    """False: optional. True: for every user. A pattern: for users whose permissions match it."""
    trusted_device: Annotated[int, Meta(ge=0)] = 0
    """Seconds for which a browser that the user trusts skips the second factor; 0: every login needs it."""
    token_page: bool = True
    """Users may create API tokens on their account page."""
    token_revocation: Literal["checked", "stateless"] = "checked"  # noqa: S105 - not a password
    support_pages: bool = False
    """Users with the permission ``auth.support.view`` see how others log in, and with ``auth.support.change``
    they end sessions, reset second factors, revoke tokens, and disable accounts."""
    providers: dict[str, dict[str, object]] = {}
    """Per provider: ``client_id``, ``client_secret``, and overrides such as ``issuer``."""
    on_login: (
        Annotated[Callable[[object, object], object], Meta(description="a function of (request, user_info)")]
        | None
    ) = None
    """``function(request, user_info)`` that finds or creates the user of a provider login and calls
    ``request.login(user)``, as in asok-auth-providers; None: the core's own linking."""
    app: AppConfig = AppConfig()
    """Not a key of ``AUTH``."""
    sections: tuple[msgspec.Struct, ...] = ()
    """The sections of the plugins, as their own structs; see :meth:`section`. Not a key of ``AUTH``."""

    def section(self, kind: type[S]) -> S:
        """The plugin's section with the struct ``kind``; defaults if not given.

        Raises SettingError if no loaded plugin's manifest names it.
        """
        for section in self.sections:
            if type(section) is kind:
                return section
        raise SettingError(
            f"{kind.__name__} is not the settings of a loaded plugin. Name it in the plugin's manifest: "
            f'asok_auth_plugin = PluginManifest(section="…", settings={kind.__name__}).'
        )


class _AsokMail(RedactedStruct, frozen=True, rename=lambda name: f"MAIL_{name.upper()}"):
    """Asok's own mail settings."""

    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    username: str | None = None
    password: str | None = None
    sender: str | None = msgspec.field(default=None, name="MAIL_FROM")
    tls: bool | None = None


_LABEL = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_APP_URL = re.compile(
    rf"https?://({_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\])(:[0-9]{{1,5}})?", re.ASCII | re.IGNORECASE
)

_CORE = {key: field for key, field in fields(Settings).items() if key not in ("APP", "SECTIONS")}
"""The keys of ``AUTH`` that are the core's."""
CORE_KEYS = frozenset(_CORE)


def read(
    config: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    sections: Mapping[str, type[msgspec.Struct]] | None = None,
    tolerate_sections: bool = False,
) -> Settings:
    """Settings from the app's configuration and the environment.

    ``sections`` are the plugins' keys under ``AUTH`` and the structs their values must fit. With
    ``tolerate_sections`` an unknown key whose value is a mapping is ignored: its plugin may be
    quarantined. If ``sections`` are not known yet, any unknown key may be one, so only those that
    resemble a setting of the core are rejected. Raises SettingError.
    """
    given = config.get("AUTH") or {}
    if not isinstance(given, Mapping):
        raise SettingError(f'app.config["AUTH"] must be a mapping, got {type(given).__name__}.')
    sections_known = sections is not None
    sections = sections or {}

    def is_ignored(key: str, is_mapping: bool) -> bool:
        may_be_section = is_mapping or not (sections_known or did_you_mean(key, _CORE, closeness=VERY_CLOSE))
        return tolerate_sections and may_be_section

    known = {*_CORE, *sections}
    values: dict[str, object] = {}
    for key, value in given.items():
        if key in known:
            values[key] = value
        elif not is_ignored(str(key), isinstance(value, Mapping)):
            raise unknown_key(f'AUTH["{key}"]', str(key), known)
    for variable, text in environ.items():
        if variable.startswith(ENV_PREFIX):
            _from_environment(variable, text, values, sections, is_ignored)
    mail = values.get("MAIL") or {}
    if isinstance(mail, Mapping):
        values["MAIL"] = {**_asok_mail(config, environ), **mail}
    own = tuple(convert(values.pop(key, {}), kind, f'AUTH["{key}"]') for key, kind in sections.items())
    settings = convert(values, Settings, "AUTH")
    return msgspec.structs.replace(settings, app=_app_config(config, environ), sections=own)


def _from_environment(
    variable: str,
    text: str,
    values: dict[str, object],
    sections: Mapping[str, type[msgspec.Struct]],
    is_ignored: Callable[[str, bool], bool],
) -> None:
    """Store the value of the environment ``variable`` in ``values``."""
    key, _, inner = variable.removeprefix(ENV_PREFIX).partition("__")
    if key not in _CORE and key not in sections:
        if is_ignored(key, bool(inner)):
            return
        raise unknown_key(variable, key, {*_CORE, *sections})
    kind = _CORE[key].type if key in _CORE else sections[key]
    if not is_struct(kind):
        if inner:
            raise SettingError(
                f'{variable}: AUTH["{key}"] has no keys of its own to set from the environment.'
            )
        values[key] = _parsed(variable, text, Settings, _CORE[key])
        return
    if not inner:
        raise SettingError(f"{variable} is a section; set one key of it, as {variable}__<KEY>.")
    section = values.get(key) or {}
    if not isinstance(section, Mapping):
        return  # rejected with the other values of AUTH
    own = fields(kind)
    if inner not in own:
        raise unknown_key(variable, inner, own)
    values[key] = {**section, inner: _parsed(variable, text, kind, own[inner])}


def _parsed(
    variable: str, text: str, struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo
) -> object:
    value = from_text(text, field.type)
    check(value, field.type, variable, shown=may_show(struct, field))
    return value


def _app_config(config: Mapping[str, object], environ: Mapping[str, str]) -> AppConfig:
    debug = config.get("DEBUG") or False
    url = config.get("APP_URL") or environ.get("APP_URL")
    return convert(
        {
            "DEBUG": from_text(debug, bool) if isinstance(debug, str) else bool(debug),
            "APP_URL": _app_url(str(url)) if url else None,
            "ROOT_DIR": Path(str(config.get("ROOT_DIR") or ".")),
            "OAUTH_PROVIDERS": config.get("OAUTH_PROVIDERS") or {},
        },
        AppConfig,
    )


def _app_url(given: str) -> str:
    """The URL without trailing slash, in lower case. Raises SettingError.

    Whether cookies are sent over https only depends on it. Browsers and providers compare it, and what is
    made from it, character by character.
    """
    url = given.strip().rstrip("/")
    if _APP_URL.fullmatch(url) and is_host(urlsplit(url)):
        return url.lower()
    got = "one with a user name" if "@" in url else ascii(given)  # there may be a password in it
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_more = known and (parts.path or "?" in url or "#" in url or "@" in parts.netloc)
    except ValueError:
        known = has_more = False
    if has_more:
        raise SettingError(
            f"APP_URL must have a scheme and a host only, such as https://app.example; got {got}. Pages, "
            "forms and styles are found from the host's root, so serve the app at a host of its own."
        )
    if known and not url.isascii():
        raise SettingError(f"The host of APP_URL must be in ASCII, as browsers send it (xn--...); got {got}.")
    raise SettingError(
        "APP_URL must be a URL such as https://app.example, with the host and port that users see; got "
        f"{got}."
    )


def _asok_mail(config: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """Asok's ``MAIL_*`` settings under our names, where they are set."""
    given: dict[str, object] = {}
    for key, field in fields(_AsokMail).items():
        value = config.get(key)
        if value in (None, ""):
            value = environ.get(key)
        if value not in (None, ""):
            given[key] = from_text(value, field.type) if isinstance(value, str) else value
    asok = convert(given, _AsokMail)
    found = {
        field.upper(): value for field, value in msgspec.structs.asdict(asok).items() if value is not None
    }
    if (tls := found.pop("TLS", None)) is not None:
        found["SECURITY"] = "starttls" if tls else "none"
    return found


def secrets(config: Mapping[str, object], environ: Mapping[str, str], *, debug: bool) -> tuple[bytes, ...]:
    """``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``, newest first, as bytes.

    The fallbacks can be in the environment, into which Asok loads ``.env``.

    Raises SettingError if the first is missing, or one is shorter than 32 bytes outside DEBUG.
    """
    fallbacks = config.get("SECRET_KEY_FALLBACKS") or environ.get("SECRET_KEY_FALLBACKS") or ()
    if isinstance(fallbacks, str):
        fallbacks = [part.strip() for part in fallbacks.split(",") if part.strip()]
    if not isinstance(fallbacks, Sequence):
        raise SettingError(
            f"SECRET_KEY_FALLBACKS must be a list of keys, newest first; got {type(fallbacks).__name__}."
        )
    named = [("SECRET_KEY", config.get("SECRET_KEY"))]
    named += [(f"SECRET_KEY_FALLBACKS[{i}]", key) for i, key in enumerate(fallbacks)]
    ring = []
    for name, key in named:
        raw = key.encode() if isinstance(key, str) else key
        if not isinstance(raw, bytes) or not raw:
            raise SettingError(
                f'{name} is missing. Make one with: python -c "import secrets; print(secrets.token_hex(32))"'
            )
        if len(raw) < MIN_SECRET_BYTES and not debug:
            raise SettingError(
                f"{name} has {len(raw)} bytes; at least {MIN_SECRET_BYTES} are needed outside DEBUG. "
                'Make one with: python -c "import secrets; print(secrets.token_hex(32))"'
            )
        ring.append(raw)
    return tuple(ring)
