"""What became of configurations that operators put into force: one function for each promise."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from msgspec import json

from trio_router.config.schema import Config
from trio_router.runtime.reload import Result
from trio_router.simulation.operating import text_of
from trio_router.simulation.stage import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.world import World


_SOON = 3.0  # s: a file that goes on changing is watched for two


def request_keeps_its_configuration(case: Case) -> Iterator[str]:
    """A request asks none but the providers that the configuration with which it began names for it."""
    if case.world.plan.configs and case.is_call:
        for told in case.told:
            if told.provider not in case.targets:
                yield f"{told.provider} was asked, which is none of {case.targets}"


def reload_tells_the_truth(world: World) -> Iterator[str]:
    """A good configuration is taken under the next number, a bad one is refused and changes nothing."""
    good = {text_of(c) for c in (world.plan.config, *world.plan.configs) if not isinstance(c, str)}
    for machine in world.machines:
        before = machine.generations[0]
        for reloaded in machine.reloads:
            report, now = reloaded.report, reloaded.generation
            if reloaded.text not in good:
                wanted = Result.REFUSED
            elif Config.model_validate(json.decode(reloaded.text)) == before.config:
                wanted = Result.UNCHANGED
            else:
                wanted = Result.LOADED
            if report.result is not wanted:
                yield f"{machine.name}: {report.result}, not {wanted}: {reloaded.text[:200]!r}"
            is_taken = now is not before
            number = before.number + (wanted is Result.LOADED)
            if is_taken != (wanted is Result.LOADED) or not now.number == report.generation == number:
                yield f"{machine.name}: generation {now.number} after {before.number}, {report.result}"
            if bool(report.complaints) != (wanted is Result.REFUSED):
                yield f"{machine.name}: {report.result} with complaints {report.complaints}"
            before = now


def reloads_are_counted(world: World) -> Iterator[str]:
    """Each reload is counted by its result, and the number of what is in force is shown."""
    for machine, text in zip(world.machines, world.metrics, strict=False):
        if machine.is_dead or not world.plan.configs:
            continue
        shown: dict[str, float] = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            shown[name] = float(value) if name.startswith("trio_router_config") else 0
        counted = Counter(reloaded.report.result.value for reloaded in machine.reloads)
        for result, count in counted.items():
            if shown.get(f'trio_router_config_reloads_total{{result="{result}"}}') != count:
                yield f"{machine.name}: {count} times {result}, which is not what its metrics say"
        if shown.get("trio_router_config_generation") != machine.generations[-1].number:
            yield f"{machine.name}: generation {machine.generations[-1].number} is not shown"


def good_configuration_is_taken(world: World) -> Iterator[str]:
    """What a watched file holds is read, and soon."""
    writes = sorted((d.at, d.machine) for d in world.plan.deeds if d.do == "write")
    last = {machine % world.plan.machines: at for at, machine in writes}
    for number, machine in enumerate(world.places):
        ended_at = world.stage.now if machine.stopped_at is None else machine.stopped_at
        is_known = BEGINNING + last.get(number, inf) + _SOON < ended_at
        is_watched = machine.reloader is not None and machine.config.server.reload
        if is_known and is_watched and machine.file.read != machine.file.text:
            yield f"{machine.name} has not read what its file holds"


def generations_go_back_to_one(world: World) -> Iterator[str]:
    """When all requests have ended, only the configuration in force holds anything."""
    for gauges in world.gauges:
        yield from gauges.held


RELOADS = (request_keeps_its_configuration,)
RELOADS_OF_WORLD = (
    reload_tells_the_truth,
    reloads_are_counted,
    good_configuration_is_taken,
    generations_go_back_to_one,
)
