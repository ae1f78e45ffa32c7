"""``AUTH`` and ``ASOK_AUTH_*``: read once at start-up, typed, and refused with a clear message.

``app.config["AUTH"]`` is a mapping with the upper-case keys below. Each key can be given in the
environment as ``ASOK_AUTH_<KEY>`` instead, a key of a section as ``ASOK_AUTH_<SECTION>__<KEY>``;
the environment wins. Lists in the environment are separated by commas.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypeGuard, TypeVar, cast

import msgspec

from .engine.permissions import is_well_formed
from .errors import SettingError

if TYPE_CHECKING:
    from .hookspecs import PluginManifest

ENV_PREFIX = "ASOK_AUTH_"
MIN_SECRET_BYTES = 32

S = TypeVar("S", bound=msgspec.Struct)


class MailSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """How mail leaves. Defaults come from Asok's own ``MAIL_*`` settings."""

    host: str | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    username: str | None = None
    password: str | None = None
    sender: str | None = None
    """The From address, as ``auth@app.example`` or ``App <auth@app.example>``."""
    security: str | None = None
    """``starttls``, ``tls`` (implicit) or ``none``; None: as Asok's MAIL_TLS says."""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    """Seconds for each step of the SMTP conversation."""
    retry_for: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 600
    """Seconds for which a temporary failure is tried again in the background."""
    directory: str = ".asok/mail"
    """Where the ``file`` transport writes, relative to the app."""

    def __repr__(self) -> str:
        return f"MailSettings(host={self.host!r}, port={self.port}, sender={self.sender!r}, …)"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """The core's settings. Times are seconds."""

    plugins: tuple[str, ...] | None = None
    """Names of the plugins that may load; None: all that are installed."""
    strict: bool = False
    """True: a broken plugin stops the app instead of being quarantined."""
    state_store: str = "sqlite:///.asok/auth-state.sqlite3"
    """URL of the store for short-lived state; a relative file lies below the app's folder."""
    signer: str = "HS256"
    """JWS algorithm of the tokens we write."""
    mail_transport: str = "smtp"
    mail: MailSettings = MailSettings()
    app_name: str = "this app"
    """How pages and mails call the app."""
    layout: str | None = None
    """A template of the app's own, below ``src/partials``, into which every page of ours is put."""
    login_redirect: str = "/"
    """Where a login leads if no ``next`` was asked for."""
    logout_redirect: str = "/"
    recent_login: int = 600
    """How old a login may be for changing factors, addresses and tokens."""
    require_2fa: str | bool = False
    """False: optional. True: for everybody. A pattern: for users whose permissions match it."""
    trusted_device: int = 0
    """Seconds for which a browser is not asked for the second factor again, if the person wants it
    so; 0: always asked."""
    token_revocation: str = "checked"  # noqa: S105 - not a password
    """``checked`` or ``stateless``."""
    providers: dict[str, dict[str, object]] = {}
    """Per provider: ``client_id``, ``client_secret``, and overrides such as ``issuer``."""
    on_login: object = None
    """``function(request, user_info)`` that finds or creates the user of a provider login and calls
    ``request.login(user)``, as asok-auth-providers has it; None: the core's own linking."""
    oauth_providers: dict[str, dict[str, object]] = msgspec.field(
        default_factory=dict, name="_OAUTH_PROVIDERS"
    )
    """``app.config["OAUTH_PROVIDERS"]``, the setting of asok-auth-providers."""
    sections: dict[str, dict[str, object]] = msgspec.field(default_factory=dict, name="_SECTIONS")
    debug: bool = msgspec.field(default=False, name="_DEBUG")
    app_url: str | None = msgspec.field(default=None, name="_APP_URL")
    root: str = msgspec.field(default=".", name="_ROOT")

    def section(self, kind: type[S], name: str) -> S:
        """The plugin section ``name`` as ``kind``; defaults if it was not given.

        Raises SettingError if it does not fit.
        """
        return _convert(self.sections.get(name, {}), kind, f'AUTH["{name}"]', strict=False)


def read(
    config: Mapping[str, object],
    environ: Mapping[str, str],
    manifests: Sequence[PluginManifest] = (),
    *,
    tolerate_sections: bool = False,
) -> Settings:
    """Settings from the app's configuration and the environment.

    ``manifests`` say which sections belong to plugins. With ``tolerate_sections`` an unknown key
    whose value is a mapping is passed over: its plugin may be quarantined. Raises SettingError.
    """
    given = config.get("AUTH") or {}
    if not isinstance(given, Mapping):
        raise SettingError(f'app.config["AUTH"] must be a mapping, got {type(given).__name__}.')
    sections = {m.section: m.settings for m in manifests if m.section and m.settings}
    known = _keys(Settings)
    values: dict[str, object] = {}
    own: dict[str, object] = {}
    for key, value in given.items():
        if key in known:
            values[key] = value
        elif key in sections:
            own[key] = value
        elif not (tolerate_sections and isinstance(value, Mapping)):
            raise SettingError(_unknown(f'AUTH["{key}"]', str(key), known | set(sections)))
    for variable, text in environ.items():
        if variable.startswith(ENV_PREFIX):
            _from_environment(variable, text, values, own, known, sections, tolerate_sections)
    for name, kind in sections.items():
        if name in own:
            _convert(own[name], kind, f'AUTH["{name}"]', strict=False)
    values["MAIL"] = {**_asok_mail(config, environ), **cast("dict[str, object]", values.get("MAIL") or {})}
    values["_SECTIONS"] = own
    values["_OAUTH_PROVIDERS"] = config.get("OAUTH_PROVIDERS") or {}
    values["_DEBUG"] = bool(config.get("DEBUG"))
    app_url = config.get("APP_URL") or environ.get("APP_URL")
    values["_APP_URL"] = str(app_url).rstrip("/") if app_url else None
    values["_ROOT"] = str(config.get("ROOT_DIR") or ".")
    settings = _convert(values, Settings, "AUTH", strict=False)
    _check(settings)
    return settings


