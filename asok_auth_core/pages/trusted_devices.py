"""Trusted browsers on the account page, and the button that ends them all."""

from __future__ import annotations

from markupsafe import Markup

from ..auth import Auth
from ..errors import LoginRequired
from ..flows.second_factor import ACCOUNT_PATH
from ..flows.trusted_devices import forget_devices, trusted_devices
from ..web import Route, WebRequest, WebResponse
from .render import fragment

FORGET_PATH = "/auth/trusted-devices/forget"


def devices_block(auth: Auth, request: WebRequest) -> Markup | None:
    """The section on the account page, or None where there is nothing to say."""
    if request.user is None or not auth.settings.trusted_device:
        return None
    devices = trusted_devices(auth, request.user)
    return fragment(auth, request, "auth/trusted_devices.html", count=len(devices)) if devices else None


def devices_route(auth: Auth) -> Route:
    """POST ends the trust in every browser."""

    def show(request: WebRequest) -> WebResponse:
        return WebResponse.see_other(ACCOUNT_PATH)

    def forget(request: WebRequest) -> WebResponse:
        if request.user is None:
            raise LoginRequired(request.translate("Please log in first."))
        forget_devices(auth, request.user, client_ip=request.client_ip)
        return WebResponse.see_other(ACCOUNT_PATH)

    return Route(FORGET_PATH, get=show, post=forget)
