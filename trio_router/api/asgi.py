"""Our application under a server that speaks ASGI: Hypercorn, run by the user.

quart-trio's own connection class takes the `http.disconnect` that Hypercorn sends at the end of *every*
response for a client that left, and cancels itself inside the last send: keep-alive connections are
then never reused or timed out, and an answer sent before the request's body has come leaves the
connection dead.  This class knows a finished response from a left client, and lets a bounded rest of
the body come in before an early answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from quart_trio.asgi import TrioASGIHTTPConnection

from trio_router.errors import UpgradeRequired
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.written import Written, unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.typing import (
        ASGIReceiveCallable,
        ASGISendCallable,
        HTTPScope,
        WebsocketScope,
    )
    from quart_trio import QuartTrio

    from trio_router.server.link import Answering, App, Headers


class RelayConnection(TrioASGIHTTPConnection):
    """One request that came through ASGI."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        app: App = self.app  # type: ignore[assignment]
        link = AsgiLink(self.scope, send, app)
        request = app.request(link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, request, link, receive)
            await request.run()
            nursery.cancel_scope.cancel()


class NoWebsocket:
    """A WebSocket that came through ASGI: refused with 426, upon which clients go on over HTTP."""

    def __init__(self, app: QuartTrio, scope: WebsocketScope) -> None:
        pass

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await receive()
        error = UpgradeRequired("there is no WebSocket under this server: POST the request")
        await send(
            {
                "type": "websocket.http.response.start",
                "status": error.status,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        body = dumps(error.body())
        await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


async def _watch(request: Answering, link: AsgiLink, receive: ASGIReceiveCallable) -> None:
    """Takes in the body; then waits for the client to leave."""
    while True:
        message = await receive()
        if message["type"] == "http.request":
            if data := message.get("body", b""):
                link.body.feed(data)
                await link.body.wait_room()  # the server holds the client back then
            if not message.get("more_body", False):
                link.body.end()
        elif message["type"] == "http.disconnect":
            if not link.is_finishing:
                request.client_left()
            return


class AsgiLink:
    """See `Link`."""

    def __init__(self, scope: HTTPScope, send: ASGISendCallable, app: App) -> None:
        self._scope = scope
        self._send = send
        self.method = scope["method"]
        self.path = scope["path"]
        self.headers: Headers = list(scope["headers"])
        declared = next((v for n, v in self.headers if n == b"content-length"), b"")
        self.body = app.new_body(self.path, int(declared) if declared.isdigit() else None)
        self.on_moved: Callable[[], None] = unheard  # ASGI does not tell what is taken of a write
        self.is_finishing = False
        self.may_wait_for_body = True

    @property
    def server(self) -> str | None:
        server = self._scope.get("server")
        return server[0] if server else None

    @property
    def offer(self) -> None:
        return None  # such a server has WebSockets of its own

    @property
    def client(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    @property
    def raw_path(self) -> bytes:
        return self._scope["raw_path"]

    @property
    def query(self) -> bytes:
        return self._scope["query_string"]

    @property
    def is_secure(self) -> bool:
        return self._scope["scheme"] == "https"

    async def start(self, status: int, headers: Headers) -> None:
        if self._scope["http_version"] not in ("1.0", "1.1"):
            headers = [field for field in headers if field[0] != b"connection"]
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": headers,
                "trailers": False,
            }
        )

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def write_now(self, data: bytes) -> Written:
        return Written.NONE  # a server like this wants to be waited for

    async def finish(self, data: bytes = b"") -> None:
        self.is_finishing = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def tear(self) -> None:
        """ASGI has no word for it: the server sees that the answer was not finished."""
