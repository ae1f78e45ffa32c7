"""The one page file Asok loads for all of our paths."""

from __future__ import annotations

from asok.request import Request

from asok_auth_core.adapters.asok.lookup import extension_of
from asok_auth_core.adapters.asok.seams import send


def get(request: Request) -> object:
    """Answer one of our paths, by any method; seams.py leads here only for those."""
    extension = extension_of(request)
    route = extension.router.match(request.path) if extension else None
    if extension is None or route is None:
        return request.abort(404)
    # Asok would make it from where this file is installed, and show it in the page.
    request.page_id = "asok-auth"
    return send(request, extension.router.respond(route, extension.web_request(request)))


post = put = patch = delete = get
