"""The permissions that an Asok user model holds: a resolver like any plugin's.

Read as Asok's Admin reads them: ``is_admin``; ``roles`` (the Admin's, the app's own, or names), else
``role``, ``role_id`` or ``role_ids``; a role's ``permissions`` as a list or a comma-separated string.
A user's own ``permissions`` count too. An error grants nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from asok.orm import MODELS_REGISTRY, Model

from ...auth import Auth
from ...engine.permission_cache import PermissionCache
from ...engine.permissions import NOTHING, PermissionSet, compile_grants, union
from ...errors import ConfigurationError
from ...hookspecs import PluginManifest, hookimpl
from ...types import Finding, Grant, User
from .impersonation import is_admin
from .user_methods import has_own_can

NAME = "roles"

asok_auth_plugin = PluginManifest(required=True)

ADMIN_NAMES = ("admin", "administrator")
"""Asok grants everything to a user whose ``role`` is one of these names, if no such role is stored."""

EVERYTHING = compile_grants([Grant("*", "is_admin")])
EVERYTHING_BY_NAME = compile_grants([Grant("*", "a role of that name")])
CHECKED_ROWS = 1000
CACHE = PermissionCache()


@hookimpl
def asok_auth_permissions(user: User) -> Iterable[str | Grant]:
    if is_admin(user):
        return EVERYTHING
    own = _permissions(user, "the user's own permissions")
    return union([*(_role_permissions(role) for role in roles_of(user)), own])


@hookimpl
def asok_auth_checks(auth: Auth) -> Iterable[Finding]:
    model = getattr(auth.users, "model", None)
    if model is not None and has_own_can(model):
        yield Finding(
            NAME,
            "warning",
            f"{model.__name__} has its own can(); it is left in place and does not call the plugins.",
            "Remove it or give it another name.",
        )


def kept_grants(user_model: type[Model]) -> Iterator[Grant]:
    """The grants stored in the app's roles and users, malformed or not.

    The first 1,000 rows of each table are read.
    """
    role_model = MODELS_REGISTRY.get("Role")
    if role_model is not None and role_model is not user_model:
        yield from _kept_in(role_model, "role")
    if "permissions" in user_model._fields:
        yield from _kept_in(user_model, "user")


def _kept_in(model: type[Model], kind: str) -> Iterator[Grant]:
    for row in model.query().order_by("id").limit(CHECKED_ROWS).get():
        written = _permissions(row, f"{kind} {_label(row)}")
        yield from written
        yield from written.malformed


def role_names(user_model: type[Model]) -> list[str] | None:
    """The names of the stored roles; None if the app has no model of roles."""
    role_model = MODELS_REGISTRY.get("Role")
    if role_model is None or role_model is user_model:
        return None
    return [_label(row) for row in role_model.query().order_by("id").limit(CHECKED_ROWS).get()]


def add_roles(user: Model, names: Sequence[str]) -> bool:
    """Give ``user`` roles by name, where :func:`roles_of` finds them.

    True if the user must be saved. Raises ConfigurationError if there is no such role, or no field for it.
    """
    model, fields = type(user), type(user)._fields
    if role_names(model) is not None:
        found = {name: _role(name) for name in names}
        if missing := [name for name, role in found.items() if isinstance(role, str)]:
            raise ConfigurationError(f"There is no role {missing[0]!r}.")
        ids = [getattr(role, "id") for role in found.values()]  # noqa: B009 - a role is any model
        relation = model._relations.get("roles")
        if relation is not None and relation.type == "BelongsToMany":
            user.attach("roles", ids)
            return False
        if "role_id" in fields and len(ids) == 1:
            user.role_id = ids[0]
            return True
    for field in ("roles", "role"):
        if field in fields:
            both = list(dict.fromkeys([*map(str, _listed(user, field)), *names]))
            setattr(user, field, both if getattr(fields[field], "is_json", False) else ",".join(both))
            return True
    raise ConfigurationError(
        f"{model.__name__} has no field for these roles. Add the relation roles, or a field roles or role."
    )


def roles_of(user: object) -> list[object]:
    """The user's roles: objects with ``permissions``, or unknown names."""
    for given in (_listed(user, "roles"), _listed(user, "role"), _listed(user, "role_id")):
        if given:
            return [_role(item) for item in given]
    return [_role(item) for item in _listed(user, "role_ids")]


def _listed(user: object, attribute: str) -> list[object]:
    """The attribute as a list; text is split at commas."""
    given = getattr(user, attribute, None)
    if not given or callable(given):
        return []
    if isinstance(given, str):
        return [name for part in given.split(",") if (name := part.strip())]
    return list(given) if isinstance(given, Iterable) else [given]


def _role(item: object) -> object:
    """The stored role with this id or name, or the item itself."""
    model = MODELS_REGISTRY.get("Role")
    if not isinstance(item, str | int) or isinstance(item, bool) or model is None:
        return item
    text = str(item)
    if text.isdecimal():
        return model.find(id=int(text)) or item
    for field in ("name", "slug"):
        if field in model._fields and (found := model.find(**{field: text})):
            return found
    return item


def _role_permissions(role: object) -> PermissionSet:
    if isinstance(role, str):
        named = role.lower() in ADMIN_NAMES
        return EVERYTHING_BY_NAME if named else NOTHING
    return _permissions(role, f"role {_label(role)}")


def _label(role: object) -> str:
    names = (getattr(role, name, None) for name in ("name", "slug", "id"))
    return str(next((name for name in names if name), type(role).__name__))


def _permissions(holder: object, source: str) -> PermissionSet:
    """The attribute ``permissions``; equal values share one compiled set."""
    given = getattr(holder, "permissions", None)
    if isinstance(given, str):
        return CACHE.text(given, source)
    if isinstance(given, set | frozenset):
        given = sorted(given, key=str)
    return CACHE.patterns(given, source) if isinstance(given, list | tuple) else NOTHING
