"""``can(…)``, ``oauth_buttons(…)`` and ``auth_css()`` in an app's own templates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

from asok.request import Request
from asok.templates import SafeString

from ...engine.urls import safe_next
from ...flows.permissions import can
from ...flows.plugin_faults import block
from ...pages.stylesheet import Stylesheet
from .app_auth import app_auth_of


def template_can(request: Request) -> Callable[..., bool]:
    """``can("posts.edit")`` in a template: does the current user have it?"""
    app_auth = app_auth_of(request)
    assert app_auth is not None
    return functools.partial(can, app_auth.auth, app_auth.web_request(request))


def template_oauth_buttons(request: Request) -> Callable[..., str]:
    """``{{ oauth_buttons("/next") }}`` in a template: a button for each provider."""
    app_auth = app_auth_of(request)
    assert app_auth is not None

    def oauth_buttons(next_url: str | None = None) -> str:
        oauth = app_auth.auth.login_methods.get("oauth")
        if oauth is None:
            return ""
        web = app_auth.web_request(request)
        return SafeString(block(app_auth.auth, oauth, oauth.buttons, web, safe_next(next_url)) or "")

    return oauth_buttons


def template_auth_css(request: Request) -> Callable[[], str]:
    """``{{ auth_css() }}`` in a template: the link to the stylesheet of the buttons.

    Each of its rules is about a class that starts with ``asok-auth``, so nothing else on the page changes.
    """
    app_auth = app_auth_of(request)
    assert app_auth is not None
    path = cast("Stylesheet", app_auth.auth.templates.globals["stylesheet"]).path
    return lambda: SafeString(f'<link rel="stylesheet" href="{path}">')
