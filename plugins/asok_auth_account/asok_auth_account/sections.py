"""What stands on the account page below "Your data"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from markupsafe import Markup

from asok_auth_core.plugin import AccountGroup, AccountSection, Auth, WebRequest, fragment

from .method import account_method


class DataSection(AccountSection):
    """The export, and the deletion of the account."""

    name = "account-data"
    account_group: ClassVar[AccountGroup] = "data"

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def account_block(self, request: WebRequest) -> Markup | None:
        deletes = account_method(self._auth).deletes
        return fragment(self._auth, request, "auth/account/data_block.html", deletes=deletes)


def sections(auth: Auth) -> Iterable[AccountSection]:
    """See ``asok_auth_account_sections``."""
    return (DataSection(auth),)
