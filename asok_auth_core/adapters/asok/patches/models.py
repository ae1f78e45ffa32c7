"""Changes to the app's user model: ``can``, ``explain``, unusable passwords.

Asok loads a model file more than once, and registers a new class each time. So the
methods are put on the class that is there when an app starts, on every class that later replaces one
that has them, and on the class of each request's current user. ``Model`` is changed once for the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast
from weakref import WeakSet

from asok.admin import rbac as asok_rbac
from asok.orm import MODELS_REGISTRY, Model

from ....errors import ConfigurationError
from ..app_auth import auth_of_account
from ..asok_names import original
from ..user_methods import METHODS, can, has_own_can
from ..users import required_passwords, unusable_password

logger = logging.getLogger("asok_auth")

_ASOK_HASH = original(Model, "_hash_password_fields")
_warned: WeakSet[type] = WeakSet()
_TAKEN_OVER = ("roles", "role_ids")


def install_on_models() -> None:
    """Watch for model classes that replace others, and for new accounts. Idempotent."""
    Model.__init_subclass__ = classmethod(cast("Callable[..., None]", _succeed))
    Model._hash_password_fields = _hash_passwords


def install_on_class(model: type) -> None:
    """Put our methods on one class of users, if it takes them. Idempotent.

    The Admin's ``can`` is replaced; the app's own ``can`` is kept, with a warning.
    """
    if getattr(model, "can", None) is can:
        return
    if has_own_can(model):
        _warn(model, "%s has its own can(); it is left in place.")
        return
    try:
        for name, method in METHODS.items():
            setattr(model, name, method)
    except (AttributeError, TypeError):
        # A login method may return a user of any class, also of one that is closed.
        _warn(
            model,
            "%s takes no methods, so its users have no can(). Use @requires, and can() in templates; "
            "user_can(auth, user, permission) elsewhere.",
        )


def _warn(model: type, message: str) -> None:
    """Log a warning about ``model``, once."""
    if model not in _warned:
        _warned.add(model)
        logger.warning(message, model.__name__)


def _succeed(cls: type[Model], **options: object) -> None:
    """Copy the Admin's and our methods to a class that replaces another of its name."""
    super(Model, cls).__init_subclass__(**options)
    before = MODELS_REGISTRY.get(cls.__name__)
    if before is None or before.__dict__.get("can") not in (can, asok_rbac._user_can):
        return
    getter = getattr(before.__dict__.get("roles"), "fget", None)
    if getter is asok_rbac._user_roles_accessor:
        for name in _TAKEN_OVER:
            setattr(cls, name, before.__dict__[name])
        cls._relations.setdefault("roles", before._relations["roles"])
    install_on_class(cls)


def _hash_passwords(self: Model) -> None:
    """Give a new account without a password an unusable one where it must have one.

    ``asok create --admin`` writes such a model, and ``User.create(email=email)`` is documented.
    """
    if not self.id and _is_account(self):
        for name in required_passwords(type(self)):
            if getattr(self, name, None) is None:
                setattr(self, name, unusable_password())
    _ASOK_HASH(self)


def _is_account(instance: Model) -> bool:
    """True if ``instance`` is a user of an app with the extension."""
    try:
        return auth_of_account(instance) is not None
    except ConfigurationError:
        return True  # of one of several such apps
