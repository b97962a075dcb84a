"""What clients can ask for beside chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.endpoints import refuse_if_draining
from trio_router.api.reply import Reply, origin
from trio_router.api.table import EndpointRow
from trio_router.dialects import CLIENTS
from trio_router.dialects.chat_request import parse_object
from trio_router.dialects.embedding import parse_embedding_request
from trio_router.errors import InvalidRequest
from trio_router.relay.heavy import understood
from trio_router.relay.side_calls import CountCall, EmbeddingCall

if TYPE_CHECKING:
    from trio_router.api.request import ClientRequest
    from trio_router.relay.call import WholeCall

_MESSAGES = "/v1/messages"


async def embeddings(asked: ClientRequest) -> Reply:
    """`POST /v1/embeddings`.  Raises RouterError."""
    asked.authenticate()
    refuse_if_draining(asked.router)
    body, heavy = await understood(await asked.body.read(), parse_embedding_request)
    return await _whole(asked, body["model"], EmbeddingCall(body, is_heavy=heavy))


async def count_tokens(asked: ClientRequest) -> Reply:
    """`POST /v1/messages/count_tokens`.  Raises RouterError."""
    client = CLIENTS[_MESSAGES]
    asked.authenticate()
    refuse_if_draining(asked.router)
    body, heavy = await understood(await asked.body.read(), parse_object)
    model = named_model(body.get("model"))
    return await _whole(asked, model, CountCall(client, body, asked.link.headers, is_heavy=heavy))


async def _whole(asked: ClientRequest, model: str, call: WholeCall) -> Reply:
    asked.trace(asked.link.path.rpartition("/")[2])
    target = asked.generation.table.resolve(model)
    answer = await asked.exchange.whole(target, call)
    return Reply(200, {"content-type": "application/json", **origin(asked.record)}, answer)


def named_model(model: object) -> str:
    """`model`, if it can be a model's name.  Raises InvalidRequest."""
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be a string", param="model")
    return model


SIDES = {
    ("POST", "/v1/embeddings"): EndpointRow(embeddings),
    ("POST", f"{_MESSAGES}/count_tokens"): EndpointRow(count_tokens),
}
