"""`trio-router check --online`: asks each provider for its models, and says what came of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_router.clock.clock import SYSTEM
from trio_router.dialects.provider_error import answer_error
from trio_router.errors import RouterError
from trio_router.relay.client import PassingRequest
from trio_router.relay.redact import without_secrets
from trio_router.routing.table import RouteTable
from trio_router.runtime.catalog import fetch_list
from trio_router.runtime.clients import SharedClients
from trio_router.runtime.credentials import CredentialSources

if TYPE_CHECKING:
    from trio_router.config.schema import Config
    from trio_router.relay.client import UpstreamClient
    from trio_router.routing.target import Target

_PATIENCE = 15.0  # s that a provider may take
_LONGEST = 65536  # bytes of an answer that are read
# Asked for the length of a question, where a provider lists no models and the configuration names none.
_ANY_MODEL = {"gemini": "gemini-2.5-flash", "anthropic": "claude-sonnet-4-5@20250929"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of asking one provider; it holds no secret."""

    provider: str
    is_good: bool
    words: str
    seconds: float

    def line(self) -> str:
        return f"  {self.provider}: {self.words} ({self.seconds:.2f} s)"


async def ask_all(config: Config) -> list[Finding]:
    """Asks every provider of `config` at once; the findings are in its order."""
    sources = CredentialSources(SYSTEM.wall, lambda provider, result: None)
    clients = SharedClients(credentials=sources.of)
    table, found = RouteTable(config), dict[str, Finding]()

    async def ask_one(name: str, client: UpstreamClient) -> None:
        models = config.providers[name].models or {}
        target = table.target(f"{name}/{next(iter(models))}") if models else table.whole_provider(name)
        began = trio.current_time()
        is_good, words = await _ask(target, client)
        found[name] = Finding(name, is_good, words, trio.current_time() - began)

    try:
        async with trio.open_nursery() as beside:
            await beside.start(sources.renewals.run)
            async with trio.open_nursery() as asking:
                for name, client in clients.take(config.providers).items():
                    asking.start_soon(ask_one, name, client)
            beside.cancel_scope.cancel()
    finally:
        clients.close()
    return [found[name] for name in config.providers]


async def _ask(target: Target, client: UpstreamClient) -> tuple[bool, str]:
    """Whether it answers, and what there is to say."""
    try:
        with trio.move_on_after(_PATIENCE):
            return True, await _answer(target, client)
    except RouterError as error:
        message = error.message
        for secrets in (target.headers, *client.secrets()):
            message = without_secrets(message, secrets)
        return False, f"{error.code or error.status}: {message}"
    return False, f"no answer within {_PATIENCE:g} s"


async def _answer(target: Target, client: UpstreamClient) -> str:
    """Raises RouterError."""
    dialect = target.dialect
    if dialect.listing is not None:
        return f"good, {len(await fetch_list(dialect.listing, target, client))} models"
    if dialect.passing is not None:
        path = dialect.passing.passing_path("/models", "")
        await _check(target, client, PassingRequest("GET", path, takes_slot=False))
        return "good"
    model = target.upstream_model or _ANY_MODEL.get(dialect.name, "")
    if dialect.counter is None or not model:
        raise RouterError("it has nothing that can be asked without cost", code="unknown")
    body = {"model": model, "messages": [{"role": "user", "content": "?"}]}
    request = dialect.counter.request(body, target.base_url)
    headers = {"content-type": "application/json", **request.headers}
    asked = PassingRequest("POST", request.path, headers, request.body, takes_slot=False)
    await _check(target, client, asked)
    return f"good, {model} counts tokens"


async def _check(target: Target, client: UpstreamClient, request: PassingRequest) -> None:
    """Raises RouterError unless the answer is good."""
    with await client.send(target, request, request_id="check") as answer:
        body = bytearray()
        async for data in answer:
            body += data
            if len(body) > _LONGEST:
                break
        if answer.status >= 300:
            raise answer_error(target.provider, answer.status, bytes(body), None)


def run(config: Config) -> list[Finding]:
    """See `ask_all`.  The findings tell what a log would."""
    logger = logging.getLogger("trio_router")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        return trio.run(partial(ask_all, config))
    finally:
        logger.setLevel(level)
