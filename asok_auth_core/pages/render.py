"""Render templates, with the same security headers for every page."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from types import CodeType

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket, BytecodeCache
from markupsafe import Markup

from ..auth import Auth
from ..engine.user_agent import browser_name
from ..flows.permissions import can
from ..types import PluginInfo
from ..web import WebRequest, WebResponse
from .folders import package_folders
from .stylesheet import Stylesheet

PAGE_HEADERS = (
    ("Cache-Control", "no-store"),
    # Not "no-referrer": browsers would send "Origin: null" with a form, which fails the framework's
    # origin check. "same-origin" keeps a token in one of our URLs from leaving the site.
    ("Referrer-Policy", "same-origin"),
)

RIGHT_TO_LEFT = frozenset({"ar", "dv", "fa", "he", "ku", "ps", "ur", "yi"})


class CompiledTemplates(BytecodeCache):
    """The compiled templates of a process, for all its apps."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[str, CodeType | None]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill ``bucket`` if its template was compiled from the same source."""
        checksum, code = self._latest.get(bucket.key, ("", None))
        bucket.code = code if checksum == bucket.checksum else None

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled, in the place of what an older source gave."""
        self._latest[bucket.key] = (bucket.checksum, bucket.code)


COMPILED = CompiledTemplates()


def environment(overrides: Path, packages: Iterable[str] = ()) -> Environment:
    """The Jinja2 environment of one app.

    Templates are looked up in the app's ``overrides`` folder, then in the core, then in the
    ``templates`` folders of ``packages``.
    """
    loaders: list[BaseLoader] = [FileSystemLoader(overrides), PackageLoader("asok_auth_core.pages")]
    for package in packages:
        loaders += map(FileSystemLoader, package_folders(package, "templates"))
    made = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=COMPILED,
    )
    made.filters["browser"] = browser_name
    made.globals["stylesheet"] = Stylesheet.read(overrides)
    made.filters["day"] = lambda seconds: _utc(seconds).strftime("%Y-%m-%d")
    made.filters["minute"] = lambda seconds: _utc(seconds).strftime("%Y-%m-%d %H:%M UTC")
    return made


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def render(
    auth: Auth, request: WebRequest, template: str, *, status: int = 200, **context: object
) -> WebResponse:
    """A page from ``template``, in the app's layout if ``AUTH["LAYOUT"]`` names one."""
    layout = auth.settings.layout
    parts = None if layout is None else Parts()
    body = fragment(auth, request, template, parts=parts, **context)
    if layout is None or parts is None:
        return WebResponse(str(body), status, headers=PAGE_HEADERS)
    parts.keep("content", body)
    return WebResponse(request.in_layout(layout, parts.kept), status, headers=PAGE_HEADERS)


def page(auth: Auth, request: WebRequest, title: str, content: Markup, *, status: int = 200) -> WebResponse:
    """A page in our style: ``title`` as its heading, then ``content``."""
    return render(auth, request, "auth/page.html", status=status, title=title, content=content)


class Parts:
    """The parts for the app's layout: ``auth_title``, ``auth_head``, …"""

    def __init__(self) -> None:
        self.kept: dict[str, Markup] = {}

    def keep(self, name: str, part: Markup) -> str:
        """Keep ``part`` as ``auth_<name>``; return "", which the template prints."""
        self.kept[f"auth_{name}"] = part
        return ""


def fragment(auth: Auth, request: WebRequest, template: str, **context: object) -> Markup:
    """Part of a page from ``template``, as safe markup for another template."""
    language = request.locale.split("-")[0].lower()
    shared: dict[str, object] = {
        "request": request,
        "parts": None,
        "user": request.user,
        "can": functools.partial(can, auth, request),
        "app_name": auth.settings.app_name,
        "csrf_field": request.csrf_field,
        "nonce": request.nonce,
        "language": language,
        "direction": "rtl" if language in RIGHT_TO_LEFT else "ltr",
        "_": request.translate,
        "broken_plugins": _broken_plugins(auth),
        "mailbox": auth.outbox.transport.mailbox_path if auth.settings.app.debug else None,
    }
    return Markup(auth.templates.get_template(template).render({**shared, **context}))  # noqa: S704 - autoescaped


def _broken_plugins(auth: Auth) -> list[PluginInfo]:
    """The plugins without which the app runs in DEBUG, for the banner."""
    if not auth.settings.app.debug:
        return []
    return [info for info in auth.plugins.infos if info.state == "quarantined"]