def secrets(config: Mapping[str, object], environ: Mapping[str, str], *, debug: bool) -> tuple[bytes, ...]:
    """``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``, newest first, as bytes.

    The fallbacks may stand in the environment, where Asok puts what it finds in ``.env``.

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


def _check(settings: Settings) -> None:
    if settings.token_revocation not in ("checked", "stateless"):
        raise SettingError(
            f'AUTH["TOKEN_REVOCATION"] must be "checked" or "stateless", got {settings.token_revocation!r}.'
        )
    if settings.mail.security not in (None, "starttls", "tls", "none"):
        raise SettingError(
            f'AUTH["MAIL"]["SECURITY"] must be "starttls", "tls" or "none", got {settings.mail.security!r}.'
        )
    for key, value in (
        ("LOGIN_REDIRECT", settings.login_redirect),
        ("LOGOUT_REDIRECT", settings.logout_redirect),
    ):
        if not value.startswith("/") or value.startswith(("//", "/\\")):
            raise SettingError(f'AUTH["{key}"] must be a path of this app such as "/", got {value!r}.')
    policy = settings.require_2fa
    if isinstance(policy, str) and not (is_well_formed(policy) and (policy == "*" or "." in policy)):
        raise SettingError(
            f'AUTH["REQUIRE_2FA"] must be True, False or a pattern such as "admin.*", got {policy!r}.'
        )
    if settings.on_login is not None and not callable(settings.on_login):
        raise SettingError('AUTH["ON_LOGIN"] must be a function of (request, user_info).')
    if settings.trusted_device < 0:
        raise SettingError(
            f'AUTH["TRUSTED_DEVICE"] must be 0 or more seconds, got {settings.trusted_device}.'
        )
    if settings.recent_login < 1:
        raise SettingError(f'AUTH["RECENT_LOGIN"] must be at least 1 second, got {settings.recent_login}.')


def _asok_mail(config: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """Asok's own MAIL_* settings under our names, where they are set in the app or environment."""
    names = {
        "HOST": "MAIL_HOST",
        "PORT": "MAIL_PORT",
        "USERNAME": "MAIL_USERNAME",
        "PASSWORD": "MAIL_PASSWORD",
        "SENDER": "MAIL_FROM",
    }
    given = {**environ, **{key: value for key, value in config.items() if value not in (None, "")}}
    found = {ours: given[theirs] for ours, theirs in names.items() if given.get(theirs)}
    tls = given.get("MAIL_TLS")
    if tls not in (None, ""):
        on = str(tls).lower() in ("true", "1", "yes", "on")
        found["SECURITY"] = "starttls" if on else "none"
    return found


def _from_environment(
    variable: str,
    text: str,
    values: dict[str, object],
    own: dict[str, object],
    known: set[str],
    sections: Mapping[str, type[msgspec.Struct]],
    tolerate_sections: bool,
) -> None:
    key, _, inner = variable[len(ENV_PREFIX) :].partition("__")
    target, kind = (values, Settings) if key in known else (own, sections.get(key))
    if kind is None:
        if tolerate_sections and inner:
            return
        raise SettingError(_unknown(variable, key, known | set(sections)))
    if not inner:
        if target is own:
            raise SettingError(f"{variable} is a section; set one key of it, as {variable}__<KEY>.")
        target[key] = _from_text(text, _field_type(Settings, key))
        return
    struct = MailSettings if kind is Settings and key == "MAIL" else kind
    if struct is Settings:
        raise SettingError(f'{variable}: AUTH["{key}"] has no keys of its own to set from the environment.')
    if inner not in _keys(struct):
        raise SettingError(_unknown(variable, inner, _keys(struct)))
    section = dict(cast("Mapping[str, object]", target.get(key) or {}))
    section[inner] = _from_text(text, _field_type(struct, inner))
    target[key] = section


def _field_type(struct: type[msgspec.Struct], name: str) -> object:
    return next(f.type for f in msgspec.structs.fields(struct) if f.encode_name == name)


def _from_text(text: str, wanted: object) -> object:
    shown = str(wanted)
    if "tuple[" in shown or "list[" in shown:
        return [part.strip() for part in text.split(",") if part.strip()]
    if "bool" in shown and text.strip().lower() in ("1", "0", "true", "false", "yes", "no", "on", "off"):
        return text.strip().lower() in ("1", "true", "yes", "on")
    return text


def _unknown(shown: str, key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key.upper(), known, 1, 0.6)
    hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(sorted(known))}."
    return f"{shown} is not a setting.{hint}"


def _convert(value: object, kind: type[S], where: str, *, strict: bool) -> S:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        inner: object = kind
        for part in filter(None, path.rstrip("`").replace("[...]", "").split(".")):
            where += f'["{part}"]'
            inner = _field_type(inner, part) if _is_struct(inner) else None
        if reason.startswith("Object contains unknown field `") and _is_struct(inner):
            key = reason.split("`")[1]
            raise SettingError(_unknown(f'{where}["{key}"]', key, _keys(inner))) from None
        raise SettingError(f"{where}: {reason[0].lower()}{reason[1:]}.") from None


def _is_struct(kind: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _keys(struct: type[msgspec.Struct]) -> set[str]:
    """The keys a person can set."""
    names = {field.encode_name for field in msgspec.structs.fields(struct)}
    return {name for name in names if not name.startswith("_")}
