"""What chance alone makes too rarely: a few requests more, each made for one moment.

Each function adds callers to a plan, and changes what these need and no others feel much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from trio_router.simulation.network import Connect
from trio_router.simulation.pipes import WELL, Course
from trio_router.simulation.plan import (
    Ask,
    Caller,
    Fault,
    Leave,
    Meaning,
    Outage,
    Provider,
    Style,
    Take,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.simulation.chance import Chance
    from trio_router.simulation.plan import WorldPlan

    Make = Callable[[Meaning, int], Take]

_TEXT = "one two three four five six seven eight nine ten "
_TORN = ("cut", "broken", "fin", "no_finish")


class Rare:
    """Adds such moments to a plan."""

    def __init__(self, chance: Chance, plan: WorldPlan) -> None:
        self.chance = chance
        self.plan = plan
        self._next = 1 + max(ask.id for caller in plan.callers for ask in caller.asks)

    def add(self) -> None:
        """One of them, or none where the plan has no place for it."""
        kinds = (
            self.nap, self.drain, self.replay, self.cut_call, self.two_choices, self.early_error,
            self.large_body, self.slow_reader, self.deaf_reader, self.refused_key, self.down,
            self.late_turn, self.torn_plain,
        )  # fmt: skip
        self.chance.pick(kinds)()

    # -- upstreams

    def nap(self) -> None:
        """A provider closes a kept connection while the next request is on its way."""
        provider = self._provider()
        provider.keep_alive, provider.closes_after = 0.5, 0
        provider.courses = ((Course(latency=0.05), Course(latency=0.3)),)
        asks = [self._ask(f"{provider.name}/m", self._well) for _ in range(4)]
        for ask in asks[1:]:
            ask.wait = self.chance.pick((0.3, 0.4, 0.45, 0.6))
        self._come(asks)

    def down(self) -> None:
        """The only target of a route is down from the beginning, for a long time."""
        route = self._route()
        if route is None or route[1].get("hedge") or len(self.plan.config["routes"]) > 1:
            return
        provider = self._target(route[1]["targets"][0])
        route[1]["targets"] = route[1]["targets"][:1]
        route[1]["targets"][0].pop("prefill", None)
        if route[1].get("midstream") == "prefill":
            route[1]["midstream"] = "replay"
        route[1]["cooldown"] = {"failures": self.chance.whole(2, 3), "base": 10}
        provider.courses, provider.connects = ((WELL, WELL),), (Connect(),)
        kind = self.chance.pick(("status", "close", "reset"))
        provider.outages = (Outage(0.0, 600.0, Fault(kind, status=500)),)
        for place in range(6):
            self._come([self._ask(route[0], self._well)], at=place * 0.7)

    def refused_key(self) -> None:
        """One of two keys is refused; the other one is good."""
        provider = self._provider()
        provider.courses, provider.outages = ((WELL, WELL),), ()
        self._of(provider)["api_keys"] = [f"sk-{provider.name}-second-0123456789"]
        refused = Take(Meaning(), fault=Fault("status", status=401))
        asks = []
        for place in range(4):
            ask = self._ask(f"{provider.name}/m", self._well)
            if not place:
                (good,) = ask.takes[provider.name]
                ask.takes = {provider.name: (refused, good)}
            ask.wait = 1.5 if place else 0.0
            asks.append(ask)
        self._come(asks)

    # -- answers

    def replay(self) -> None:
        """An answer is torn, and another target says it from its beginning: all of it, or less."""
        route = self._route(least=2)
        if route is None:
            return
        name, told = route
        told.pop("hedge", None)
        told |= {"commit": "first_event", "midstream": "replay"}
        for target in told["targets"]:
            target.pop("prefill", None)

        def take(answer: Meaning, place: int) -> Take:
            style = Style(piece=self.chance.pick((1, 5, 20)), gather=1, gap=0.01)
            if not place:
                torn = Fault(self.chance.pick(_TORN), at=self.chance.between(0.5, 0.95))
                return Take(answer, style, torn)
            if self.chance.odds(0.5):
                return Take(answer, style, Fault("early_done", at=self.chance.between(0.2, 0.7)))
            return Take(answer, style)

        self._come([self._ask(name, take, api=self._api(), is_stream=True) for _ in range(2)])

    def torn_plain(self) -> None:
        """An answer is torn on its last bytes."""
        provider = self._provider()

        def take(answer: Meaning, _: int) -> Take:
            at = 1 - self.chance.random() / 20
            return Take(answer, Style(piece=10, gather=1), Fault(self.chance.pick(_TORN[:3]), at=at))

        asks = [
            self._ask(f"{provider.name}/m", take, api=self._api(), is_stream=True) for _ in range(3)
        ]
        self._come(asks)

    def cut_call(self) -> None:
        """`[DONE]` comes within the arguments of a tool call."""
        provider = self._provider()

        def take(answer: Meaning, _: int) -> Take:
            call = ToolCall("tool0", '{"where":"a place with a long name","deep":{"n":[1,2,{}]}}')
            calling = structs.replace(answer, text="", calls=(call,), finish="tool_calls")
            fault = Fault("early_done", at=self.chance.between(0.3, 0.95))
            return Take(calling, Style(piece=5), fault)

        asks = [
            self._ask(f"{provider.name}/m", take, api=self._api(), is_stream=True) for _ in range(3)
        ]
        self._come(asks)

    def two_choices(self) -> None:
        """Of two choices one has ended when the answer is cut."""
        provider = self._provider("openai", "azure")
        if provider is None:
            return

        def take(answer: Meaning, _: int) -> Take:
            style = Style(
                piece=20, gather=1, framing=self.chance.pick(("chunked", "eof")), usage="none"
            )
            return Take(answer, style, Fault("no_finish"))

        asks = [self._ask(f"{provider.name}/m", take, is_stream=True) for _ in range(2)]
        for ask in asks:
            ask.extra["n"] = 2
        self._come(asks)

    def early_error(self) -> None:
        """A stream begins with an error that names a status."""
        provider = self._provider("gemini")
        if provider is None:
            return

        def take(answer: Meaning, _: int) -> Take:
            return Take(answer, Style(piece=20), Fault("error_event", at=0.0))

        model = f"{provider.name}/m"
        self._come([self._ask(model, take, api=self._api(), is_stream=True) for _ in range(2)])

    # -- clients

    def drain(self) -> None:
        """A client leaves a stream that may go on for a while, and that stalls then."""
        route = self._route()
        if route is None:
            return
        seconds = self.chance.pick((0.5, 2))
        route[1]["on_disconnect"] = {"drain": {"seconds": seconds, "max": 4}}

        def take(answer: Meaning, _: int) -> Take:
            return Take(answer, Style(piece=5, gather=1), Fault("stall", at=0.8))

        for _ in range(2):
            ask = self._ask(route[0], take, is_stream=True)
            ask.leave = Leave("close", after=self.chance.between(0.3, 1.0))
            self._come([ask])

    def slow_reader(self) -> None:
        """A client takes a long answer so slowly that its upstream waits, but it takes it."""
        provider = self._provider()
        self.plan.config["timeouts"]["stall"] = 2
        self.plan.config["stream"]["buffer"] = 10  # what waits is joined to one long write
        ask = self._ask(f"{provider.name}/m", self._well, is_stream=True)
        (take,) = ask.takes[provider.name]
        answer = structs.replace(take.answer, text=take.answer.text + _TEXT * 1600)
        ask.takes = {provider.name: (Take(answer, Style(piece=1200, gather=1, gap=0.01)),)}
        ask.read_most, ask.read_gap = 1000, 0.1
        self._come([ask], back=Course(room=300))

    def deaf_reader(self) -> None:
        """A client stops to read, and stays."""
        provider = self._provider()
        is_own = self.chance.odds(0.5)  # the provider's own limit, shorter than the router's
        is_stream = is_own or self.chance.odds(0.5)
        ask = self._ask(f"{provider.name}/m", self._well, is_stream=is_stream)
        (take,) = ask.takes[provider.name]
        answer = structs.replace(take.answer, text=take.answer.text + _TEXT * 20)
        ask.takes = {provider.name: (Take(answer, Style(piece=40, gather=1, gap=0.01)),)}
        if is_own:
            self._of(provider)["timeouts"] = {"stall": 2}
        ask.stall_at, ask.stall = self.chance.whole(0, 300), 100.0
        self._come([ask], back=Course(room=300))

    def large_body(self) -> None:
        """A body grows larger than it may be, and has told no length."""
        self.plan.config["server"]["max_body"] = 200_000
        ask = self._ask(f"{self._provider().name}/m", self._well)
        ask.nonsense, ask.framing = "too_large", "chunked"
        self._come([ask])

    def late_turn(self) -> None:
        """A request waits for its turn while its router is told to end."""
        ends = [deed for deed in self.plan.deeds if deed.do == "drain"]
        if not ends:
            return
        provider = self._provider()

        def take(answer: Meaning, _: int) -> Take:
            return Take(answer, Style(head=0.2, gap=0.01))

        asks = [self._ask(f"{provider.name}/m", take) for _ in range(3)]
        for ask in asks[1:]:
            ask.is_pipelined = True
        self._come(asks, at=max(0.0, ends[0].at - 0.1), machine=ends[0].machine)

    # -- inside

    def _api(self) -> str:
        return self.chance.pick(("chat", "messages", "responses"))

    def _provider(self, *dialects: str) -> Any:
        """One of the providers, with one of these dialects if there is one; None if there is not."""
        found = [p for p in self.plan.providers if not dialects or p.dialect in dialects]
        return self.chance.pick(found) if found else None

    def _target(self, target: dict[str, Any]) -> Provider:
        name = target["model"].partition("/")[0]
        return next(p for p in self.plan.providers if p.name == name)

    def _of(self, provider: Provider) -> dict[str, Any]:
        told: dict[str, Any] = self.plan.config["providers"][provider.name]
        return told

    def _route(self, least: int = 1) -> tuple[str, dict[str, Any]] | None:
        routes = self.plan.config["routes"]
        found = [name for name, route in routes.items() if len(route["targets"]) >= least]
        if not found:
            return None
        name = self.chance.pick(found)
        return name, routes[name]

    def _well(self, answer: Meaning, _: int) -> Take:
        return Take(answer, Style(piece=20))

    def _ask(self, model: str, make: Make, api: str = "chat", *, is_stream: bool = False) -> Ask:
        """`make` makes what a target does of the answer and the target's place in the route."""
        number, self._next = self._next, self._next + 1
        route = self.plan.config["routes"].get(model)
        names = [t["model"].partition("/")[0] for t in route["targets"]] if route else [model[:-2]]
        counts = self.chance.whole(1, 500), self.chance.whole(1, 900)
        answer = Meaning(f"ans-{number}-{_TEXT * 3}", "", (), "stop", *counts)
        takes: dict[str, tuple[Take, ...]]
        takes = {name: (make(answer, place),) for place, name in enumerate(names)}
        return Ask(number, api, model, takes, is_stream=is_stream, prompt="hello")

    def _come(
        self, asks: list[Ask], *, at: float | None = None, machine: int = 0, back: Course = WELL
    ) -> None:
        starts = [caller.start for caller in self.plan.callers]
        start = self.chance.between(0, max(starts)) if at is None else at
        number = 1 + max(caller.id for caller in self.plan.callers)
        self.plan.callers.append(Caller(number, start, machine, back=back, asks=asks))
