"""Two routers, as processes, with PostgreSQL and Redis behind them, count as one."""

from __future__ import annotations

import signal
from contextlib import ExitStack, asynccontextmanager, suppress

import httpx
import pytest
import trio

from tests.serve.command import ask, served
from tests.stores import servers
from tests.stores.stores import many_machines, postgres
from trio_router.ledger.queries import RowFilter
from trio_router.ledger.rows import RowState

pytestmark = pytest.mark.slow
CLIENTS = 300
TENTH = 30
CONFIG = """
server: {{demo: true}}
store: {{url: "{url}"{counters}}}
prices: {{"demo/*": {{input: 0, output: 1}}}}
auth: {{keys: [{{name: web, key: k1, {limits}}}]}}
"""


class Pair:
    def __init__(self, kind, store, routers, client) -> None:
        self.kind, self.store, self.routers, self.client = kind, store, routers, client

    async def asked(self, number: int, model: str = "demo/echo", **body) -> int:
        url = self.routers[number % 2].url + "/v1/chat/completions"
        headers = {"authorization": "Bearer k1"}
        answer = await self.client.post(url, json=ask(model, **body), headers=headers)
        return answer.status_code

    async def at_once(self, count: int = CLIENTS, **body) -> list[int]:
        codes = []

        async def one(number):
            codes.append(await self.asked(number, **body))

        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, number)
        return codes

    async def rows(self):
        return (await self.store.rows(RowFilter(), limit=1000)).rows

    async def all_settled(self, count: int):
        """The rows, as soon as so many are there and none is reserved."""
        with trio.fail_after(40):
            while True:
                rows = await self.rows()
                if len(rows) >= count and not any(r.state is RowState.RESERVED for r in rows):
                    return rows
                await trio.sleep(0.2)


@pytest.fixture(params=["postgres", "many_machines"])
async def pair(request, tmp_path):
    """Makes two routers with a key that has these limits."""

    @asynccontextmanager
    async def made(limits: str):
        store = {"postgres": postgres, "many_machines": many_machines}[request.param]()
        await store.open()
        counters = ""
        if request.param == "many_machines":
            counters = f', counters: "{servers.shared(servers.RedisServer).url}"'
        url = servers.shared(servers.PostgresServer).url
        path = tmp_path / "router.yaml"
        path.write_text(CONFIG.format(url=url, counters=counters, limits=limits))
        limits = httpx.Limits(max_connections=CLIENTS)
        with ExitStack() as stack:
            words = ("--config", str(path))
            routers = [stack.enter_context(served(*words, within=200)) for _ in range(2)]
            async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
                yield Pair(request.param, store, routers, client)
        await store.close()

    return made


async def test_a_limit_of_a_minute_is_never_exceeded(pair):
    async with pair(f"limits: {{requests_per_minute: {TENTH}}}") as both:
        codes = await both.at_once()
        # What a router took in advance, and did not use, is its own for two seconds.
        assert TENTH * 0.75 <= codes.count(200) <= TENTH
        assert codes.count(200) + codes.count(429) == CLIENTS


async def test_a_strict_budget_is_never_exceeded(pair):
    # Each request is held for 4 tokens, and says some of them.
    budget = "budgets: [{usd: 0.00012, per: total, mode: strict}]"
    async with pair(budget) as both:
        codes = await both.at_once(max_tokens=4)
        assert codes.count(200) >= 1
        assert codes.count(200) + codes.count(429) == CLIENTS
        rows = await both.all_settled(codes.count(200))
        assert sum(row.cost for row in rows) <= 120_000


async def test_a_router_that_is_killed_leaves_nothing_unsettled_and_holds_nothing(pair):
    async with pair("limits: {parallel: 4}") as both:
        async with trio.open_nursery() as nursery:
            for number in (0, 2):
                nursery.start_soon(leave, both, number)
            await trio.sleep(2)
            both.routers[0].process.send_signal(signal.SIGKILL)
        rows = await both.all_settled(2)
        assert {row.state for row in rows} <= {RowState.EXPIRED, RowState.SETTLED}
        codes = [await both.asked(1) for _ in range(6)]
        assert codes == [200] * 6


async def leave(both, number) -> None:
    with suppress(httpx.HTTPError):
        await both.asked(number, "demo/echo-d200-c50", stream=True)
