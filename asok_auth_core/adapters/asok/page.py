"""The one page file Asok loads for all of our paths."""

from __future__ import annotations

from asok.request import Request

from asok_auth_core.adapters.asok.seams import extension_of, send


def get(request: Request) -> object:
    extension = extension_of(request)
    assert extension is not None
    route = extension.router.match(request.path)
    assert route is not None
    return send(request, extension.router.respond(route, extension.web_request(request)))


post = put = patch = delete = get
