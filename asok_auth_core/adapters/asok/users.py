"""The app's user model as flows see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from asok import Asok
from asok.orm import MODELS_REGISTRY, Model
from asok.orm.engines.postgres import PostgresEngine

from ...contracts import UserDirectory
from ...errors import ConfigurationError
from ...types import Grant, User
from .roles import kept_grants

_DISABLED = ("is_banned", "is_disabled", "disabled", "banned")
_ENABLED = ("is_active", "active", "enabled", "is_enabled")


class AsokUsers(UserDirectory):
    """Users of the model named by ``app.config["AUTH_MODEL"]``.

    The model class is looked up each time: Asok loads a model file more than once, and each time a
    new class takes the registry's place.
    """

    def __init__(self, app: Asok) -> None:
        self._app = app

    @property
    def config(self) -> Mapping[str, object]:
        """The app's configuration."""
        return cast("Mapping[str, object]", self._app.config)

    @property
    def model(self) -> type[Model]:
        """The user model. Raises ConfigurationError if there is none."""
        name = str(self._app.config.get("AUTH_MODEL") or "User")
        model = MODELS_REGISTRY.get(name)
        if model is None:
            raise ConfigurationError(
                f"There is no user model {name!r}. Create src/models/{name.lower()}.py with "
                f'"class {name}(Model): email = Field.String(unique=True)", or name your model in '
                'app.config["AUTH_MODEL"].'
            )
        return model

    def by_id(self, user_id: str) -> User | None:
        try:
            number = int(user_id)
        except ValueError:
            return None
        return self.model.find(id=number) if 0 <= number < 2**63 else None

    def by_email(self, email: str) -> User | None:
        return self.model.find(email=email) or self.model.find(email=email.lower())

    def create(self, email: str, name: str | None = None) -> User:
        fields = {"email": email}
        if name and "name" in self.model._fields:
            fields["name"] = name
        return self.model.create(**fields)

    def email_of(self, user: User) -> str | None:
        return getattr(user, "email", None) or None

    def is_active(self, user: User) -> bool:
        off = any(getattr(user, name, False) for name in _DISABLED)
        on = all(getattr(user, name) for name in _ENABLED if getattr(user, name, None) is not None)
        return on and not off

    def grants(self) -> Iterator[Grant]:
        return kept_grants(self.model)


class UsersEngine:
    """The database engine of the user model, looked up at each call as the model is."""

    def __init__(self, users: AsokUsers) -> None:
        self._users = users

    def execute(self, sql: str, args: tuple[object, ...]) -> Sequence[Mapping[str, object]] | int:
        """Run one statement with ``?`` placeholders: rows, or for a change the number of rows."""
        return self._users.model.get_engine().execute(sql, args)

    def quote_identifier(self, name: str) -> str:
        """``name`` as the engine quotes it."""
        return self._users.model.get_engine().quote_identifier(name)

    @contextmanager
    def at_start_up(self) -> Iterator[bool]:
        """True where a statement may run before the app's server forks; leaves no connection behind.

        Not with PostgreSQL: Asok's pool would come into the children without its threads. Not with a
        database in memory: it ends with the connection.
        """
        engine = self._users.model.get_engine()
        if isinstance(engine, PostgresEngine) or getattr(engine, "db_path", None) == ":memory:":
            yield False
            return
        is_new = getattr(engine._local, "conn", None) is None
        try:
            yield True
        finally:
            if is_new:
                engine.close_connections()
