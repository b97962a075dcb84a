"""A world: routers, providers and clients of one plan, run from its beginning to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_router.errors import Stopped
from trio_router.observe.log import JSONFormatter
from trio_router.simulation import loop
from trio_router.simulation.chance import Chance
from trio_router.simulation.client import Client, Got
from trio_router.simulation.history import Journal
from trio_router.simulation.machine import WHOSE, LogBook, Machine
from trio_router.simulation.network import Connect, Host, Network
from trio_router.simulation.operating import text_of
from trio_router.simulation.provider import Outlet
from trio_router.simulation.stage import BEGINNING, Actor, Scheduler, WorldIsStuck

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from trio_router.simulation.pipes import Course
    from trio_router.simulation.plan import Ask, Caller, Deed, Provider, WorldPlan

_GRACE = 40.0  # s in which what has no reader any more comes to its end


@dataclass(slots=True)
class LogLine:
    at: float
    level: str
    event: str
    fields: dict[str, Any]
    text: str  # as it is written
    machine: str = ""  # whose it is


@dataclass(slots=True)
class Gauges:
    """What a machine showed at a quiet moment: nothing under way, its clients gone."""

    values: dict[str, float] = field(default_factory=dict)
    open_upstreams: list[str] = field(default_factory=list)
    open_requests: int = 0
    taken_slots: list[int] = field(default_factory=list)  # of each gate
    held: list[str] = field(default_factory=list)  # by configurations that were replaced


class World:
    """Runs `plan` once; what is left afterwards is there to be judged."""

    def __init__(self, plan: WorldPlan, *, is_kept: bool = False) -> None:
        seed = plan.seed
        self.plan = plan
        self.stage = Scheduler(Chance(seed, "stage"), plan.haste)
        self.history = Journal(self.stage, is_kept=is_kept)
        self.network = Network(self.stage, Chance(seed, "network"), self.history)
        self.asks: dict[int, Ask] = {ask.id: ask for c in plan.callers for ask in c.asks}
        self.outlets = {p.name: self._outlet(p) for p in plan.providers}
        self.machines: list[Machine] = []  # all that ever ran
        self.places: list[Machine] = []  # those that run now
        self.clients: list[Client] = []
        self.log: list[LogLine] = []
        self.gauges: list[Gauges] = []
        self.metrics: list[str] = []
        self.is_stuck = False
        self.crash: BaseException | None = None
        self.unended: list[str] = []  # machines that did not leave in time
        self.connects: list[tuple[float, str, str]] = []  # that fail: when, provider, how
        self._running = 0
        self._all_over = trio.Event()
        self._format = JSONFormatter().format

    @property
    def got(self) -> list[Got]:
        return [got for client in self.clients for got in client.got]

    def run(self) -> None:
        """Runs it.  What goes wrong in it is in `crash` and `is_stuck`."""
        try:
            with LogBook(self._note_log):
                loop.run(self.stage, self.plan.seed, self._main)
        except* WorldIsStuck:
            self.is_stuck = True
        except* Exception as fault:
            self.crash = fault
        self.history.note("world", f"ends; {len(self.log)} lines of log")

    # -- inside

    async def _main(self) -> None:
        for number in range(self.plan.machines):
            self.places.append(self._machine(f"router{number}", self.plan.config))
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.stage.run)
            for machine in self.machines:
                await nursery.start(machine.run)
            for caller in self.plan.callers:
                self._running += 1
                client = Client(self.stage, self.history, caller)
                self.clients.append(client)
                self.stage.at(BEGINNING + caller.start, self._beginning(client, caller))
            for deed in self.plan.deeds:
                self.stage.at(BEGINNING + deed.at, self._deed(deed))
            if self._running:
                with trio.move_on_after(self.plan.patience):
                    await self._all_over.wait()
            await self._end()
            nursery.cancel_scope.cancel()

    def _machine(self, name: str, config: dict[str, Any]) -> Machine:
        clock = loop.clock_of(self.stage, Chance(self.plan.seed, name))
        has_file = bool(self.plan.configs)
        machine = Machine(name, config, self.network, clock, has_file=has_file)
        self.machines.append(machine)
        return machine

    async def _end(self) -> None:
        """Everything is said: what is left over now is left over for ever."""
        for machine in self.places:
            if machine.stopped_at is None:
                await self._wait_quiet(machine)
                self.gauges.append(self._gauges(machine))
            machine.stop()
        for machine in self.machines:
            if machine.is_dead:
                self.metrics.append("")
                continue
            with trio.move_on_after(machine.config.server.graceful_timeout + 2):
                await machine.ended.wait()
            if machine.ended_at is None:
                self.unended.append(machine.name)
            self.metrics.append(machine.metrics().decode())
            self.history.note(machine.name, "metrics", self.metrics[-1].encode())

    async def _wait_quiet(self, machine: Machine) -> None:
        await trio.sleep(0.3)
        with trio.move_on_after(_GRACE):
            await machine.wait_idle()

    def _gauges(self, machine: Machine) -> Gauges:
        found = Gauges(open_requests=machine.open_requests, held=machine.held())
        for name, value in machine.gauges():
            found.values[name] = found.values.get(name, 0) + value
        for who, end in self.network.ends:
            if who == machine.name and not end.is_closed:
                found.open_upstreams.append(end.name)
        found.values["idle_upstreams"] = machine.idle_upstreams
        found.taken_slots = machine.taken_slots
        return found

    def _outlet(self, provider: Provider) -> Outlet:
        outlet = Outlet(self.stage, self.history, provider, self.asks)
        turns = [0, 0]

        def connects() -> Connect:
            place = turns[0] = turns[0] + 1
            fate = provider.connects[(place - 1) % len(provider.connects)]
            for outage in provider.outages:
                is_now = outage.begin <= self.stage.now - BEGINNING < outage.end
                if is_now and outage.fault is None:
                    fate = Connect("refused")
            if fate.kind != "ok":
                self.connects.append((self.stage.now, provider.name, fate.kind))
            return fate

        def courses() -> tuple[Course, Course]:
            place = turns[1] = turns[1] + 1
            return provider.courses[(place - 1) % len(provider.courses)]

        self.network.hosts[provider.name] = Host(outlet.accept, connects, courses)
        return outlet

    def _beginning(self, client: Client, caller: Caller) -> Callable[[], None]:
        def begin() -> None:
            machine = self._listening(caller.machine)
            if machine is None:
                for got in client.waiting:
                    got.end = "refused"
                self._one_over()
                return
            ours, theirs = self.network.join(client.name, machine.name, caller.there, caller.back)
            actor = Actor(self.stage, client.name, client.run(ours), ended)
            ours.wakes(actor.wake)
            machine.connect(theirs)

        def ended() -> None:
            if client.waiting:
                begin()
            else:
                self._one_over()

        return begin

    def _listening(self, number: int) -> Machine | None:
        """The machine of that number, or the next one that takes connections."""
        for more in range(len(self.places)):
            machine = self.places[(number + more) % len(self.places)]
            if machine.is_listening:
                return machine
        return None

    def _one_over(self) -> None:
        self._running -= 1
        if not self._running:
            self._all_over.set()

    def _deed(self, deed: Deed) -> Callable[[], None]:
        number = deed.machine % self.plan.machines

        def act() -> None:
            machine = self.places[number]
            self.history.note("operator", f"{deed.do} {machine.name} {deed.argument}")
            match deed.do:
                case "drain":
                    machine.stop()
                case "stop":
                    stopped = Stopped("an operator ended this request")
                    machine.end_request(f"r{deed.argument}", stopped)
                case "write":
                    machine.file.write(text_of(self.plan.configs[deed.argument]))
                case "hangup":
                    self._nursery.start_soon(machine.hang_up)
                case "die":
                    machine.die()
                case "start" if machine.ended_at is not None:
                    self._start_again(number)

        return act

    def _start_again(self, number: int) -> None:
        before = self.places[number]
        config = before.configs[before.router.generation.number]
        self.places[number] = machine = self._machine(f"{before.name}+", config)
        self._nursery.start_soon(machine.run)

    def _note_log(self, record: logging.LogRecord) -> None:
        machine = WHOSE.get(None)
        if machine is not None and machine.is_dead:
            return
        fields = getattr(record, "fields", None) or {}
        text, event = self._format(record), record.getMessage()
        name = "" if machine is None else machine.name
        self.log.append(LogLine(self.stage.now, record.levelname, event, fields, text, name))
        told = msgspec.json.encode(fields, order="sorted")
        self.history.note("log", f"{record.levelname} {event}", told)
