"""A seed -> a plan: what the world is like, who is in it, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.simulation.asking import ADMIN_KEY, GOOD_KEY
from trio_router.simulation.chance import Chance
from trio_router.simulation.generate_asks import AskMaker
from trio_router.simulation.generate_operators import Operators
from trio_router.simulation.generate_rare import Rare
from trio_router.simulation.network import Connect
from trio_router.simulation.pipes import WELL, Course
from trio_router.simulation.plan import Caller, Deed, Fault, Outage, Provider, WorldPlan

if TYPE_CHECKING:
    from trio_router.simulation.plan import Ask

DIALECTS = ("openai", "openai", "openai", "anthropic", "gemini", "cohere", "ollama", "azure")
_BASE = {"ollama": "", "azure": "", "gemini": "/v1beta", "cohere": "/v2"}
REQUESTS = 52  # of a world, about


def generate(seed: int) -> WorldPlan:
    """The world of a seed."""
    return _Maker(seed).plan()


class _Maker:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Chance(seed, "plan")
        # How much goes wrong: most worlds are mixed, some calm, some in ruins.
        self.trouble = self.chance.pick((0.0, 0.05, 0.15, 0.15, 0.3, 0.3, 0.6))
        self.network_trouble = self.chance.pick((0.0, 0.0, 0.1, 0.3))
        self.span = self.chance.pick((0.5, 5.0, 20.0, 60.0, 300.0))  # s in which clients come

    def plan(self) -> WorldPlan:
        chance = self.chance
        providers = [self._provider(number) for number in range(chance.whole(2, 4))]
        config = self._config(providers)
        asks = AskMaker(chance, config, providers, self.trouble)
        callers: list[Caller] = []
        count = 0
        while count < REQUESTS:
            caller = self._caller(len(callers), count, asks)
            callers.append(caller)
            count += len(caller.asks)
        plan = WorldPlan(
            seed=self.seed,
            config=config,
            providers=providers,
            callers=callers,
            deeds=self._deeds([ask for caller in callers for ask in caller.asks]),
            haste=chance.pick((1, 2, 3, 8)),
        )
        self._operate(plan)
        return plan

    def _operate(self, plan: WorldPlan) -> None:
        # Choices of their own: what a seed's world was without them, it stays.
        chance = self.chance = Chance(self.seed, "operators")
        operators = Operators(chance, self._timeouts, self._route)
        if chance.odds(0.06):
            operators.lose_machines(plan)
        if chance.odds(0.08):
            operators.reload(plan)
        rare = Rare(Chance(self.seed, "rare"), plan)
        if rare.chance.odds(0.4) and not plan.configs:
            rare.add()

    # -- providers

    def _provider(self, number: int) -> Provider:
        chance = self.chance
        connects = [self._connect() for _ in range(3)]
        courses = [(self._course(), self._course()) for _ in range(3)]
        return Provider(
            name=f"p{number}",
            dialect=chance.pick(DIALECTS),
            connects=tuple(connects),
            courses=tuple(courses),
            outages=self._outages(),
            keep_alive=chance.pick((60.0, 60.0, 2.0, 0.5)),
            closes_after=chance.pick((0, 0, 0, 1, 3)),
        )

    def _connect(self) -> Connect:
        chance = self.chance
        if not chance.odds(self.network_trouble):
            return Connect("ok", chance.pick((0.0, 0.0, 0.01, 0.1)))
        kind = chance.pick(("ok", "refused", "unreachable", "no_name", "hangs"))
        return Connect(kind, chance.pick((0.0, 0.2, 3.0)))

    def _course(self) -> Course:
        chance = self.chance
        if chance.odds(0.6):
            return WELL
        return Course(
            latency=chance.pick((0.0, 0.001, 0.05, 0.3)),
            jitter=chance.pick((0.0, 0.0, 0.01, 0.2)),
            rate=chance.pick((0.0, 0.0, 0.0, 20000.0, 200000.0)),
            room=chance.pick((65536, 65536, 200000, 4096, 300)),
            cut=chance.pick_by(((6, 0), (2, 1500), (1, 60), (0.3, 7))),
            partial=chance.pick((0.0, 0.0, 0.1, 0.5)),
            hole=self.chance.whole(0, 5000) if chance.odds(self.network_trouble / 10) else -1,
        )

    def _outages(self) -> tuple[Outage, ...]:
        chance = self.chance
        if not chance.odds(self.trouble / 2):
            return ()
        begin = chance.between(0, self.span)
        kind = chance.pick(("", "status", "status", "silence", "close", "reset"))
        fault = None
        if kind:
            status = chance.pick((500, 502, 503, 429, 529))
            fault = Fault(kind, status=status, retry_after=chance.pick(("", "", "2", "20")))
        return (Outage(begin, begin + chance.between(0.5, self.span), fault),)

    # -- the routers' configuration

    def _config(self, providers: list[Provider]) -> dict[str, Any]:
        chance = self.chance
        config: dict[str, Any] = {
            "server": {"graceful_timeout": chance.pick((0.5, 3, 10))},
            "providers": {p.name: self._provider_config(p) for p in providers},
            "routes": {f"route{n}": self._route(providers) for n in range(chance.whole(0, 2))},
            "timeouts": self._timeouts() if chance.odds(0.6) else {},
            "stream": {"buffer": chance.pick((1, 2, 10))},
        }
        if chance.odds(0.3):
            config["stream"]["malformed_event"] = "skip"
        if chance.odds(0.2):
            config["stream"]["invalid_utf8"] = "error"
        if chance.odds(0.2):
            config["stream"]["max_event"] = 60000
        if chance.odds(0.2):
            config["server"]["max_body"] = 200_000
        if chance.odds(0.15):
            config["server"] |= {"max_streams": chance.whole(1, 6), "max_queue": chance.whole(0, 4)}
        if chance.odds(0.5):
            config["auth"] = {"keys": [{"name": "web", "key": GOOD_KEY}]}
            if chance.odds(0.04):  # rarely: their cookie's key is made by 60 ms of scrypt
                config["auth"]["admin_keys"] = [{"name": "anna", "key": ADMIN_KEY}]
        return config

    def _provider_config(self, provider: Provider) -> dict[str, Any]:
        chance = self.chance
        name, dialect = provider.name, provider.dialect
        told: dict[str, Any] = {
            "dialect": dialect,
            "base_url": f"http://{name}{_BASE.get(dialect, '/v1')}",
            "api_key": f"sk-{name}-secret-0123456789",
            "models": {"m": {"upstream_model": f"{name}-model"}},
            "pass_through": True,
        }
        if chance.odds(0.2):
            told["api_keys"] = [f"sk-{name}-second-0123456789"]
        if dialect == "openai" and chance.odds(0.5):
            told["responses"] = True
        if chance.odds(0.1):
            told |= {"max_in_flight": chance.whole(1, 4), "max_queue": chance.whole(0, 3)}
        if chance.odds(0.1):
            told["lenient_end"] = True
        return told

    def _timeouts(self) -> dict[str, Any]:
        chance = self.chance
        return {
            "connect": chance.pick((1, 5)),
            "pool": chance.pick((0.5, 10)),
            "first_event": chance.pick((2, 5, 20)),
            "read": chance.pick((2, 5, 20)),
            "progress": chance.pick((5, 60, 300)),
            "response": chance.pick((4, 10, 30)),
            "stall": chance.pick((2, 5, 30)),
            "keepalive": chance.pick((0.5, 3, 15, None)),
            "early_commit": chance.pick((None, None, 0.5, 3)),
            "total": chance.pick((None, None, None, 8, 30)),
        }

    def _route(self, providers: list[Provider]) -> dict[str, Any]:
        chance = self.chance
        names = [p.name for p in providers]
        chance.shuffle(names)
        targets: list[dict[str, Any]] = [
            {"model": f"{name}/m"} for name in names[: chance.whole(1, len(names))]
        ]
        route: dict[str, Any] = {"targets": targets}
        if chance.odds(0.4):
            route["strategy"] = chance.pick(
                ("fallback", "weighted", "round_robin", "least_in_flight", "lowest_latency")
            )
        if chance.odds(0.4):
            route["retry"] = {"attempts": chance.whole(0, 3), "base": chance.pick((0.1, 0.5, 2))}
        if chance.odds(0.5):
            route["first_event"] = chance.pick((0.5, 2, 5))
        if len(targets) > 1 and chance.odds(0.4):
            share = chance.pick((0.1, 0.5, 1.0))
            route["hedge"] = {"after": chance.pick((0.05, 0.3, 1, "p95")), "share": share}
        route["commit"] = "complete" if chance.odds(0.2) else "first_event"
        if route["commit"] == "first_event" and chance.odds(0.4):
            route["midstream"] = "replay"
            if chance.odds(0.3):
                route["midstream"] = "prefill"
                targets[-1]["prefill"] = True
        if chance.odds(0.25):
            drain = {"seconds": chance.pick((0.5, 5, 20)), "max": chance.whole(1, 4)}
            route["on_disconnect"] = {"drain": drain}
        if chance.odds(0.3):
            route["cooldown"] = {"failures": chance.whole(1, 4), "base": chance.pick((1, 10))}
        return route

    # -- clients and operators

    def _caller(self, number: int, first: int, asks: AskMaker) -> Caller:
        chance = self.chance
        count = chance.pick((1, 1, 1, 2, 3, 6))
        course = (self._course(), self._course())
        if course[0].hole >= 0 or course[1].hole >= 0:
            course = (WELL, course[1])
        made: list[Ask] = []
        for place in range(count):
            ask = asks.make(first + place)
            if place:
                ask.is_pipelined = chance.odds(0.2)
                ask.wait = 0.0 if ask.is_pipelined else chance.pick((0.0, 0.0, 0.5, 90.0))
            made.append(ask)
        start = chance.between(0, self.span)
        return Caller(number, start, there=course[0], back=course[1], asks=made)

    def _deeds(self, asks: list[Ask]) -> list[Deed]:
        chance, deeds = self.chance, []
        if chance.odds(0.15):
            deeds.append(Deed(chance.between(0, self.span * 1.2), "drain"))
        if chance.odds(0.2):
            for _ in range(3):
                ask = chance.pick(asks)
                deeds.append(Deed(chance.between(0, self.span), "stop", argument=ask.id))
        return deeds
