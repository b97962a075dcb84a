"""Operators of a world: configurations that are replaced while streams run, machines that die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import json

from trio_router.simulation.asking import GOOD_KEY
from trio_router.simulation.plan import Deed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.simulation.chance import Chance
    from trio_router.simulation.plan import Provider, WorldPlan

    Config = dict[str, Any]

# What no router takes: torn, empty, of another shape, with what is not there.
_BAD = ('{"server": {"graceful', "", "  \n", "- a list", '{"server": {"colour": "red"}}', "a: b: c")


class Operators:
    """Adds what operators do to a plan.

    `make_timeouts` and `make_route` make these sections, as for the configuration with which the world
    begins.
    """

    def __init__(
        self,
        chance: Chance,
        make_timeouts: Callable[[], Config],
        make_route: Callable[[list[Provider]], Config],
    ) -> None:
        self.chance = chance
        self._make_timeouts = make_timeouts
        self._make_route = make_route

    def reload(self, plan: WorldPlan) -> None:
        """Configurations are written, read, refused, taken back."""
        chance = self.chance
        is_watched = chance.odds(0.7)
        plan.config["server"]["reload"] = is_watched
        config = plan.config
        for _ in range(chance.whole(1, 3)):
            at = self._moment(plan)
            if chance.odds(0.3):
                self._write(plan, at, self._bad(config))
                at += chance.pick((0.1, 0.2, 1.0))
            if not plan.configs or chance.odds(0.8):
                config = plan.config if chance.odds(0.2) else self._changed(config, plan)
                self._write(plan, at, config)
            if not is_watched or chance.odds(0.3):
                at += chance.pick((0.0, 0.0, 0.02, 0.5))
                for machine in range(plan.machines):
                    hangups = [Deed(at, "hangup", machine)] * chance.pick((1, 1, 3))
                    plan.deeds += hangups

    def lose_machines(self, plan: WorldPlan) -> None:
        """Several machines; one of them ends, well or not, and may come back."""
        chance = self.chance
        plan.machines = chance.whole(2, 3)
        for caller in plan.callers:
            caller.machine = chance.below(plan.machines)
        for _ in range(chance.whole(0, 2)):
            at, machine = self._moment(plan), chance.below(plan.machines)
            plan.deeds.append(Deed(at, chance.pick(("die", "die", "drain")), machine))
            if chance.odds(0.7):
                later = at + chance.pick((0.0, 1.0, 12.0))
                plan.deeds.append(Deed(later, "start", machine))

    def _moment(self, plan: WorldPlan) -> float:
        """A time at which something is probably under way."""
        return self.chance.pick(plan.callers).start + self.chance.pick((0.0, 0.01, 0.3, 3.0))

    def _write(self, plan: WorldPlan, at: float, config: Config | str) -> None:
        plan.configs.append(config)
        plan.deeds += [
            Deed(at, "write", machine, len(plan.configs) - 1) for machine in range(plan.machines)
        ]

    def _bad(self, config: Config) -> str:
        chance = self.chance
        if chance.odds(0.5):
            return chance.pick(_BAD)
        text = json.encode(config).decode()
        if chance.odds(0.5):
            return text[: chance.whole(1, len(text) - 1)]  # half of it is written
        target = {"targets": [{"model": "nobody/m"}]}
        return json.encode({**config, "routes": {"route0": target}}).decode()

    # -- good ones

    def _changed(self, config: Config, plan: WorldPlan) -> Config:
        new: Config = json.decode(json.encode(config))
        change = self.chance.pick(
            (self._timeouts, self._routes, self._limits, self._keys, self._providers, _no_change)
        )
        change(new, plan)
        return new

    def _timeouts(self, new: Config, _: WorldPlan) -> None:
        new["timeouts"] = self._make_timeouts()

    def _routes(self, new: Config, plan: WorldPlan) -> None:
        """Other policies; no target is taken away: its rest would be forgotten."""
        for name, route in new["routes"].items():
            made = self._make_route([p for p in plan.providers if p.name in new["providers"]])
            known = {target["model"] for target in route["targets"]}
            more = [target for target in made["targets"] if target["model"] not in known]
            new["routes"][name] = {**made, "targets": route["targets"] + more}
            if made.get("midstream") == "prefill":
                new["routes"][name]["targets"][-1]["prefill"] = True

    def _limits(self, new: Config, _: WorldPlan) -> None:
        chance, server = self.chance, new["server"]
        for name in ("max_streams", "max_queue", "max_body"):
            server.pop(name, None)
        if chance.odds(0.5):
            server |= {"max_streams": chance.whole(1, 6), "max_queue": chance.whole(0, 4)}
        if chance.odds(0.5):
            server["max_body"] = 200_000
        new["stream"]["buffer"] = chance.pick((1, 2, 10))

    def _keys(self, new: Config, _: WorldPlan) -> None:
        if "auth" in new:
            del new["auth"]
        else:
            new["auth"] = {"keys": [{"name": "web", "key": GOOD_KEY}]}
        for name, provider in new["providers"].items():
            if self.chance.odds(0.5):
                provider["api_key"] = f"sk-{name}-rotated-{self.chance.below(10**6):06}"

    def _providers(self, new: Config, _: WorldPlan) -> None:
        """One that no route names goes; another's answers are limited, or are not any more."""
        named = {t["model"].partition("/")[0] for r in new["routes"].values() for t in r["targets"]}
        unnamed = [name for name in new["providers"] if name not in named]
        if unnamed and len(new["providers"]) > 1:
            del new["providers"][self.chance.pick(unnamed)]
        for provider in new["providers"].values():
            if "max_in_flight" in provider:
                del provider["max_in_flight"]
                provider.pop("max_queue", None)
            elif self.chance.odds(0.5):
                provider |= {"max_in_flight": self.chance.whole(1, 4), "max_queue": 3}


def _no_change(_: Config, __: WorldPlan) -> None: ...
