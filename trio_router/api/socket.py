"""The Responses API over WebSocket: each `response.create` is a request, answered by messages.

A message holds what the `data` of a server-sent event holds.  Each response has its own request, with
its own record, nursery and generation.  What the responses of a connection said is kept while it lasts,
so that `previous_response_id` works with every target.

The protocol is from developers.openai.com/api/docs/guides/websocket-mode.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from trio_router.api.conversation import Conversation, Heard, items_of
from trio_router.api.endpoints import STREAM_HEADERS, answer_call, refuse_if_draining
from trio_router.api.reply import Reply
from trio_router.api.request import ClientRequest
from trio_router.api.table import EndpointRow
from trio_router.api.turn import TurnLink, own_headers
from trio_router.dialects import CLIENTS
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.chat_request import parse_object
from trio_router.errors import InvalidRequest, MethodNotAllowed, UpgradeRequired
from trio_router.relay.call import ClientCall
from trio_router.relay.heavy import understood

if TYPE_CHECKING:
    from trio_router.policy.origins import Origins
    from trio_router.runtime.generation import Generation
    from trio_router.server.link import MessageWriter
    from trio_router.server.request_body import RequestBody

RESPONSES = "/v1/responses"
_CREATE, _PROCESSED = "response.create", "response.processed"
_ENDED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
Body = dict[str, Any]


async def responses_socket(asked: ClientRequest) -> Reply:
    """`GET /v1/responses`, which offers a WebSocket.  Raises RouterError."""
    if asked.header(b"upgrade").lower() != b"websocket":
        raise MethodNotAllowed("GET is for WebSockets here: POST the request", allow="POST")
    await asked.authenticate()
    if not asked.generation.config.server.websocket:
        raise UpgradeRequired("server.websocket is off: POST the request")
    refuse_if_draining(asked.router)
    if (offer := asked.link.offer) is None:
        raise UpgradeRequired("there is no WebSocket (RFC 6455, version 13) here: POST the request")
    asked.exchange.uncount()  # each response counts for itself
    return Reply(101, {}, switch=(offer, ResponsesSocket(asked).request))


class ResponsesSocket:
    """One connection, whose handshake is `asked`: the application that its messages' requests ask."""

    def __init__(self, asked: ClientRequest) -> None:
        self.router = asked.router
        self._app = asked.app
        self._handshake = asked.link
        self._headers = own_headers(asked.link.headers)
        self._client = CLIENTS[RESPONSES]
        self._conversation = Conversation(asked.generation.config.server.max_body)

    def request(self, body: RequestBody, writer: MessageWriter) -> ClientRequest:
        """The request that a message makes."""
        return ClientRequest(self, TurnLink(self._handshake, self._headers, body, writer))

    # -- what a request asks

    def origins(self, generation: Generation) -> Origins:
        return self._app.origins(generation)

    def row_of(self, method: str, path: str) -> EndpointRow:
        return EndpointRow(self._message)

    async def _message(self, asked: ClientRequest) -> Reply:
        """Raises RouterError."""
        turn = cast("TurnLink", asked.link)
        await asked.authenticate()
        refuse_if_draining(asked.router)
        data = await asked.body.read()
        body, heavy = await understood(data, partial(self._read, turn))
        if body is None:  # a receipt, which is not answered
            asked.exchange.uncount()
            return Reply(204, {})
        generates = body.pop("generate", None) is not False
        items, size = self._go_on(body)
        if items is not None:
            turn.on_said = partial(self._keep, items, size + len(data))
        if not generates:
            return self._warm_up(asked, body)
        call = ClientCall(self._client, body, self._headers, is_heavy=heavy)
        return await answer_call(asked, body["model"], call)

    def _read(self, turn: TurnLink, data: bytes | bytearray) -> Body | None:
        """The request in a message; None if there is none in it.  Raises InvalidRequest."""
        body = parse_object(data)
        lane = body.pop("stream_id", None)
        if isinstance(lane, str):
            turn.lane = lane
        kind = body.pop("type", None)
        if kind == _PROCESSED:
            return None
        if kind != _CREATE:
            raise InvalidRequest(f"type must be {_CREATE}", param="type")
        body.pop("background", None)
        body["stream"] = True
        self._client.check(body)
        return body

    def _go_on(self, body: Body) -> tuple[list[Body] | None, int]:
        """Puts what was said before into the input.  Returns all items, and the bytes of the former.

        A response that is not of this connection may be known to the upstream.
        """
        own = items_of(body.get("input"))
        before = self._conversation.before(body.get("previous_response_id"))
        if before is None:
            return (None if body.get("previous_response_id") else own), 0
        items, size = before
        if own is not None or body.get("input") is None:
            body["input"] = items = [*items, *(own or ())]
            del body["previous_response_id"]
        return items, size

    def _keep(self, items: list[Body], size: int, said: Heard) -> None:
        if (response := said.response()) is not None:
            name, output = response
            self._conversation.keep(name, [*items, *output], size + said.size)

    def _warm_up(self, asked: ClientRequest, body: Body) -> Reply:
        """Nothing is generated: the request is kept for the next one to go on from."""
        asked.generation.table.resolve(body["model"])
        clock, record = asked.router.clock, asked.record
        name = f"chatcmpl-{record.request_id.removeprefix('req_')}"
        encoder = self._client.encoder(AnswerIdentity(name, int(clock.wall()), body["model"]), body)
        return Reply(200, dict(STREAM_HEADERS), encoder.encode(_ENDED) + encoder.finish())
