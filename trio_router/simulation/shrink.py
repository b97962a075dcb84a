"""A world that fails, made smaller while it still fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from trio_router.simulation.network import Connect
from trio_router.simulation.pipes import WELL, Course
from trio_router.simulation.plan import Ask, Caller, Fault, Meaning, Style, Take, WorldPlan
from trio_router.simulation.runs import run_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Shrinker:
    """Tries smaller plans, at most `most` of them; keeps those that break the promise `name`."""

    def __init__(self, plan: WorldPlan, name: str, most: int = 400) -> None:
        self.plan = plan
        self.name = name
        self.left = most

    def run(self) -> WorldPlan:
        self._drop("callers")
        self._drop("deeds")
        if self.plan.machines > 1:
            self._holds(structs.replace(self.plan, machines=1))
        self._drop_asks()
        for simpler in (_simpler_ask, _simpler_takes):
            self._simplify_asks(simpler)
        self._simplify_providers()
        self._simplify_callers()
        self._simplify_config()
        self._drop("callers")
        self._drop_providers()
        return self.plan

    def _holds(self, plan: WorldPlan) -> bool:
        """Whether the smaller plan fails in the same way; then it is taken."""
        if self.left <= 0:
            return False
        self.left -= 1
        failures = run_plan(plan).failures
        if any(failure.name == self.name for failure in failures):
            self.plan = plan
            return True
        return False

    def _drop(self, name: str) -> None:
        """As many items of a list as can go: halves first."""
        size = max(1, len(getattr(self.plan, name)) // 2)
        while size:
            at = 0
            while at < len(getattr(self.plan, name)):
                items = getattr(self.plan, name)
                rest = items[:at] + items[at + size :]
                if not rest and name == "callers":
                    break
                if not self._holds(structs.replace(self.plan, **{name: rest})):
                    at += size
            size //= 2

    def _drop_asks(self) -> None:
        for number, caller in enumerate(self.plan.callers):
            for ask in list(caller.asks):
                now = self.plan.callers[number]
                rest = [a for a in now.asks if a.id != ask.id]
                if rest:
                    self._with_caller(number, structs.replace(now, asks=rest))

    def _with_caller(self, number: int, caller: Caller) -> bool:
        callers = list(self.plan.callers)
        callers[number] = caller
        return self._holds(structs.replace(self.plan, callers=callers))

    def _simplify_asks(self, simpler: Callable[[Ask], Iterator[dict[str, Any]]]) -> None:
        for number in range(len(self.plan.callers)):
            for place in range(len(self.plan.callers[number].asks)):
                for change in simpler(self.plan.callers[number].asks[place]):
                    caller = self.plan.callers[number]
                    asks = list(caller.asks)
                    asks[place] = structs.replace(asks[place], **change)
                    self._with_caller(number, structs.replace(caller, asks=asks))

    def _simplify_callers(self) -> None:
        for number in range(len(self.plan.callers)):
            changes: tuple[dict[str, Any], ...] = ({"there": WELL}, {"back": WELL}, {"start": 0.0})
            for change in changes:
                caller = self.plan.callers[number]
                if any(getattr(caller, name) != value for name, value in change.items()):
                    self._with_caller(number, structs.replace(caller, **change))

    def _simplify_providers(self) -> None:
        plain: tuple[dict[str, Any], ...] = (
            {"outages": ()},
            {"connects": (Connect(),)},
            {"courses": ((Course(), Course()),)},
            {"closes_after": 0},
            {"keep_alive": 60.0},
        )
        for number in range(len(self.plan.providers)):
            for change in plain:
                providers = list(self.plan.providers)
                if any(getattr(providers[number], n) != v for n, v in change.items()):
                    providers[number] = structs.replace(providers[number], **change)
                    self._holds(structs.replace(self.plan, providers=providers))

    def _drop_providers(self) -> None:
        for provider in list(self.plan.providers):
            rest = [p for p in self.plan.providers if p.name != provider.name]
            if f'"{provider.name}/' in str(self.plan.config).replace("'", '"'):
                continue  # a route names it
            told = {n: p for n, p in self.plan.config["providers"].items() if n != provider.name}
            config = {**self.plan.config, "providers": told}
            if rest:
                self._holds(structs.replace(self.plan, providers=rest, config=config))

    def _simplify_config(self) -> None:
        for name in ("timeouts", "stream", "server", "routes"):
            for key in list(self.plan.config[name]):
                if (name, key) == ("stream", "buffer") or (name, key) == ("server", "graceful_timeout"):
                    continue
                section = {k: v for k, v in self.plan.config[name].items() if k != key}
                self._holds(structs.replace(self.plan, config={**self.plan.config, name: section}))
        for route, told in list(self.plan.config["routes"].items()):
            for key in told:
                routes = self.plan.config["routes"]
                if key != "targets" and key in routes.get(route, ()):
                    less = {k: v for k, v in routes[route].items() if k != key}
                    config = {**self.plan.config, "routes": {**routes, route: less}}
                    self._holds(structs.replace(self.plan, config=config))


_PLAIN_ASK: tuple[tuple[str, Any], ...] = (
    ("leave", None),
    ("prompt", "hello"),
    ("extra", {}),
    ("wait", 0.0),
    ("is_pipelined", False),
    ("pieces", 1),
    ("piece_gap", 0.0),
    ("framing", "length"),
    ("read_most", 65536),
    ("read_gap", 0.0),
    ("stall", 0.0),
    ("with_usage", False),
)


def _simpler_ask(ask: Ask) -> Iterator[dict[str, Any]]:
    for name, value in _PLAIN_ASK:
        if getattr(ask, name) != value:
            yield {name: value}


def _simpler_takes(ask: Ask) -> Iterator[dict[str, Any]]:
    for name, takes in ask.takes.items():
        if len(takes) > 1:
            yield {"takes": {**ask.takes, name: takes[:1]}}
    for name in ask.takes:
        take = ask.takes[name][0]
        for simpler in _simpler_take(take):
            yield {"takes": {**ask.takes, name: (simpler,)}}


def _simpler_take(take: Take) -> Iterator[Take]:
    short = Meaning(text=take.answer.text[:20], finish="stop", prompt_tokens=3, completion_tokens=4)
    if take.fault is not None:
        yield structs.replace(take, fault=None)
        yield structs.replace(take, answer=short, style=Style(), fault=Fault(take.fault.kind))
    yield structs.replace(take, answer=short, style=Style())
    yield structs.replace(take, style=Style())
    yield structs.replace(take, answer=short)
