"""The undocumented names of Asok that this adapter relies on.

One table, checked when an app registers the extension and before anything is changed: an Asok that
lacks one of them is reported by name, instead of failing in the middle of a request or, worse, leaving
one of our checks without effect.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from types import CodeType, FunctionType, ModuleType
from typing import Any

from asok import Asok
from asok.admin import Admin
from asok.auth import BearerToken, MagicLink
from asok.orm import Model
from asok.request import Request
from asok.ws import WebSocketServer
from asok.ws.connection import Connection

from ...errors import ConfigurationError

TESTED_VERSION = "0.8.0"

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "asok.Asok": (
        "_abort_to_error_page",
        "_admin_exception_response",
        "_base_response_headers",
        "_build_final_redirect",
        "_cookie_headers",
        "_dispatch_module",
        "_execute_controller",
        "_finalize_response",
        "_handle_csrf_failure",
        "_handle_dispatch_exception",
        "_resolve_route",
        "_security_headers",
        "_session_store",
        "_sign",
        "_verify_signature",
    ),
    "asok.request.Request": (
        "_auth_resolved",
        "_csrf_verified",
        "_session",
        "_user_instance",
        "auth",
        "has_role",
        "login",
        "logout",
        "redirect",
        "user",
        "verify_csrf",
    ),
    "asok.auth.BearerToken": ("create",),
    "asok.auth.MagicLink": ("create_token", "send"),
    "asok.orm.Model": ("_fields", "_hash_password_fields", "_relations", "_soft_delete_where", "_table"),
    "asok.orm.engines": ("_local", "transaction"),
    "asok.admin.Admin": (
        "_can",
        "_enable_2fa_on_user",
        "_get_pending_2fa_user",
        "_get_user_2fa",
        "_handle_login_success",
        "_handle_successful_2fa_login",
        "_has_admin_access",
        "_inject_user_methods",
        "_is_admin_or_has_roles",
        "_log",
        "_login_rate_reset",
        "_maybe_apply_impersonation",
        "_render",
        "_require_admin",
        "_setup_impersonation",
        "_stop_impersonate",
        "_twofa_challenge",
        "_twofa_disable",
        "_twofa_setup",
        "_verify_2fa_code",
        "_verify_backup_codes",
    ),
    "asok.admin.rbac": ("_user_can", "_user_roles_accessor"),
    "asok.admin.utils": ("_decrypt_totp_secret", "_totp_at"),
    "asok.ws.WebSocketServer": (
        "_broadcast_presence",
        "_decrement_presence",
        "_dispatch_text_frame",
        "_fire_on_connect",
        "_fire_on_disconnect",
        "_register",
        "_resolve_user",
        "check_room_authorization",
    ),
    "asok.ws.connection.Connection": ("close", "send"),
    "asok.ws.live": ("_build_pseudo_request",),
}
"""Attributes by place; :func:`_holders` returns the object for each place."""

MENTIONS: Mapping[str, tuple[str, ...]] = {
    "asok.Asok": ("asok.app", "asok.asgi"),
    "asok.request.Request": ("asok_csrf", "asok_session", "asok_sid", "user_id"),
    "asok.orm.Model": ("txn_level",),
    "asok.orm.engines": ("conn",),
    "asok.orm.engines.mysql": ("txn_level",),
    "asok.orm.engines.postgres": ("_pool", "_pool_initialized", "txn_level"),
    "asok.orm.engines.sqlite": ("txn_level",),
    "asok.admin.Admin": (
        "_registered",
        "current_sid",
        "delete",
        "get_all_active_sessions",
        "get_user_sessions",
        "impersonate_started_at",
        "impersonator_id",
        "revoke_all_user_sessions",
        "revoke_user_session",
    ),
    "asok.ws.WebSocketServer": ("_build_pseudo_request", "request"),
    "asok.ws.connection.Connection": ("_rooms", "server", "session", "user"),
    "asok.core._asset_injector": (
        "_asok_alive_done",
        "_asok_security_utils_done",
        "_asok_widgets_done",
    ),
}
"""Names that exist only at run time (dictionary keys, attributes), by the object that uses them."""


def original(holder: object, name: str) -> Any:
    """Asok's own attribute, before a patch replaces it; None if there is none.

    :func:`check_asok` reports what is missing before anything is replaced.
    """
    return getattr(holder, name, None)


def check_asok(app: Asok, model: type[Model]) -> None:
    """Raise ConfigurationError if this Asok or ``model`` lacks a name of the tables."""
    holders = _holders(app, model)
    missing = [
        f"{place}.{name}"
        for place, names in ATTRIBUTES.items()
        for name in names
        if not _has(holders[place], name)
    ]
    missing += [
        f"{name!r} in {place}" for place, names in MENTIONS.items() for name in _unused(names, holders[place])
    ]
    if missing:
        raise ConfigurationError(
            f"asok {metadata.version('asok')} lacks what asok-auth-core relies on: {', '.join(missing)}. "
            f"Install asok {TESTED_VERSION}, which this release was tested with, or upgrade asok-auth-core."
        )


def _holders(app: Asok, model: type[Model]) -> dict[str, object]:
    """The object for each place in the tables: the app, or a request made for it."""
    return {
        "asok.Asok": app,
        "asok.request.Request": Request({"asok.app": app}),
        "asok.auth.BearerToken": BearerToken,
        "asok.auth.MagicLink": MagicLink,
        "asok.orm.Model": model,
        "asok.orm.engines": model.get_engine(),
        "asok.orm.engines.mysql": import_module("asok.orm.engines.mysql"),
        "asok.orm.engines.postgres": import_module("asok.orm.engines.postgres"),
        "asok.orm.engines.sqlite": import_module("asok.orm.engines.sqlite"),
        "asok.admin.Admin": Admin,
        "asok.admin.rbac": import_module("asok.admin.rbac"),
        "asok.admin.utils": import_module("asok.admin.utils"),
        "asok.ws.WebSocketServer": WebSocketServer,
        "asok.ws.connection.Connection": Connection,
        "asok.ws.live": import_module("asok.ws.live"),
        "asok.core._asset_injector": import_module("asok.core._asset_injector"),
    }


def _has(holder: object, name: str) -> bool:
    """Like hasattr(), but without running properties."""
    try:
        inspect.getattr_static(holder, name)
    except AttributeError:
        return False
    return True


def _unused(names: tuple[str, ...], holder: object) -> list[str]:
    """The ``names`` that no code of ``holder`` uses."""
    left = set(names)
    for code in _code_of(holder):
        left.difference_update(_names_in(code))
        if not left:
            break
    return sorted(left)


def _code_of(holder: object) -> Iterator[CodeType]:
    """The code of a module's classes, or of an object's class and its base classes."""
    if isinstance(holder, ModuleType):
        classes = [value for value in vars(holder).values() if inspect.isclass(value)]
    else:
        classes = list((holder if isinstance(holder, type) else type(holder)).__mro__)
    for one in classes:
        if one.__module__.partition(".")[0] != "asok":
            continue
        for value in vars(one).values():
            function = value.fget if isinstance(value, property) else inspect.unwrap(value)
            function = getattr(function, "__func__", function)
            if isinstance(function, FunctionType):
                yield function.__code__


def _names_in(code: CodeType) -> Iterator[str]:
    """Every name and text constant in the code, and in the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from (item for item in constant if isinstance(item, str))
        elif isinstance(constant, CodeType):
            yield from _names_in(constant)
