"""Find the page for a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..auth import Auth
from ..engine.coroutines import NeverAwaited, is_coroutine_function
from ..errors import AuthError, ConfigurationError, NotFound
from ..flows.current_request import handling
from ..flows.plugin_faults import at_start
from ..paths import PREFIX
from ..web import Route, WebRequest, WebResponse
from .account import AccountPages
from .confirm_login import ConfirmPages
from .core import CorePages
from .problems import problem
from .sign_up import SignUpPages
from .support import SupportPages

PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffd]")
"""Characters that no parameter may have: controls, and what is left of a path that is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The path of a route with parameters, by segment: ``("", "things", "{id}")``."""

    segments: tuple[str, ...]
    route: Route

    def parameters(self, parts: list[str]) -> dict[str, str] | None:
        """The parameters in ``parts``, as many segments; None without a match."""
        found = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if segment.startswith("{"):
                if part in ("", ".", "..") or UNFIT.search(part):
                    return None
                found[segment[1:-1]] = part
            elif segment != part:
                return None
        return found

    def overlaps(self, other: Pattern) -> bool:
        """True if there is a path that both match."""
        pairs = zip(self.segments, other.segments, strict=False)
        return len(self.segments) == len(other.segments) and all(
            one == two or one.startswith("{") or two.startswith("{") for one, two in pairs
        )


class Router:
    """Paths and their routes, collected at startup from the core and every plugin."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._routes: dict[str, Route] = {}
        self._patterns: dict[tuple[int, str], list[Pattern]] = {}
        """Paths with parameters, by their number of segments and the first one, "{}" for a parameter."""
        self._owners: dict[str, str] = {}
        self._add("the core", CorePages(auth).routes())
        self._add("the core", AccountPages(auth).routes())
        self._add("the core", ConfirmPages(auth).routes())
        self._add("the core", SignUpPages(auth).routes())
        if auth.settings.support_pages:
            self._add("the core", SupportPages(auth).routes())
        for method in auth.login_methods.values():
            owner = auth.plugins.owner("asok_auth_login_methods", method.name)
            self._add(f"login method {method.name!r} of {owner}", at_start(method, method.routes))
        for factor in auth.second_factors.values():
            owner = auth.plugins.owner("asok_auth_second_factors", factor.name)
            self._add(f"second factor {factor.name!r} of {owner}", at_start(factor, factor.routes))
        for owner, route in auth.routes:
            self._add(owner, [route])

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that have a page, those with parameters as written in their routes."""
        return tuple(self._owners)

    def match(self, path: str) -> Route | None:
        """The route for ``path``, or None. A trailing slash makes no difference."""
        path = path if path == "/" else path.rstrip("/")
        route = self._routes.get(path)
        if route is None and self._patterns:
            found = self._find(path)
            return None if found is None else found[0]
        return route

    def is_missing(self, path: str) -> bool:
        """True if ``path`` is one of ours by its prefix, but has no page."""
        return path.startswith(f"{PREFIX}/") and self.match(path) is None

    def missing(self, request: WebRequest) -> WebResponse:
        """The answer for a path that ``is_missing``."""
        return problem(self._auth, request, NotFound("There is no page at this address."))

    def respond(self, route: Route, request: WebRequest) -> WebResponse:
        """The answer of the route's handler, or of the AuthError it raises."""
        handler = route.handler(request.method)
        if handler is None:
            allowed = (("Allow", ", ".join(route.methods)),)
            return WebResponse("Method not allowed", 405, "text/plain; charset=utf-8", allowed)
        if route.path not in self._routes:
            found = self._find(request.path.rstrip("/"))
            request.params = {} if found is None else found[1]
        try:
            with handling(self._auth, request):
                answer: object = handler(request)
        except AuthError as error:
            return problem(self._auth, request, error, route)
        if not isinstance(answer, WebResponse):
            raise TypeError(
                f"The page {route.path} of {self._owners[route.path]} returned {type(answer).__name__}, not "
                "WebResponse."
            )
        return answer

    def check_enrol_paths(self, is_other_page: Callable[[str], bool]) -> None:
        """Raise ConfigurationError for a factor whose ``enrol_path`` no page answers.

        Users who must set it up would be sent there. ``is_other_page`` tells whether the app itself has a
        page for a path.
        """
        for factor in self._auth.second_factors.values():
            path = urlsplit(factor.enrol_path or "").path
            if not path:
                continue
            route = self.match(path)
            if (route is None or route.get is None) and not is_other_page(path):
                owner = self._auth.plugins.owner("asok_auth_second_factors", factor.name)
                raise ConfigurationError(
                    f"The enrol_path {factor.enrol_path!r} of second factor {factor.name!r} of {owner} has "
                    "no page for GET, and users who must set the factor up are sent there. Fix, upgrade or "
                    "uninstall its plugin.",
                    code="plugin",
                )

    def _find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        parts = path.split("/")
        for first in (parts[1] if len(parts) > 1 else "", "{}"):
            for pattern in self._patterns.get((len(parts), first), ()):
                parameters = pattern.parameters(parts)
                if parameters is not None:
                    return pattern.route, parameters
        return None

    def _add(self, owner: str, routes: Iterable[Route]) -> None:
        for route in routes:
            if not isinstance(route, Route):
                raise ConfigurationError(
                    f"routes() of {owner} returned {type(route).__name__}, not Route. Fix, upgrade or "
                    "uninstall its plugin.",
                    code="plugin",
                )
            for method in route.methods:
                if is_coroutine_function(route.handler(method)):
                    raise NeverAwaited(f"The page {route.path} of {owner}")
            segments = _segments(route.path, owner)
            pattern = Pattern(segments, route)
            if not any(segment.startswith("{") for segment in segments):
                other = self._routes.get(route.path)
                self._routes[route.path] = route
            else:
                others = [one for known in self._patterns.values() for one in known]
                other = next((one.route for one in others if one.overlaps(pattern)), None)
                first = "{}" if segments[1].startswith("{") else segments[1]
                self._patterns.setdefault((len(segments), first), []).append(pattern)
            if other is not None:
                raise ConfigurationError(
                    f"The path {route.path} is used twice: {other.path} of {self._owners[other.path]}, and "
                    f"{route.path} of {owner}. Uninstall or disable one.",
                    code="plugin",
                )
            self._owners[route.path] = owner


def _segments(path: str, owner: str) -> tuple[str, ...]:
    """The segments of a route's ``path``. Raises ConfigurationError if invalid."""
    segments = tuple(path.split("/"))
    names = [segment for segment in segments if PARAMETER.fullmatch(segment)]
    malformed = any(
        segment in ("", ".", "..") or (re.search("[{}]", segment) and segment not in names)
        for segment in segments[1:]
    )
    if path != "/" and (segments[0] or len(segments) == 1 or malformed or len(set(names)) != len(names)):
        raise ConfigurationError(
            f"The path {path!r} of {owner} is not valid. Start with /, do not end with /, and write each "
            "parameter as a whole segment with a name of its own, such as /things/{id}.",
            code="plugin",
        )
    return segments
