"""What links tell of a request, whichever server it came through."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trio_router.api.asgi import AsgiLink
from trio_router.server.arrived import ArrivedRequest
from trio_router.server.request_body import RequestBody
from trio_router.server.request_parser import RequestHead

CLIENT, SERVER = ("192.0.2.1", 50000), "192.0.2.9"


def body(path: str = "", declared: int | None = None) -> RequestBody:
    return RequestBody(1, declared)


def own(scheme: str, client, server) -> ArrivedRequest:
    carrier = SimpleNamespace(host=server, client=client, server=SimpleNamespace(scheme=scheme))
    head = RequestHead("GET", b"/v1/files?limit=2&after=x", [(b"host", b"h")], is_old=False)
    return ArrivedRequest(carrier, head, body())


def foreign(scheme: str, client, server) -> AsgiLink:
    scope = {"method": "GET", "path": "/v1/files", "headers": [(b"host", b"h")], "scheme": scheme}
    scope |= {"query_string": b"limit=2&after=x", "client": client}
    scope["server"] = server and (server, 8777)
    return AsgiLink(scope, None, SimpleNamespace(new_body=body))


@pytest.mark.parametrize("made", [own, foreign])
class TestEitherLink:
    def test_tells_where_the_request_came_from_and_how(self, made):
        link = made("https", CLIENT, SERVER)
        assert (link.method, link.path, link.query) == ("GET", "/v1/files", b"limit=2&after=x")
        assert (link.client, link.server, link.is_secure) == ("192.0.2.1", SERVER, True)

    def test_says_that_it_came_without_tls(self, made):
        assert not made("http", CLIENT, SERVER).is_secure

    def test_knows_no_address_of_a_unix_socket(self, made):
        link = made("http", None, None)
        assert (link.client, link.server) == (None, None)


def test_headers_that_are_freed_are_held_by_nobody():
    link = own("http", CLIENT, SERVER)
    link._free_headers()
    assert link.headers == link._head.headers == []
