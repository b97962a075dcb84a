"""Small worlds written by hand, for what seeds have found and for what a judge must see."""

from __future__ import annotations

from typing import Any

from trio_router.simulation.judge import judge
from trio_router.simulation.plan import Ask, Caller, Deed, Meaning, Provider, Style, Take, WorldPlan
from trio_router.simulation.world import World

TEXT = "one two three four five six seven eight"


def config(*providers: Provider, **sections: Any) -> dict[str, Any]:
    base = {"ollama": "", "azure": "", "gemini": "/v1beta", "cohere": "/v2"}
    told = {
        p.name: {
            "dialect": p.dialect,
            "base_url": f"http://{p.name}{base.get(p.dialect, '/v1')}",
            "api_key": f"sk-{p.name}-secret-0123456789",
            "models": {"m": {"upstream_model": f"{p.name}-model"}},
        }
        for p in providers
    }
    whole: dict[str, Any] = {"server": {}, "timeouts": {}, "stream": {"buffer": 10}, "routes": {}}
    for name, section in sections.items():
        whole[name] = {**whole.get(name, {}), **section}
    whole["server"].setdefault("graceful_timeout", 3)
    return {**whole, "providers": told}


def answer(number: int = 0, text: str = TEXT, **fields: Any) -> Meaning:
    counts = {"prompt_tokens": 3, "completion_tokens": 4, **fields}
    return Meaning(f"ans-{number}-{text}", **counts)


def take(number: int = 0, fault: Any = None, text: str = TEXT, **style: Any) -> Take:
    return Take(answer(number, text), Style(**{"piece": 6, **style}), fault)


def world(
    providers: list[Provider], *asks: Ask, deeds: list[Deed] | None = None, **sections: Any
) -> WorldPlan:
    """Each request on a connection of its own."""
    callers = [Caller(ask.id, asks=[ask]) for ask in asks]
    return WorldPlan(1, config(*providers, **sections), providers, callers, deeds or [])


def route(*names: str, **policy: Any) -> dict[str, Any]:
    return {"r": {"targets": [{"model": f"{name}/m"} for name in names], **policy}}


def check(plan: WorldPlan) -> World:
    """The world of `plan` at its end; every promise was kept in it."""
    ended = World(plan)
    ended.run()
    failures = judge(ended)
    assert not failures, "\n".join(map(str, failures))
    return ended
