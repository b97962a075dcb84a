"""What Quart answers, whichever server the request came in on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from quart_trio.asgi import TrioASGIHTTPConnection

if TYPE_CHECKING:
    from quart import Response
    from werkzeug.datastructures import Headers

    from trio_router.api.app import RouterApp
    from trio_router.api.request import ClientRequest


class QuartAnswer:
    """A response of one of Quart's views, and how it is sent."""

    def __init__(
        self, request: ClientRequest, connection: TrioASGIHTTPConnection, made: Response
    ) -> None:
        self._link = request.link
        self._connection = connection
        self._response = made

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Headers:
        return self._response.headers

    async def send(self) -> None:
        await self._connection._send_response(self._on_message, self._response)

    async def _on_message(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            await self._link.start(message["status"], list(message["headers"]))
        elif message.get("more_body", False):
            await self._link.write(message["body"])
        else:
            await self._link.finish(message["body"])


async def quart_answer(app: RouterApp, request: ClientRequest) -> QuartAnswer:
    """What the view for `request` says.  The view finds `request` in its scope, as "trio_router"."""
    scope = request.link.scope()
    scope["trio_router"] = request  # type: ignore[typeddict-unknown-key]
    connection = TrioASGIHTTPConnection(app, scope)
    made = await app.handle_request(connection._create_request_from_scope(_push_nothing))
    return QuartAnswer(request, connection, cast("Response", made))


async def _push_nothing(message: Any) -> None:
    """Over HTTP/2 Quart can push resources; we have none to push."""
