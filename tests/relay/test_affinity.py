"""Conversations through the whole router: each stays with its target and its key."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.relay.native_events import body, told
from tests.relay.routes import good
from tests.runtime.reloading import Reloaded, reloaded
from tests.stack import Stack, chat, memory_stack
from trio_router.demo.answers import error_answer, json_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_router.demo import Answer, SeenRequest

COUNT = 4
PROVIDERS = "providers:\n" + "\n".join(
    f'  p{n}: {{base_url: "http://upstream/p{n}/v1"}}' for n in range(8)
)
NATIVE = PROVIDERS.replace("}", ", responses: true}")


def routes(count: int = COUNT, more: str = "strategy: weighted") -> str:
    targets = ", ".join(f"{{model: p{n}/m}}" for n in range(count))
    return f"routes: {{r: {{targets: [{targets}], {more}}}}}"


class Town:
    """Providers that answer, and what they were asked: `asked` are their names, in order."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.asked: list[str] = []
        self.keys: list[str] = []
        self.down: set[str] = set()
        stack.upstream.script = self._answer

    def _answer(self, request: SeenRequest) -> Answer:
        name = request.path.split("/")[1]
        self.asked.append(name)
        self.keys.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        return error_answer(500, "down", "down") if name in self.down else self.good(request)

    def good(self, request: SeenRequest) -> Answer:
        return good("hi")

    async def where(
        self,
        fields: dict[str, Any],
        headers: dict[str, str] | None = None,
        path: str = "chat/completions",
    ) -> str:
        """Who has answered a request."""
        response = await self.stack.client.post(
            f"/v1/{path}", json={"model": "r", "stream": True, **fields}, headers=headers
        )
        assert response.status_code == 200, response.text
        return response.headers["x-trio-router-target"].partition("/")[0]

    async def conversation(self, number: int, turn: int = 0) -> str:
        said = chat("r", f"I am number {number}.")["messages"]
        for _ in range(turn):
            said += [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "go on"}]
        return await self.where({"messages": said})


@asynccontextmanager
async def town(settings: str = "", providers: str = PROVIDERS) -> AsyncIterator[Town]:
    async with memory_stack(settings or routes(), providers) as stack:
        yield Town(stack)


HELLO = {"messages": [{"role": "user", "content": "hello"}]}
SESSIONS = ["x-claude-code-session-id", "session_id", "session-id", "x-session-affinity"]
APIS = {
    "chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "messages": lambda text: {
        "max_tokens": 9,
        "system": "Be kind.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
    },
    "responses": lambda text: {"instructions": "Be kind.", "input": text},
    "completions": lambda text: {"prompt": text},
}


class TestIdentities:
    @pytest.mark.parametrize("header", SESSIONS)
    @pytest.mark.parametrize("path", APIS)
    async def test_a_session_keeps_its_target_in_every_api(self, path, header, autojump_clock):
        async with town() as here:
            found = set()
            for session in range(8):
                headers = {header: f"session-{session}"}
                where = {
                    await here.where(APIS[path](f"turn {turn}"), headers, path) for turn in range(3)
                }
                assert len(where) == 1
                found |= where
            assert len(found) > 1

    @pytest.mark.parametrize("path", ["chat/completions", "responses"])
    async def test_a_cache_key_keeps_its_target(self, path, autojump_clock):
        async with town() as here:
            found = set()
            for key in range(8):
                asks = [
                    {**APIS[path](f"turn {turn}"), "prompt_cache_key": f"{key}"} for turn in range(3)
                ]
                where = {await here.where(fields, path=path) for fields in asks}
                assert len(where) == 1
                found |= where
            assert len(found) > 1

    @pytest.mark.parametrize("path", APIS)
    async def test_a_beginning_keeps_its_target_in_every_api(self, path, autojump_clock):
        async with town() as here:
            found = set()
            for number in range(8):
                where = {await here.where(APIS[path](f"hello {number}"), path=path) for _ in range(3)}
                assert len(where) == 1
                found |= where
            assert len(found) > 1

    async def test_a_conversation_keeps_its_target_from_its_first_turn_to_its_last(
        self, autojump_clock
    ):
        async with town() as here:
            for number in range(8):
                assert len({await here.conversation(number, turn) for turn in range(6)}) == 1

    async def test_a_request_of_no_conversation_goes_where_the_strategy_says(self, autojump_clock):
        async with town(routes(more="strategy: round_robin")) as here:
            empty = {"messages": [{"role": "user", "content": ""}]}
            assert [await here.where(empty) for _ in range(8)] == ["p0", "p1", "p2", "p3"] * 2

    async def test_off_is_off(self, autojump_clock):
        async with town(routes(more="strategy: round_robin, affinity: off")) as here:
            headers = {"session_id": "one"}
            assert [await here.where(HELLO, headers) for _ in range(4)] == ["p0", "p1", "p2", "p3"]

    @pytest.mark.parametrize("size", [100_000, 3_000_000])
    async def test_a_long_conversation_keeps_its_target_too(self, size, autojump_clock):
        async with town() as here:
            said = [{"role": "user", "content": "x" * size}]
            more = [{"role": "assistant", "content": "y" * size}, {"role": "user", "content": "z"}]
            assert await here.where({"messages": said}) == await here.where({"messages": said + more})

    async def test_two_routers_choose_alike(self, autojump_clock):
        found = []
        for _ in range(2):
            async with town() as here:
                found.append([await here.conversation(number) for number in range(20)])
        assert found[0] == found[1]


