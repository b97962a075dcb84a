"""Endpoints that pass through to OpenAI-compatible upstreams: audio, images, moderations, files..."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from trio_router.api.endpoints import refuse_if_draining
from trio_router.api.reply import Reply, origin
from trio_router.api.sides import named_model
from trio_router.api.table import Below, EndpointRow
from trio_router.api.upload import ClientPieces, form
from trio_router.config.kinds import kind_called
from trio_router.dialects import DIALECTS
from trio_router.dialects.chat_request import parse_object
from trio_router.errors import InvalidRequest, RequestTooLarge
from trio_router.relay.client import PassingRequest, trio_seconds
from trio_router.relay.heavy import in_slices, understood
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.multipart import boundary_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_router.api.request import ClientRequest
    from trio_router.config.schema import ProviderConfig
    from trio_router.relay.passage import Opening
    from trio_router.routing.target import Target

    Asked = AsyncIterator[tuple[Target, PassingRequest]]

_FILES = "/v1/files"
_FORMS = frozenset(
    {
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/images/edits",
        "/v1/images/variations",
    }
)
_OBJECTS = ("/v1/audio/speech", "/v1/images/generations", "/v1/moderations", "/v1/rerank")
UPLOADS = _FORMS | {_FILES}  # whose bodies are taken piece by piece
PROVIDER = b"x-trio-router-provider"
_OURS = ("provider", "api-version")  # of a query: Azure's version is the provider's to configure
_ONE_FILE = re.compile(rf"{_FILES}/[A-Za-z0-9_-][A-Za-z0-9._-]*(/content)?")


# A provider's HTML or SVG must not run on the dashboard's origin, whatever its type says it is.
_HARMLESS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
}


async def pass_object(asked: ClientRequest) -> Reply:
    """A request in JSON.  Raises RouterError."""
    await _admitted(asked)
    return await _pass(asked, partial(_object, asked, await asked.body.read()))


async def pass_form(asked: ClientRequest) -> Reply:
    """A form with a model, or the same in JSON where the API has both.  Raises RouterError."""
    await _admitted(asked)
    content_type = asked.header(b"content-type").decode("latin-1")
    boundary = boundary_of(content_type)
    if boundary is not None:
        return await _pass(asked, partial(_form, asked, boundary, content_type))
    if content_type.partition(";")[0].strip().lower() == "application/json":
        return await _pass(asked, partial(_object, asked, await _whole(asked)))
    raise InvalidRequest("the request's body must be multipart/form-data with a boundary")


async def pass_file(asked: ClientRequest) -> Reply:
    """Files, which are a provider's and no model's.  Raises RouterError."""
    return await _pass(await _admitted(asked), partial(_file, asked))


def _file_methods(path: str) -> set[str]:
    if path == _FILES:
        return {"GET", "POST"}
    one = _ONE_FILE.fullmatch(path)
    if one is None:
        return set()
    return {"GET"} if one[1] else {"GET", "DELETE"}


FILES_BELOW = Below(_FILES, _file_methods, EndpointRow(pass_file))
PASSING_THROUGH = {
    **{("POST", path): EndpointRow(pass_object) for path in _OBJECTS},
    **{("POST", path): EndpointRow(pass_form) for path in _FORMS},
}


async def _admitted(asked: ClientRequest) -> ClientRequest:
    await asked.authenticate()
    refuse_if_draining(asked.router)
    return asked


async def _pass(asked: ClientRequest, opening: Opening) -> Reply:
    asked.trace(asked.path.split("/")[2])  # audio, images, files...
    asked.exchange.admission = asked.admit_target
    passage = await asked.exchange.passage(opening)
    headers = {**passage.headers, **_HARMLESS, **origin(asked.record), **asked.told_limits()}
    return Reply(passage.status, headers, stream=passage)


# What is asked, and of whom: entered by the task that asks.


@asynccontextmanager
async def _object(asked: ClientRequest, data: bytes | bytearray) -> Asked:
    body, heavy = await understood(data, asked.parsing(parse_object))
    del data
    if body.get("model") is None:
        target = _provider(asked)
    else:
        target = asked.generation.table.first(named_model(body["model"]))
        body = target.body_for(body)
    path = _path(asked, target, body)
    told = await in_slices(partial(dumps, body)) if heavy else dumps(body)
    yield target, PassingRequest("POST", path, {"content-type": "application/json"}, told)


@asynccontextmanager
async def _form(asked: ClientRequest, boundary: bytes, content_type: str) -> Asked:
    chosen: list[Target] = []

    def rewrite(model: str) -> str:
        chosen.append(asked.generation.table.first(named_model(asked.named_model or model)))
        return chosen[0].upstream_model

    async with form(asked.body, boundary, rewrite, _silence(asked)) as body:
        if not chosen and asked.named_model is not None:
            rewrite("")
        target = chosen[0] if chosen else _provider(asked)
        path = _path(asked, target)
        headers = {"content-type": content_type}
        yield target, PassingRequest("POST", path, headers, body, body.length)


@asynccontextmanager
async def _file(asked: ClientRequest) -> Asked:
    target = _provider(asked)
    path = _path(asked, target)
    if asked.link.method != "POST":
        yield target, PassingRequest(asked.link.method, path)
        return
    pieces = ClientPieces(asked.body, _silence(asked))
    headers = {"content-type": asked.header(b"content-type").decode("latin-1")}
    yield target, PassingRequest("POST", path, headers, pieces, asked.body.declared)


def _path(asked: ClientRequest, target: Target, body: dict[str, Any] | None = None) -> str:
    """The path of the endpoint at the target.  Raises InvalidRequest if the target has none."""
    dialect = target.dialect.passing
    path = asked.path.removeprefix("/v1")
    if dialect is None:
        what = f"{target.provider} has no {path}: it is asked of OpenAI-compatible providers alone"
        raise InvalidRequest(what, param="model" if target.model else None)
    query = urlencode([item for item in _query(asked) if item[0] not in _OURS])
    found = dialect.passing_path(path, target.upstream_model if target.model else "")
    return f"{found}?{query}" if query else found


def _provider(asked: ClientRequest) -> Target:
    """The provider of a request without a model: the one it names, or the only one."""
    providers = asked.generation.config.providers
    able = [n for n, p in providers.items() if _may_be_meant(n, p)]
    named = asked.header(PROVIDER).decode("latin-1") or dict(_query(asked)).get("provider", "")
    name = named or (able[0] if len(able) == 1 else "")
    if name not in providers:
        where = f"the header {PROVIDER.decode()} or ?provider= must name one"
        what = (
            f"there is no provider {name[:200]!r}" if name else "it is not said which provider is meant"
        )
        raise InvalidRequest(f"{what}: {where} of {', '.join(able) or 'none'}", param="provider")
    return asked.generation.table.whole_provider(name)


def _may_be_meant(name: str, provider: ProviderConfig) -> bool:
    """Whether a request that names no provider may be for this one: not for the router's own toy."""
    return DIALECTS[provider.dialect].passing is not None and not kind_called(name).is_embedded


def _query(asked: ClientRequest) -> list[tuple[str, str]]:
    return parse_qsl(asked.link.query.decode("latin-1"), keep_blank_values=True)


def _silence(asked: ClientRequest) -> float:
    return trio_seconds(asked.generation.config.timeouts.stall)


async def _whole(asked: ClientRequest) -> bytes:
    """A body that could have been an upload, and is none."""
    limit = asked.generation.config.server.max_body
    body = bytearray()
    async for piece in ClientPieces(asked.body, _silence(asked)):
        body += piece
        if len(body) > limit:
            raise RequestTooLarge(f"the request's body has more than {limit} bytes")
    return bytes(body)
