"""Ollama's API for its clients: `/api/...`.

Its models are the router's: `provider/model` and routes.  Clients that know models by a tag may append
`:latest` to any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.api.endpoints import answer_call, client_body, refuse_if_draining
from trio_router.api.reply import Reply, json_reply
from trio_router.api.sides import named_model, side_answer
from trio_router.api.table import EndpointRow
from trio_router.dialects import OLLAMA_CLIENTS
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.chat_request import parse_object
from trio_router.dialects.ollama.client_embedding import check_embedding, idle_record, is_idle
from trio_router.dialects.ollama.client_models import API_VERSION, OllamaTeller
from trio_router.errors import RouterError
from trio_router.relay.call import ClientCall
from trio_router.relay.heavy import understood
from trio_router.relay.ollama_calls import OllamaEmbedCall, ShowCall, speaks_ollama

if TYPE_CHECKING:
    from typing import NoReturn

    from trio_router.api.request import ClientRequest
    from trio_router.api.table import Endpoint
    from trio_router.routing.table import RouteTable

_LATEST = ":latest"
_TELLER = OllamaTeller()


async def ollama_call(asked: ClientRequest) -> Reply:
    """`POST /api/chat` and `/api/generate`.  Raises RouterError."""
    client = OLLAMA_CLIENTS[asked.path]
    body, heavy = await client_body(asked, client)
    model = asked_model(asked.generation.table, body["model"])
    if client.is_idle(body) and not speaks_ollama(asked.generation.table.first(model)):
        identity = AnswerIdentity("", int(asked.router.clock.wall()), model)
        return json_reply(client.idle_answer(body, identity))
    return await answer_call(asked, model, ClientCall(client, body, asked.link.headers, is_heavy=heavy))


async def embed(asked: ClientRequest) -> Reply:
    """`POST /api/embed` and the older `/api/embeddings`.  Raises RouterError."""
    is_old = asked.path.endswith("s")
    body, heavy = await _body(asked)
    check_embedding(body, is_old=is_old)
    model = asked_model(asked.generation.table, body["model"])
    if is_idle(body, is_old=is_old):
        asked.generation.table.resolve(model)
        return json_reply(idle_record(body["model"], is_old=is_old))
    call = OllamaEmbedCall(body, is_old=is_old, is_heavy=heavy)
    return await side_answer(asked, model, call, "embeddings")


async def tags(asked: ClientRequest) -> Reply:
    """`GET /api/tags`: all models and routes.  Raises RouterError."""
    await asked.authenticate()
    return json_reply(_TELLER.models(await asked.router.models(asked.generation)))


async def show(asked: ClientRequest) -> Reply:
    """`POST /api/show`: what is known of a model, which older clients call `name`.

    Raises RouterError.
    """
    body, _ = await _body(asked)
    name = named_model(body.get("model") or body.get("name"))
    table = asked.generation.table
    model = asked_model(table, name)
    if speaks_ollama(table.first(model)):
        return await side_answer(asked, model, ShowCall(body))
    return json_reply(_TELLER.show(asked.router.model(model, asked.generation)))


async def running(asked: ClientRequest) -> Reply:
    """`GET /api/ps`: the router itself has no model in memory.  Raises RouterError."""
    await asked.authenticate()
    return json_reply({"models": []})


async def version(asked: ClientRequest) -> Reply:
    """`GET /api/version`: what clients check before they ask for anything else."""
    return json_reply({"version": API_VERSION})


async def refused(asked: ClientRequest) -> NoReturn:
    """What changes the models of a server.  Raises RouterError."""
    await asked.authenticate()
    what = asked.path.rpartition("/")[2]
    why = f"{what} is not available here: the router's models are those of its configuration"
    raise RouterError(why, status=501, code="not_supported", type="invalid_request_error")


def asked_model(table: RouteTable, name: str) -> str:
    """The model or route that a client means.  Raises RouterError if there is none."""
    bare = name.removesuffix(_LATEST)
    if bare == name or name in table.names():
        return name
    target = table.first(bare)
    # An Ollama's own models have tags; what the configuration names has the name that stands there.
    has_tags = speaks_ollama(target) and not target.is_listed and target.name == bare
    return name if has_tags else bare


async def _body(asked: ClientRequest) -> tuple[dict[str, Any], bool]:
    await asked.authenticate()
    refuse_if_draining(asked.router)
    return await understood(await asked.body.read(), parse_object)


_ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    **{("POST", path): ollama_call for path in OLLAMA_CLIENTS},
    ("POST", "/api/embed"): embed,
    ("POST", "/api/embeddings"): embed,
    ("POST", "/api/show"): show,
    ("GET", "/api/tags"): tags,
    ("GET", "/api/ps"): running,
    ("GET", "/api/version"): version,
    ("DELETE", "/api/delete"): refused,
    **{("POST", f"/api/{name}"): refused for name in ("pull", "push", "create", "copy")},
}
OLLAMA = {asked: EndpointRow(endpoint) for asked, endpoint in _ENDPOINTS.items()}
