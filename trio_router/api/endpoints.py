"""What clients can ask for: parse, hand to the exchange, answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from trio_router.api.chat import chat_call
from trio_router.api.reply import Reply, json_reply, origin
from trio_router.api.table import Below, EndpointRow
from trio_router.dialects import CLIENTS, MODELS, MODELS_BY_HEADER
from trio_router.dialects.anthropic.listing import AnthropicListing
from trio_router.dialects.chat_request import parse_object
from trio_router.dialects.conversations import continued_by, conversation_of
from trio_router.dialects.gemini.client import KEY_HEADER
from trio_router.errors import Draining
from trio_router.relay.call import ClientCall
from trio_router.relay.heavy import in_slices, understood
from trio_router.routing.affinity import NO_AFFINITY, Affinity
from trio_router.routing.route import Route
from trio_router.runtime.router import RouterState

if TYPE_CHECKING:
    from trio_router.api.request import ClientRequest
    from trio_router.dialects.base import ClientDialect, ModelTeller
    from trio_router.relay.call import Call
    from trio_router.runtime.router import Router

CHAT_COMPLETIONS = "/v1/chat/completions"
STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


async def chat_completions(asked: ClientRequest) -> Reply:
    """`POST /v1/chat/completions`.  The hot path.  Raises RouterError."""
    await asked.authenticate()
    refuse_if_draining(asked.router)
    call, heavy = await understood(await asked.body.read(), asked.parsing(chat_call))
    call.is_heavy = heavy
    return await answer_call(asked, call.chat["model"], call)


async def client_call(asked: ClientRequest) -> Reply:
    """A request in another API than the hub's: see `dialects.CLIENTS`.  Raises RouterError."""
    client = CLIENTS[asked.path]
    body, heavy = await client_body(asked, client)
    call = ClientCall(client, body, asked.link.headers, is_heavy=heavy)
    return await answer_call(asked, body["model"], call)


async def client_body(asked: ClientRequest, client: ClientDialect) -> tuple[dict[str, Any], bool]:
    """The checked body of a request in the API of `client`, and whether it is heavy.

    Raises RouterError.
    """
    await asked.authenticate()
    refuse_if_draining(asked.router)
    parse = asked.parsing(parse_object)

    def checked(data: bytes | bytearray) -> dict[str, Any]:
        body = parse(data)
        client.check(body)
        return body

    return await understood(await asked.body.read(), checked)


def refuse_if_draining(router: Router) -> None:
    """Raises Draining if the router is about to end."""
    if router.is_draining:
        raise Draining("the router is shutting down", retry_after="5")


async def answer_call(asked: ClientRequest, model: str, call: Call) -> Reply:
    """The answer to a request for text that has been checked.  Raises RouterError."""
    asked.record.is_stream = call.is_stream
    asked.trace()
    target = asked.generation.table.resolve(model)
    await asked.admit(model, target, call.said)
    if isinstance(target, Route):
        asked.exchange.affinity = await _affinity(asked, target, call)
    if call.is_stream:
        stream = await asked.exchange.stream(target, call)
        asked.record.dropped = tuple(dict.fromkeys(call.dropped))
        headers = {**STREAM_HEADERS, "content-type": call.content_type, **origin(asked.record)}
        return Reply(200, headers | asked.told_limits(), stream=stream)
    answer = await asked.exchange.whole(target, call)
    asked.record.dropped = tuple(dict.fromkeys(call.dropped))
    headers = {"content-type": "application/json", **origin(asked.record)}
    return Reply(200, headers | asked.told_limits(), answer)


async def _affinity(asked: ClientRequest, route: Route, call: Call) -> Affinity:
    """What this request has in common with others that should go to the same target."""
    if route.policy.sticky is None and not route.has_affinity:
        return NO_AFFINITY
    find = partial(_sticky_key, asked, route, call)
    sticky = await in_slices(find) if call.is_heavy and route.policy.sticky == "user" else find()
    if not route.has_affinity:
        return Affinity(sticky=sticky)
    said = call.said
    conversation = conversation_of(asked.link.headers, said) if route.parts_conversations else None
    return Affinity(conversation, sticky, continued_by(said))


def _sticky_key(asked: ClientRequest, route: Route, call: Call) -> str | None:
    """What this request has in common with others that should go to the same target, if anything."""
    match route.policy.sticky:
        case None:
            return None
        case "key":
            return asked.record.key or None
        case "user":
            user = call.chat.get("user")
            return user if isinstance(user, str) else None
        case header:
            return asked.header(header.removeprefix("header:").encode()).decode("latin-1") or None


async def models(asked: ClientRequest) -> Reply:
    """`GET /v1/models`.  Raises RouterError."""
    await asked.authenticate()
    models = await asked.router.models(asked.generation)
    teller = _teller(asked)
    if isinstance(teller, AnthropicListing):
        query = parse_qsl(asked.link.query.decode("latin-1"))
        return json_reply(teller.page(models, dict(query)))
    return json_reply(teller.models(models))


async def model(asked: ClientRequest) -> Reply:
    """`GET /v1/models/{name}`, whose name may hold slashes.  Raises RouterError."""
    await asked.authenticate()
    name = asked.path.removeprefix(_ONE_MODEL)
    return json_reply(_teller(asked).model(asked.router.model(name, asked.generation)))


async def healthz(asked: ClientRequest) -> Reply:
    """`GET /healthz`: the process lives."""
    return json_reply({"status": "ok"})


async def readyz(asked: ClientRequest) -> Reply:
    """`GET /readyz`: 200 while the router takes work."""
    state = asked.router.state
    return json_reply({"status": state.value}, 200 if state is RouterState.READY else 503)


_ONE_MODEL = "/v1/models/"
MODELS_BELOW = Below(
    _ONE_MODEL, lambda path: {"GET"} if path != _ONE_MODEL else set(), EndpointRow(model)
)
OWN = {
    ("GET", "/v1/models"): EndpointRow(models),
    ("GET", "/healthz"): EndpointRow(healthz, is_booked=False),
    ("GET", "/readyz"): EndpointRow(readyz, is_booked=False),
}


def _teller(asked: ClientRequest) -> ModelTeller:
    """How this client is told of models."""
    found = (MODELS_BY_HEADER[name] for name, _ in asked.link.headers if name in MODELS_BY_HEADER)
    return next(found, MODELS_BY_HEADER[KEY_HEADER] if asked.query_key else MODELS)
