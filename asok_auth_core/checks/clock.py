"""Check that the system clock is correct: codes, links and tokens depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from ..auth import Auth
from ..engine.message import Call
from ..engine.oidc import discovery_url
from ..errors import OAuthError
from ..http_client import Transport
from ..providers import OpenIDProvider
from ..types import Finding

RELEASED = 1_767_225_600.0
"""A correct clock is past the start of 2026, the year of this release; seconds since the epoch."""
TOLERATED = 20.0
"""Seconds; an authenticator app's code is valid for 30."""

REMEDY = "Synchronize the clock over the network (timedatectl set-ntp true)."


def clock(auth: Auth) -> Iterator[Finding]:
    """Compare the clock with the release date and with an OpenID provider."""
    now = auth.clock()
    if now < RELEASED:
        yield Finding("clock", "error", "The system clock is years behind.", REMEDY)
        return
    for provider in auth.providers.values():
        if isinstance(provider, OpenIDProvider) and provider.client_id:
            theirs = _time_at(provider, debug=auth.settings.app.debug)
            if theirs is not None:
                gap = auth.clock() - theirs
                if abs(gap) > TOLERATED:
                    yield Finding(
                        "clock",
                        "error",
                        f"The system clock is {abs(gap):.0f} seconds {'ahead of' if gap > 0 else 'behind'} "
                        f"{provider.label}'s.",
                        REMEDY,
                    )
                return


def _time_at(provider: OpenIDProvider, *, debug: bool) -> float | None:
    """The time in a reply's Date header (RFC 9110, section 6.6.1), or None.

    Failures are reported by the ``providers`` check.
    """
    transport = Transport(debug=debug)
    try:
        return parsedate_to_datetime(transport(Call(discovery_url(provider.issuer))).date).timestamp()
    except (OAuthError, ValueError):
        return None
    finally:
        transport.close()
