"""Each request of a world with all that is known of it, from every side."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.simulation.asking import GETS, PATHS
from trio_router.simulation.reading import Said, read_stream, read_whole
from trio_router.simulation.stage import BEGINNING

if TYPE_CHECKING:
    from trio_router.simulation.client import Client, Got
    from trio_router.simulation.machine import Machine
    from trio_router.simulation.plan import Ask, Caller, Provider
    from trio_router.simulation.told import Told
    from trio_router.simulation.world import LogLine, World


@dataclass
class Case:
    """One request: its client's side, its providers' side, its log lines.

    What follows from these is worked out once: each judge asks for it.
    """

    world: World
    got: Got
    told: list[Told] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)
    said: Said | None = None  # of an answer with status 200 to a call of a model
    error: dict[str, Any] | None = None  # of an answer with another status, or of the stream's end

    @property
    def ask(self) -> Ask:
        return self.got.ask

    @cached_property
    def client(self) -> Client:
        """Who asked."""
        return next(c for c in self.world.clients if c.caller.id == self.got.caller)

    @property
    def caller(self) -> Caller:
        """What was planned for its connection."""
        return self.client.caller

    @property
    def status(self) -> int:
        return self.got.parser.status if self.got.head_at < inf else 0

    @cached_property
    def machine(self) -> Machine | None:
        """The router that booked it."""
        name = self.line.machine if self.line is not None else ""
        return next((m for m in self.world.machines if m.name == name), None)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration with which it began."""
        machine = self.machine
        if machine is None or len(machine.configs) == 1:
            return self.world.plan.config
        return machine.configs[machine.began[f"r{self.ask.id}"]]

    @cached_property
    def configs(self) -> list[dict[str, Any]]:
        """That one, and those that came into force later: the number of open requests is of all."""
        machine = self.machine
        if machine is None or len(machine.configs) == 1:
            return [self.world.plan.config]
        first = machine.began[f"r{self.ask.id}"]
        return [config for number, config in machine.configs.items() if number >= first]

    @cached_property
    def is_lost(self) -> bool:
        """Its router may have died before it could book it."""
        begin, end = self.got.begun_at, self.got.ended_at
        if self.route is not None and "on_disconnect" in self.route:
            end += (
                self.route["on_disconnect"]["drain"]["seconds"] + 1
            )  # the word of its leaving travels
        machines = self.world.machines
        return not self.lines and any(m.is_dead and begin <= m.died_at <= end for m in machines)

    @property
    def is_call(self) -> bool:
        """A good request for a model's answer."""
        return self.ask.api in PATHS and not self.ask.nonsense

    @property
    def is_get(self) -> bool:
        return self.ask.api in GETS

    @cached_property
    def route(self) -> dict[str, Any] | None:
        route: dict[str, Any] | None = self.config["routes"].get(self.ask.model)
        return route

    @cached_property
    def targets(self) -> list[str]:
        """The providers that may be asked."""
        if self.route is not None:
            return [t["model"].partition("/")[0] for t in self.route["targets"]]
        return [self.ask.model.partition("/")[0]]

    @cached_property
    def providers(self) -> list[Provider]:
        names = self.targets
        return [p for p in self.world.plan.providers if p.name in names]

    @property
    def line(self) -> LogLine | None:
        """The line that ends the request."""
        return self.lines[0] if self.lines else None

    @cached_property
    def is_stopped(self) -> bool:
        """An operator, or the end of the router, came while it ran."""
        end = self.got.ended_at
        machines = self.world.machines if self.machine is None else [self.machine]
        if any(m.stopped_at is not None and m.stopped_at <= end for m in machines):
            return True
        return any(d.do == "stop" and d.argument == self.ask.id for d in self.world.plan.deeds)

    def __str__(self) -> str:
        at = self.got.begun_at - BEGINNING
        return f"r{self.ask.id} ({self.ask.api} {self.ask.model} at {at:.3f} s)"


def cases_of(world: World) -> list[Case]:
    cases = {got.ask.id: Case(world, got) for got in world.got}
    for outlet in world.outlets.values():
        for told in outlet.told:
            if told.ask in cases:
                cases[told.ask].told.append(told)
    for line in world.log:
        if line.event == "request":
            number = line.fields["request_id"][1:]
            if number.isdigit() and int(number) in cases:
                cases[int(number)].lines.append(line)
    for case in cases.values():
        _read(case)
    return list(cases.values())


def _read(case: Case) -> None:
    parser, ask = case.got.parser, case.ask
    if case.status == 200 and ask.api in PATHS:
        body = bytes(parser.body)
        if ask.is_stream:
            case.said = read_stream(ask.api, body, is_whole=case.got.end == "whole")
            case.error = case.said.error
        elif case.got.end == "whole":
            case.said = read_whole(ask.api, msgspec.json.decode(body))
    elif case.status >= 400 and case.got.end == "whole":
        try:
            value = msgspec.json.decode(bytes(parser.body))
            case.error = value["error"]
        except (msgspec.MsgspecError, KeyError, TypeError):
            case.error = None
