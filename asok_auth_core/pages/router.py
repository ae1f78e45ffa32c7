"""Find the page for a path."""

from __future__ import annotations

from collections.abc import Iterable

from ..auth import Auth
from ..engine.coroutines import NeverAwaited, is_coroutine_function
from ..errors import AuthError, ConfigurationError
from ..flows.plugin_faults import at_start
from ..web import Route, WebRequest, WebResponse
from .core import CorePages
from .problems import problem


class Router:
    """Exact paths and their routes, collected at startup from the core and every plugin."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._routes: dict[str, Route] = {}
        self._owners: dict[str, str] = {}
        self._add("the core", CorePages(auth).routes())
        for method in auth.login_methods.values():
            self._add(f"login method {method.name!r}", at_start(method, method.routes))
        for factor in auth.second_factors.values():
            self._add(f"second factor {factor.name!r}", at_start(factor, factor.routes))

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that have a page."""
        return tuple(self._routes)

    def match(self, path: str) -> Route | None:
        """The route for ``path``, or None. A trailing slash makes no difference."""
        return self._routes.get(path if path == "/" else path.rstrip("/"))

    def respond(self, route: Route, request: WebRequest) -> WebResponse:
        """The answer of the route's handler, or of the AuthError it raises."""
        handler = route.post if request.method == "POST" else route.get
        if handler is None or request.method not in ("GET", "HEAD", "POST"):
            allowed = [name for name, h in (("GET, HEAD", route.get), ("POST", route.post)) if h]
            return WebResponse(
                "Method not allowed", 405, "text/plain; charset=utf-8", (("Allow", ", ".join(allowed)),)
            )
        try:
            return handler(request)
        except AuthError as error:
            return problem(self._auth, request, error)

    def _add(self, owner: str, routes: Iterable[Route]) -> None:
        for route in routes:
            if route.path in self._routes:
                raise ConfigurationError(
                    f"The path {route.path} is used twice: {self._owners[route.path]} and {owner}. "
                    "Uninstall or disable one.",
                    code="plugin",
                )
            for handler in (route.get, route.post):
                if is_coroutine_function(handler):
                    raise NeverAwaited(f"The page {route.path} of {owner}")
            self._routes[route.path] = route
            self._owners[route.path] = owner
