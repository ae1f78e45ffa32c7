"""Decide what a user may do, from plugins' grants and denials; explain it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..engine.permissions import (
    PermissionSet,
    candidates,
    compile_grants,
    intersection,
    is_well_formed,
    union,
)
from ..errors import PermissionDenied
from ..types import Grant, User
from ..web import WebRequest
from .current_user import require_login

if TYPE_CHECKING:
    from ..auth import Auth

logger = logging.getLogger("asok_auth")

SHOWN_LENGTH = 80
SHOWN_MALFORMED = 5


@dataclass(frozen=True, slots=True)
class Held:
    """What the plugins grant a user now; kept for one request, never longer.

    ``parts`` are ``(plugin, set)``; ``failed`` are the plugins that raised and so granted nothing.
    ``scopes`` are those of the request's API token, or None. ``permissions`` combines parts and scopes.
    """

    parts: tuple[tuple[str, PermissionSet], ...]
    failed: tuple[str, ...]
    scopes: PermissionSet | None
    permissions: PermissionSet


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict and its reasons. ``str()`` returns it as text for developers.

    ``grant`` is the most specific grant that matches, from ``plugin``. If it
    is denied nevertheless, ``rejected_by`` and ``denial`` are the plugin that denied it and its reason,
    or ``in_scope`` is False because the API token's scopes lack it. Granting any pattern in ``missing``
    would allow it. ``malformed`` are grants that have no effect because they are malformed, ``failed``
    plugins that raised an error.
    """

    permission: str
    allowed: bool
    grant: Grant | None = None
    plugin: str = ""
    in_scope: bool = True
    rejected_by: str = ""
    denial: str = ""
    missing: tuple[str, ...] = ()
    malformed: tuple[Grant, ...] = ()
    failed: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        lines = [f"{_shown(self.permission)}: {'allowed' if self.allowed else 'denied'}."]
        if self.note:
            lines.append(self.note)
        if self.grant is not None:
            source = f" of {self.grant.source}" if self.grant.source else ""
            lines.append(f"Granted by {self.grant.pattern!r}{source} (plugin {self.plugin}).")
        if not self.in_scope:
            lines.append("The API token's scopes do not include it.")
        if self.rejected_by:
            lines.append(f"Denied by plugin {self.rejected_by}: {self.denial or 'no reason given'}")
        if self.missing:
            lines.append(f"Nothing grants it. One of these would: {', '.join(map(repr, self.missing))}.")
        for plugin in self.failed:
            lines.append(f"Plugin {plugin} raised an error and granted nothing; see the log.")
        for grant in self.malformed[:SHOWN_MALFORMED]:
            source = f" of {grant.source}" if grant.source else ""
            lines.append(f"{_shown(grant.pattern)}{source} is not well formed and grants nothing.")
        if len(self.malformed) > SHOWN_MALFORMED:
            lines.append(f"{len(self.malformed) - SHOWN_MALFORMED} more grants are not well formed.")
        return "\n".join(lines)


def permissions_of(auth: Auth, user: User, scopes: Iterable[str] | None = None) -> Held:
    """Collect what every plugin grants ``user``, limited to ``scopes`` unless None.

    A plugin that raises grants nothing; it is logged and becomes the event
    ``permission.resolver_failed``.
    """
    failed: list[str] = []

    def on_error(plugin: str, error: Exception) -> None:
        failed.append(plugin)
        logger.error("Plugin %r raised in asok_auth_permissions and grants nothing.", plugin, exc_info=error)
        auth.events.emit("permission.resolver_failed", user=user, plugin=plugin, error=type(error).__name__)

    parts = tuple(auth.plugins.permissions(user, on_error))
    whole = union(part for _, part in parts)
    limit = None if scopes is None else compile_grants(scopes, "token scopes")
    return Held(parts, tuple(failed), limit, whole if limit is None else intersection(whole, limit))


