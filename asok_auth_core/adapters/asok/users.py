"""The app's user model as flows see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from asok import Asok
from asok.orm import MODELS_REGISTRY, Model

from ...contracts import UserDirectory
from ...engine.email_address import same_account
from ...errors import ConfigurationError, LoginRejected, StoreUnavailable
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
        """The account with exactly this email address, else the only one with it in another case.

        None if several accounts differ only in case and none matches exactly: the choice would be random.
        """
        # Every query runs whatever the first ones find: known and unknown addresses take the same time.
        exact = self.model.find(email=email)
        lower = self.model.find(email=email.lower())
        others = self._in_any_case(email)
        for user in (exact, lower):
            if user is not None and (user.email == email or same_account(user.email, email)):
                return user
        return self.by_id(others[0]) if len(others) == 1 else None

    def _in_any_case(self, email: str) -> list[str]:
        """Ids of the accounts with this email address in any case. An index on ``LOWER(email)`` helps."""
        kept = self.model._soft_delete_where()
        sql = f"SELECT id, email FROM {self.model._table} WHERE LOWER(email) = ?"  # noqa: S608
        rows = self.model.get_engine(op="read").execute(
            sql + (f" AND {kept}" if kept else ""), (email.lower(),)
        )
        # The database may treat more than case as equal, such as accents.
        return [str(row["id"]) for row in rows if same_account(row["email"], email)]

    def create(self, email: str, name: str | None = None) -> User:
        """See UserDirectory. Raises LoginRejected if accounts have this email address in another case."""
        if self._in_any_case(email):
            raise LoginRejected("Several accounts have this email address in different spellings.")
        fields = {"email": email}
        if name and "name" in self.model._fields:
            fields["name"] = name
        return self.model.create(**fields)

    def email_of(self, user: User) -> str | None:
        return getattr(user, "email", None) or None

    def is_active(self, user: User) -> bool:
        for name in _DISABLED:
            if getattr(user, name, False):
                return False
        # A plain loop: every authenticated request comes through here.
        for name in _ENABLED:
            value = getattr(user, name, None)
            if value is not None and not value:
                return False
        return True

    def highest_id(self) -> int | None:
        table, engine = self.model._table, self.model.get_engine(op="write")
        try:
            if not engine.table_exists(table):
                return 0
            (row,) = engine.execute(f"SELECT MAX(id) AS highest FROM {table}", ())  # noqa: S608
        except Exception as error:
            raise StoreUnavailable(
                f"The app's database failed or did not answer ({type(error).__name__}) for {table}."
            ) from error
        return int(row["highest"] or 0)

    def grants(self) -> Iterator[Grant]:
        return kept_grants(self.model)
