"""A router whose requests are counted, and what its tests ask of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from tests.stack import PROVIDERS, chat, events, memory_stack
from trio_router.clock.clock import SYSTEM
from trio_router.ledger.queries import RowFilter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.stack import Stack
    from trio_router.ledger.rows import LedgerRow
    from trio_router.stores.interface import Store

# A token costs 1,000 nano-dollars to say, and nothing to ask.
PRICES = "prices: {any/*: {input: 0, output: 1}, deepseek/chat: {input: 0, output: 1}}\n"
STORE = 'store: {url: "memory:"}\n'
TOKEN = 1000  # nano-dollars
BEGIN = 1_800_000_000 - 8 * 3600  # midnight in UTC


def usd(tokens: float) -> str:
    """A budget for so many tokens."""
    return f"{tokens / 1_000_000:.9f}"


def keys(*of_key: str, store: str = STORE) -> str:
    """A configuration with the key `k1`, called web, which has these settings."""
    return f"{store}{PRICES}auth: {{keys: [{{name: web, key: k1, {', '.join(of_key)}}}]}}\n"


def budget(tokens: float, **more: object) -> str:
    settings = "".join(f", {name}: {value}" for name, value in more.items())
    return f"budgets: [{{usd: {usd(tokens)}, per: day{settings}}}]"


async def at_once(s, count: int, model: str, **body) -> list[int]:
    """The statuses of so many requests at once."""
    codes: list[int] = []

    async def one() -> None:
        codes.append((await s.ask(model, **body)).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return codes


class CountedStack:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.router = stack.router
        self.client = stack.client

    @property
    def keeper(self):
        return self.router.counting.keeper

    async def ask(self, model: str = "any/echo", key: str = "k1", **body: Any) -> httpx.Response:
        return await self.stack.ask(chat(model, **body), authorization=f"Bearer {key}")

    async def own_key(self, key: str = "k1") -> Any:
        headers = {"authorization": f"Bearer {key}"}
        return (await self.client.get("/v1/key", headers=headers)).json()

    @asynccontextmanager
    async def stream(self, model: str, **body: Any) -> AsyncIterator[httpx.Response]:
        body = chat(model, stream=True, **body)
        headers = {"authorization": "Bearer k1"}
        place = "/v1/chat/completions"
        async with self.client.stream("POST", place, json=body, headers=headers) as response:
            yield response

    async def streamed(self, model: str, **body: Any) -> tuple[int, list[Any]]:
        """The status and the events of a stream."""
        async with self.stream(model, **body) as response:
            return response.status_code, events(await response.aread())

    async def rows(self) -> list[LedgerRow]:
        """The ledger's rows, the first one first, once all that has ended was written."""
        await trio.sleep(1.5)
        return list((await self.keeper.store.rows(RowFilter())).rows)[::-1]

    async def spent(self) -> int:
        return sum(row.cost for row in await self.rows())

    def refusals(self, limit: str) -> float:
        name = "trio_router_limit_refusals_total"
        return self.router.metrics.registry.get_sample_value(name, {"limit": limit}) or 0


@asynccontextmanager
async def counted_stack(
    settings: str, providers: str = PROVIDERS, store: Store | None = None
) -> AsyncIterator[CountedStack]:
    """Its wall clock goes with the clock that jumps."""
    clock = replace(SYSTEM, wall=lambda: BEGIN + trio.current_time())
    async with memory_stack(settings, providers, clock=clock, store=store) as stack:
        yield CountedStack(stack)
