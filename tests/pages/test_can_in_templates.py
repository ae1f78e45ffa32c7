"""``can()`` in the templates of our own pages, and of an app's versions of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from asok_auth_core.auth import Auth
from asok_auth_core.hookspecs import hookimpl
from asok_auth_core.pages.render import fragment
from asok_auth_core.testing import FakeRequest, FakeUser
from asok_auth_core.types import Authentication, User


class Plugin:
    asked = 0

    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[str]:
        self.asked += 1
        return ["posts.*"] if str(user.id) == "1" else []

    @hookimpl
    def asok_auth_denies(self, resource: object) -> str | None:
        return "locked" if resource == "locked" else None


def test_can_in_a_template_asks_the_current_users_permissions(
    make_auth: Callable[..., Auth], tmp_path: Path
) -> None:
    template = tmp_path / "src" / "partials" / "auth" / "probe.html"
    template.parent.mkdir(parents=True)
    template.write_text('{{ can("posts.edit") }} {{ can("posts.edit", "locked") }} {{ can("users.edit") }}')
    plugin = Plugin()
    auth = make_auth(plugins=(plugin,))

    def shown(user: FakeUser | None, scopes: tuple[str, ...] | None = None) -> str:
        request = FakeRequest("/", user=user)
        if user is not None:
            request.authentication = Authentication(user, scopes)
        return str(fragment(auth, request, "auth/probe.html"))

    assert shown(None) == "False False False"
    assert plugin.asked == 0
    assert shown(FakeUser("1")) == "True False False"
    assert plugin.asked == 1, "once for a page"
    assert shown(FakeUser("2")) == "False False False"
    assert shown(FakeUser("1"), scopes=("posts.view",)) == "False False False"