def permissions_in(auth: Auth, request: WebRequest, user: User) -> Held:
    """The permissions of ``user`` in this request; plugins are asked once.

    The owner of the request's API token has no more than the token's scopes.
    """
    proved = request.authentication
    same = proved is not None and (proved.user is user or str(proved.user.id) == str(user.id))
    scopes = proved.scopes if same and proved is not None else None
    # With the scopes: a plugin may ask while the request's token is still being read. The user is kept, so
    # that its id() is not reused during the request.
    known = cast("dict[object, tuple[User, Held]]", request.kept.setdefault(permissions_in, {}))
    key = id(user), scopes
    if key not in known:
        known[key] = user, permissions_of(auth, user, scopes)
    return known[key][1]


def can(auth: Auth, request: WebRequest, permission: str, resource: object = None) -> bool:
    """True if the current user may do ``permission``; False without a user.

    Never raises. Knows the scopes of the request's API token.
    """
    user = request.user
    if user is None:
        return False
    return user_can(auth, user, permission, resource, held=permissions_in(auth, request, user))


def require(auth: Auth, request: WebRequest, permission: str, resource: object = None) -> User:
    """The current user, who may do ``permission`` (to ``resource``).

    Raises LoginRequired without a user; PermissionDenied if they may not do it, or if the scopes of the
    request's API token do not include it. A denial becomes the event ``permission.denied``.
    """
    user = require_login(request)
    held = permissions_in(auth, request, user)
    if user_can(auth, user, permission, resource, held=held):
        return user
    reason = user_explain(auth, user, permission, resource, held=held)
    auth.events.emit(
        "permission.denied",
        user=user,
        permission=_shown(reason.permission),
        granted=reason.grant is not None,
        in_scope=reason.in_scope,
        rejected_by=reason.rejected_by or None,
    )
    raise PermissionDenied(
        "You do not have permission to do this.",
        explanation=str(reason),
        scope=reason.permission if reason.grant is not None and not reason.in_scope else None,
    )


def user_can(
    auth: Auth, user: User | None, permission: str, resource: object = None, *, held: Held | None = None
) -> bool:
    """True if ``user`` may do ``permission``, for code without a request.

    ``resource`` is what it is done to; such code is a job, for example. It knows no API token: where there is
    a request, call :func:`can`. ``held`` is what :func:`permissions_in` or :func:`permissions_of` returned.
    Never raises.
    """
    if user is None:
        return False
    held = held or permissions_of(auth, user)
    return held.permissions.allows(permission) and _denial(auth, user, permission, resource) is None


def user_explain(
    auth: Auth, user: User | None, permission: str, resource: object = None, *, held: Held | None = None
) -> Explanation:
    """The verdict of :func:`user_can`, with the reasons for it."""
    asked = permission if isinstance(permission, str) else repr(permission)
    if user is None:
        return Explanation(asked, False, note="No user is logged in.")
    if not is_well_formed(permission):
        return Explanation(
            asked, False, note='This is not a permission: write one like "posts.edit", "posts.*" or "*".'
        )
    held = held or permissions_of(auth, user)
    patterns = candidates(permission)
    found = [
        (patterns.index(grant.pattern), plugin, grant.source, grant)
        for plugin, part in held.parts
        if (grant := part.grant_for(permission)) is not None
    ]
    plugin, grant = min(found, key=lambda item: item[:3])[1::2] if found else ("", None)
    in_scope = held.scopes is None or held.scopes.allows(permission)
    granted = grant is not None and in_scope
    rejected_by, denial = (_denial(auth, user, permission, resource) if granted else None) or ("", "")
    return Explanation(
        permission=asked,
        allowed=granted and not rejected_by,
        grant=grant,
        plugin=plugin,
        in_scope=in_scope,
        rejected_by=rejected_by,
        denial=denial,
        missing=tuple(patterns) if grant is None else (),
        malformed=tuple(held.permissions.malformed),
        failed=held.failed,
    )


def _denial(auth: Auth, user: User, permission: str, resource: object) -> tuple[str, str] | None:
    """``(plugin, reason)`` of the first denial; a plugin that raises denies."""

    def on_error(plugin: str, error: Exception) -> None:
        logger.error("Plugin %r raised in asok_auth_denies; the check denies.", plugin, exc_info=error)
        auth.events.emit("permission.check_failed", user=user, plugin=plugin, error=type(error).__name__)

    return auth.plugins.denies(user, permission, resource, on_error)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…")