class TestKeys:
    PROVIDERS = """
providers:
  p0: {base_url: "http://upstream/p0/v1", models: {m: {}}, api_keys: [key-1, key-2, key-3]}
  p1: {base_url: "http://upstream/p1/v1", models: {m: {}}}
"""

    @pytest.mark.parametrize("model", ["r", "p0/m"])
    async def test_a_conversation_keeps_its_key_also_where_no_route_is(self, model, autojump_clock):
        async with town(routes(2, "strategy: fallback"), self.PROVIDERS) as here:
            for number in range(20):
                for turn in range(3):
                    await here.where({**chat(model, f"number {number}"), "temperature": turn})
            used = [here.keys[at : at + 3] for at in range(0, 60, 3)]
            assert all(len(set(three)) == 1 for three in used)
            assert len({three[0] for three in used}) == 3

    async def test_a_key_that_is_limited_is_passed_over_and_returned_to(self, autojump_clock):
        async with town(routes(1), self.PROVIDERS) as here:
            await here.where(HELLO)
            (mine,) = here.keys
            limited = {mine}
            here.good = lambda request: (
                error_answer(429, "slow down", "rate_limit_exceeded", headers=(("retry-after", "5"),))
                if here.keys[-1] in limited
                else good("hi")
            )
            await here.where(HELLO)
            other = here.keys[-1]
            assert here.keys[1:] == [mine, other]
            limited.clear()
            await here.where(HELLO)
            assert here.keys[3:] == [other]
            await trio.sleep(6)
            await here.where(HELLO)
            assert here.keys[4:] == [mine]
            assert set(here.asked) == {"p0"}


class TestStoredResponses:
    """Providers that speak the Responses API themselves; each knows its own responses alone."""

    def speak(self, here: Town, *, stream: bool) -> None:
        stored: dict[str, set[str]] = defaultdict(set)
        numbers = iter(range(1000))

        def answer(request: SeenRequest) -> Answer:
            mine = stored[here.asked[-1] + here.keys[-1]]
            before = request.json.get("previous_response_id")
            if before is not None and before not in mine:
                what = f"Previous response with id '{before}' not found."
                return error_answer(400, what, "previous_response_not_found")
            name = f"resp_{next(numbers)}"
            mine.add(name)
            whole = {"id": name, "object": "response", "status": "completed", "output": [SAID]}
            if not stream:
                return json_answer(whole)
            created = told("created", 0, "in_progress", id=name)
            return body(created + told("completed", 2, "completed", id=name, output=[SAID]), 60)

        here.good = answer

    async def turn(self, here: Town, before: str | None, *, stream: bool) -> str:
        fields = {"model": "r", "input": f"after {before}", "stream": stream}
        if before is not None:
            fields["previous_response_id"] = before
        response = await here.stack.client.post("/v1/responses", json=fields)
        assert response.status_code == 200, response.text
        return next(word for word in response.text.split('"') if word.startswith("resp_"))

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("strategy", ["weighted", "fallback", "round_robin"])
    async def test_who_goes_on_from_a_response_is_sent_to_who_has_it(
        self, strategy, stream, autojump_clock
    ):
        async with town(routes(more=f"strategy: {strategy}"), NATIVE) as here:
            self.speak(here, stream=stream)
            for _ in range(6):
                before = await self.turn(here, None, stream=stream)
                mine = here.asked[-1]
                here.asked.clear()
                for _ in range(4):
                    before = await self.turn(here, before, stream=stream)
                assert here.asked == [mine] * 4

    async def test_where_affinity_is_off_nothing_is_remembered(self, autojump_clock):
        async with town(routes(more="affinity: off"), NATIVE) as here:
            self.speak(here, stream=True)
            await self.turn(here, None, stream=True)
            assert len(here.stack.router.generation.upstreams.fleet.stored) == 0

    async def test_it_is_asked_for_with_the_key_that_it_was_made_with(self, autojump_clock):
        keyed = TestKeys.PROVIDERS.replace("api_keys", "responses: true, api_keys")
        async with town(routes(1), keyed) as here:
            self.speak(here, stream=True)
            for _ in range(6):
                before = await self.turn(here, None, stream=True)
                for _ in range(3):
                    before = await self.turn(here, before, stream=True)
            assert len(here.asked) == 24

    async def test_where_nobody_remembers_it_the_targets_are_asked_one_after_another(
        self, autojump_clock
    ):
        async with town(routes(), NATIVE) as here:
            self.speak(here, stream=True)
            before = await self.turn(here, None, stream=True)
            mine = here.asked.pop()
            fleet = here.stack.router.generation.upstreams.fleet
            for _ in range(10):
                fleet.stored._places.clear()
                after = await self.turn(here, before, stream=True)
            assert here.asked[-1] == mine
            assert after != before
            assert here.stack.router.target_reports() == []  # nobody is to blame


