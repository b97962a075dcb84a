"""Gemini's API for its clients: `/v1beta/models/MODEL:VERB`, and the same under `/v1`.

A model's name may hold slashes and colons: the last colon is the verb's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_router.api.endpoints import answer_call, refuse_if_draining
from trio_router.api.reply import Reply, json_reply, origin
from trio_router.api.sides import NO_ANSWER, count
from trio_router.api.table import Below, EndpointRow
from trio_router.dialects import GEMINI, GEMINI_ARRAY
from trio_router.dialects.chat_request import parse_object
from trio_router.dialects.gemini.client_embeddings import counted
from trio_router.relay.call import ClientCall
from trio_router.relay.google_sides import GoogleCountCall, GoogleEmbeddingCall
from trio_router.relay.heavy import understood

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.api.request import ClientRequest
    from trio_router.relay.call import WholeCall

    Verb = Callable[[ClientRequest, str], Awaitable[Reply]]

_ASKED = re.compile(r"/v1(?:beta|alpha)?/models/(.+):([A-Za-z]+)", re.DOTALL)
_LISTS = ("/v1beta/models", "/v1alpha/models")


def _named(path: str) -> tuple[str, str]:
    """The model and the verb; two empty texts if `path` has no verb."""
    found = _ASKED.fullmatch(path)
    return (found[1].removeprefix("models/"), found[2]) if found else ("", "")


async def ask(asked: ClientRequest) -> Reply:
    """`POST .../models/MODEL:VERB`.  Raises RouterError."""
    await asked.authenticate()
    refuse_if_draining(asked.router)
    model, verb = _named(asked.link.path)
    return await _VERBS[verb](asked, model)


async def _generate(asked: ClientRequest, model: str) -> Reply:
    return await _content(asked, model, is_stream=False)


async def _stream(asked: ClientRequest, model: str) -> Reply:
    return await _content(asked, model, is_stream=True)


async def _content(asked: ClientRequest, model: str, *, is_stream: bool) -> Reply:
    is_array = is_stream and asked.query.get("alt") != "sse"
    client = GEMINI_ARRAY if is_array else GEMINI

    def checked(data: bytes | bytearray) -> dict[str, Any]:
        body = {**parse_object(data), "model": model, "stream": is_stream}
        client.check(body)
        return body

    body, heavy = await understood(await asked.body.read(), checked)
    return await answer_call(asked, model, ClientCall(client, body, is_heavy=heavy))


async def _count(asked: ClientRequest, model: str) -> Reply:
    """Of a target that cannot count, an estimate, marked as such."""
    body, heavy = await understood(await asked.body.read(), parse_object)
    counted(body)
    call = GoogleCountCall(GEMINI, {**body, "model": model}, is_heavy=heavy)
    return await count(asked, model, call)


async def _embed(asked: ClientRequest, model: str) -> Reply:
    return await _vectors(asked, model, are_many=False)


async def _embed_all(asked: ClientRequest, model: str) -> Reply:
    return await _vectors(asked, model, are_many=True)


async def _vectors(asked: ClientRequest, model: str, *, are_many: bool) -> Reply:
    body, heavy = await understood(await asked.body.read(), parse_object)
    return await _whole(asked, model, GoogleEmbeddingCall(body, are_many=are_many, is_heavy=heavy))


async def _whole(asked: ClientRequest, model: str, call: WholeCall) -> Reply:
    asked.trace(_named(asked.link.path)[1])
    target = asked.generation.table.resolve(model)
    await asked.admit(model, target, NO_ANSWER)
    answer = await asked.exchange.whole(target, call)
    headers = {"content-type": "application/json", **origin(asked.record)}
    return Reply(200, headers | asked.told_limits(), answer)


async def models(asked: ClientRequest) -> Reply:
    """`GET /v1beta/models`: all of them, as one page.  Raises RouterError."""
    await asked.authenticate()
    found = await asked.router.models(asked.generation)
    return json_reply(GEMINI.models.models(found))


async def model(asked: ClientRequest) -> Reply:
    """`GET /v1beta/models/MODEL`.  Raises RouterError."""
    await asked.authenticate()
    name = asked.link.path.partition("/models/")[2].removeprefix("models/")
    return json_reply(GEMINI.models.model(asked.router.model(name, asked.generation)))


async def _below(asked: ClientRequest) -> Reply:
    return await (ask if asked.link.method == "POST" else model)(asked)


_VERBS: dict[str, Verb] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count,
    "embedContent": _embed,
    "batchEmbedContents": _embed_all,
}


def _methods(path: str) -> set[str]:
    """What has a verb is asked; all else is a model's name."""
    if _named(path)[1] in _VERBS:
        return {"POST"}
    return {"GET"} if path.rpartition("/models/")[2] and not path.startswith("/v1/") else set()


_ROW = EndpointRow(_below)
GOOGLE_BELOW = tuple(Below(f"{prefix}/", _methods, _ROW) for prefix in (*_LISTS, "/v1/models"))
GOOGLE = {("GET", path): EndpointRow(models) for path in _LISTS}
