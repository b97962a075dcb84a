"""A router with routes between a client and scripted providers, in memory."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.chunks import SSE, STOP, delta
from tests.stack import Stack, chat, config, events, text_of
from trio_router.clock.clock import SYSTEM
from trio_router.demo import Answer, sse
from trio_router.observe.log import request_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PROVIDERS = """
providers:
  a: {base_url: "http://upstream/v1", models: {x: {}}}
  b: {base_url: "http://upstream/v1", models: {y: {}}}
  c: {base_url: "http://upstream/v1", models: {z: {}}}
"""
TARGETS = "targets: [{model: a/x}, {model: b/y}]"


def good(*texts: str) -> Answer:
    return Answer(headers=SSE, steps=sse(*[delta(text) for text in texts or ("good",)], STOP))


@dataclass
class Seen:
    """What the providers saw and what the client got; times are seconds since the request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)
    body: bytes = b""
    took: float = 0.0

    @property
    def text(self) -> str:
        return text_of([item for item in self.items if item == "[DONE]" or "error" not in item])

    @property
    def error(self) -> dict[str, Any]:
        if self.status != 200:
            return json.loads(self.body)["error"]
        return self.items[-1]["error"]

    @property
    def is_clean(self) -> bool:
        return self.status == 200 and self.items.count("[DONE]") == 1 and self.items[-1] == "[DONE]"


class Scene:
    """A stack whose providers answer by model, each from its own script."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.router = stack.router
        self.fleet = stack.router.generation.upstreams.fleet
        self.scripts: dict[str, Callable[[int], Answer]] = {}
        self.asked: list[tuple[str, float]] = []
        self.bodies: list[dict[str, Any]] = []
        self.records: list[Any] = []
        self.began = trio.current_time()
        stack.upstream.script = self._answer
        stack.router.engine.clock = replace(SYSTEM, random=lambda: 0.5)
        stack.router.engine.consumers.append(self.records.append)

    def script(self, model: str, *answers: Answer | Callable[[], Answer]) -> None:
        """The model's answers in turn; the last one for ever."""

        def answer(number: int) -> Answer:
            one = answers[min(number, len(answers) - 1)]
            return one() if callable(one) else one

        self.scripts[model] = answer

    def _answer(self, request: Any) -> Answer | None:
        model = request.json["model"]
        number = sum(1 for asked, _ in self.asked if asked == model)
        self.asked.append((model, round(request.at - self.began, 3)))
        self.bodies.append(request.json)
        return self.scripts[model](number)

    async def ask(
        self, model: str = "r", *, stream: bool = True, path: str = "", **fields: Any
    ) -> Seen:
        body = {**chat(model), "stream": stream, **fields}
        began = trio.current_time()
        async with self.stack.client.stream(
            "POST", path or "/v1/chat/completions", json=body
        ) as response:
            raw = await response.aread()
        took = round(trio.current_time() - began, 3)
        is_stream = "event-stream" in response.headers["content-type"]
        return Seen(
            response.status_code,
            dict(response.headers),
            events(raw) if is_stream else [],
            raw,
            took,
        )

    @property
    def line(self) -> dict[str, Any]:
        """The last request's log line."""
        return request_fields(self.records[-1])

    def metric(self, line: str) -> float:
        self.router.show_states()
        text = self.router.metrics.text().decode()
        found = [one for one in text.splitlines() if one.startswith(line)]
        return sum(float(one.rpartition(" ")[2]) for one in found)

    async def at_rest(self) -> None:
        """Everything is given back."""
        await self.stack.upstream.wait_open(0)
        await trio.testing.wait_all_tasks_blocked()
        assert self.metric("trio_router_upstreams_open") == 0
        assert self.metric("trio_router_streams_open") == 0
        assert not self.router.engine.running
        assert all(state.in_flight == 0 for state in self.fleet.targets.values())


@asynccontextmanager
async def scene(
    route: str = TARGETS, settings: str = "", providers: str = PROVIDERS
) -> AsyncIterator[Scene]:
    """`route` is what stands in the braces of the route `r`."""
    text = f"{settings}\nroutes: {{r: {{{route}}}}}\n"
    async with trio.open_nursery() as nursery:
        found = Scene(Stack(nursery, config(text, providers)))
        async with found.router.running():
            yield found
            await found.at_rest()
        nursery.cancel_scope.cancel()
