"""What clients can ask for beside chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.endpoints import refuse_if_draining
from trio_router.api.reply import Reply, origin
from trio_router.api.table import EndpointRow
from trio_router.dialects import CLIENTS
from trio_router.dialects.chat_request import parse_object
from trio_router.dialects.embedding import parse_embedding_request
from trio_router.errors import InvalidRequest, RouterError
from trio_router.relay.counting import CountCall
from trio_router.relay.heavy import in_slices, understood
from trio_router.relay.side_calls import EmbeddingCall
from trio_router.routing.route import Route

if TYPE_CHECKING:
    from trio_router.api.request import ClientRequest
    from trio_router.relay.call import WholeCall
    from trio_router.routing.target import Target

_MESSAGES = "/v1/messages"
ESTIMATED = "x-trio-router-estimated"
NO_ANSWER = {"max_tokens": 0}  # of requests that no model writes an answer to


async def embeddings(asked: ClientRequest) -> Reply:
    """`POST /v1/embeddings`.  Raises RouterError."""
    await asked.authenticate()
    refuse_if_draining(asked.router)
    body, heavy = await understood(await asked.body.read(), asked.parsing(parse_embedding_request))
    return await side_answer(asked, body["model"], EmbeddingCall(body, is_heavy=heavy))


async def count_tokens(asked: ClientRequest) -> Reply:
    """`POST /v1/messages/count_tokens`: of a target that cannot count, an estimate that is marked.

    Raises RouterError.
    """
    client = CLIENTS[_MESSAGES]
    await asked.authenticate()
    refuse_if_draining(asked.router)
    body, heavy = await understood(await asked.body.read(), parse_object)
    model = named_model(body.get("model"))
    client.check({"max_tokens": 1, **body})
    return await count(asked, model, CountCall(client, body, asked.link.headers, is_heavy=heavy))


async def count(asked: ClientRequest, model: str, call: CountCall) -> Reply:
    """What `call` counts, or an estimate that is marked.  Raises RouterError."""
    asked.trace("count_tokens")
    target = asked.generation.table.resolve(model)
    await asked.admit(model, target, NO_ANSWER)
    answer = await _counted(asked, target, call)
    if answer is not None:
        return Reply(200, {"content-type": "application/json", **origin(asked.record)}, answer)
    estimate = await in_slices(call.estimated) if call.is_heavy else call.estimated()
    return Reply(200, {"content-type": "application/json", ESTIMATED: "true"}, estimate)


async def _counted(asked: ClientRequest, target: Target | Route, call: CountCall) -> bytes | None:
    """What the upstream has counted; None if it has no endpoint for that.  Raises RouterError."""
    first = target.targets[0].target if isinstance(target, Route) else target
    uncounted = asked.generation.upstreams.uncounted
    if first.provider in uncounted or not call.can_ask(first):
        return None
    try:
        return await asked.exchange.whole(target, call)
    except RouterError as error:
        if not call.is_missing(first, error):
            raise
        if target is first and call.is_guess(first):  # else it may be the model that is missing
            uncounted.add(first.provider)
    return None


async def side_answer(asked: ClientRequest, model: str, call: WholeCall, operation: str = "") -> Reply:
    """`operation` is what traces know it by, by default the end of its path.  Raises RouterError."""
    asked.trace(operation or asked.path.rpartition("/")[2])
    target = asked.generation.table.resolve(model)
    await asked.admit(model, target, NO_ANSWER)
    answer = await asked.exchange.whole(target, call)
    headers = {"content-type": "application/json", **origin(asked.record)}
    return Reply(200, headers | asked.told_limits(), answer)


def named_model(model: object) -> str:
    """`model`, if it can be a model's name.  Raises InvalidRequest."""
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be a string", param="model")
    return model


SIDES = {
    ("POST", "/v1/embeddings"): EndpointRow(embeddings),
    ("POST", f"{_MESSAGES}/count_tokens"): EndpointRow(count_tokens),
}
