"""What provider logins need of Asok: the buttons in an app's own templates."""

from __future__ import annotations

from collections.abc import Callable

from asok.request import Request
from asok.templates import SafeString

from ...engine.urls import safe_next
from ...methods.oauth import OAuthMethod
from .app_auth import app_auth_of


def template_oauth_buttons(request: Request) -> Callable[..., str]:
    """``{{ oauth_buttons("/next") }}`` in a template: a form with a button for each provider."""
    extension = app_auth_of(request)
    assert extension is not None

    def buttons_here(next_url: str | None = None) -> str:
        oauth = extension.auth.login_methods.get("oauth")
        if not isinstance(oauth, OAuthMethod):
            return ""
        return SafeString(oauth.buttons(extension.web_request(request), safe_next(next_url)))

    return buttons_here