class TestSealedReasoning:
    """Each provider seals its reasoning, and opens none of another's."""

    async def test_reasoning_goes_back_to_who_has_sealed_it(self, autojump_clock):
        async with town(routes(2, "strategy: fallback, retry: {attempts: 0}"), NATIVE) as here:

            def answer(request: SeenRequest) -> Answer:
                mine = f"sealed by {here.asked[-1]}"
                items = request.json["input"]
                if any(item.get("encrypted_content", mine) != mine for item in items):
                    what = "The encrypted content could not be verified."
                    return error_answer(400, what, "invalid_encrypted_content")
                sealed = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": mine}
                return json_answer({"id": "r", "object": "response", "output": [sealed, SAID]})

            async def turn(said: list[Any]) -> list[Any]:
                body = {"model": "r", "store": False, "input": said}
                response = await here.stack.client.post("/v1/responses", json=body)
                assert response.status_code == 200, response.text
                more = {"role": "user", "content": "go on"}
                return [*said, *response.json()["output"], more]

            here.good = answer
            here.down = {"p0"}
            said = await turn([{"role": "user", "content": "hello"}])
            assert said[1]["encrypted_content"] == "sealed by p1"
            here.down = set()
            await trio.sleep(20)
            for _ in range(5):
                said = await turn(said)
            assert here.asked == ["p0", "p1"] + ["p0", "p1"] * 5
            assert here.stack.router.target_reports() == []
            assert "sealed by p0" not in str(said)


SAID = {
    "type": "message",
    "role": "assistant",
    "id": "m",
    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
}


class TestComeAndGo:
    async def all(self, here: Town, count: int, turn: int) -> list[str]:
        return [await here.conversation(number, turn) for number in range(count)]

    def moved(self, before: list[str], after: list[str]) -> float:
        return sum(one != other for one, other in zip(before, after, strict=True)) / len(before)

    @pytest.mark.parametrize(
        ("count", "slack"), [(120, 0.12), pytest.param(1000, 0.05, marks=pytest.mark.slow)]
    )
    @pytest.mark.parametrize("strategy", ["weighted", "least_in_flight"])
    async def test_targets_that_come_go_and_rest_move_their_share_alone(
        self, count, slack, strategy, autojump_clock, tmp_path
    ):
        more = f"strategy: {strategy}, retry: {{attempts: 0}}"
        async with reloaded(tmp_path, routes(4, more), PROVIDERS) as own:
            here = Town(own.stack)
            first = await self.all(here, count, 0)
            assert min(Counter(first).values()) > count / 4 * 0.7
            assert await self.all(here, count, 1) == first

            here.down = {"p2"}  # it fails until its circuit opens, then it rests
            resting = await self.all(here, count, 2)
            assert self.moved(first, resting) <= 1 / 4 + slack
            assert {one for one, now in zip(first, resting, strict=True) if one != now} == {"p2"}
            assert here.asked.count("p2") <= 2 * first.count("p2") + 3
            assert await self.all(here, count, 3) == resting
            here.down = set()
            await trio.sleep(60)
            assert await self.all(here, count, 4) == first

            await self.add_and_take(own, here, count, more, first, slack)

    async def add_and_take(
        self, own: Reloaded, here: Town, count: int, more: str, first: list[str], slack: float
    ) -> None:
        await own.use(routes(5, more), PROVIDERS)
        grown = await self.all(here, count, 5)
        assert self.moved(first, grown) <= 1 / 5 + slack
        assert {now for one, now in zip(first, grown, strict=True) if one != now} == {"p4"}
        await own.use(routes(3, more), PROVIDERS)
        shrunk = await self.all(here, count, 6)
        assert {one for one, now in zip(grown, shrunk, strict=True) if one != now} == {"p3", "p4"}
        assert self.moved(grown, shrunk) <= 2 / 5 + slack
        await own.use(routes(4, more), PROVIDERS)
        assert await self.all(here, count, 7) == first

    async def test_an_order_of_preference_is_kept_and_returned_to(self, autojump_clock):
        async with town(routes(2, "strategy: fallback, retry: {attempts: 0}")) as here:
            assert set(await self.all(here, 10, 0)) == {"p0"}
            here.down = {"p0"}
            assert set(await self.all(here, 10, 1)) == {"p1"}
            here.down = set()
            await trio.sleep(20)
            assert set(await self.all(here, 10, 2)) == {"p0"}
