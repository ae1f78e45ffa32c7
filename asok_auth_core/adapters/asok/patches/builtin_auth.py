"""Asok's own tokens and links, which no app with the extension accepts.

They are made with ``from asok.auth import BearerToken, MagicLink``. Only ``request.auth`` leads to ours.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from asok.auth import BearerToken, MagicLink
from asok.request import Request

from ....errors import ConfigurationError
from ..app_auth import app_auth_of
from ..asok_names import original

logger = logging.getLogger("asok_auth")

_ASOK_TOKEN = original(BearerToken, "create")
_ASOK_LINK_TOKEN = original(MagicLink, "create_token")
_ASOK_SEND = original(MagicLink, "send")


def install_on_builtin_auth() -> None:
    """Reject what would make an unusable token. Idempotent."""
    BearerToken.create = _rejected(
        _ASOK_TOKEN, "BearerToken.create(request, user_id)", "request.auth.token.create(request, user_id)"
    )
    MagicLink.create_token = _rejected(
        _ASOK_LINK_TOKEN,
        "MagicLink.create_token(request, email)",
        "request.auth.magic.create_token(request, email)",
    )
    MagicLink.send = _rejected(
        _ASOK_SEND, "MagicLink.send(request, email)", "request.auth.magic.send(request, email)"
    )


def _rejected(asok_function: Callable[..., str], call: str, instead: str) -> staticmethod[..., str]:
    @functools.wraps(asok_function)
    def function(request: Request, *arguments: object, **named: object) -> str:
        if request is None or app_auth_of(request) is None:
            return asok_function(request, *arguments, **named)
        message = (
            f"asok.auth.{call} makes what this app does not accept, because AuthExtension is registered. "
            f"Call {instead} instead."
        )
        # In production, users see only that something went wrong.
        logger.error("%s", message, stack_info=True)
        raise ConfigurationError(message)

    return staticmethod(function)
