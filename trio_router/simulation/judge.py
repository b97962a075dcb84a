"""Every promise, checked against what happened in a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_router.simulation.cases import cases_of
from trio_router.simulation.judge_answers import ANSWERS
from trio_router.simulation.judge_books import BOOKS, BOOKS_OF_WORLD
from trio_router.simulation.judge_machines import MACHINES, MACHINES_OF_WORLD
from trio_router.simulation.judge_reloads import RELOADS, RELOADS_OF_WORLD
from trio_router.simulation.judge_routes import ROUTES, ROUTES_OF_WORLD
from trio_router.simulation.judge_streams import STREAMS
from trio_router.simulation.judge_upstreams import UPSTREAMS, UPSTREAMS_OF_WORLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_router.simulation.cases import Case
    from trio_router.simulation.world import World

OF_CASES: tuple[Callable[[Case], Iterator[str]], ...] = (
    *ANSWERS,
    *STREAMS,
    *UPSTREAMS,
    *BOOKS,
    *RELOADS,
    *ROUTES,
    *MACHINES,
)
OF_WORLDS: tuple[Callable[[World], Iterator[str]], ...] = (
    *BOOKS_OF_WORLD,
    *UPSTREAMS_OF_WORLD,
    *RELOADS_OF_WORLD,
    *ROUTES_OF_WORLD,
    *MACHINES_OF_WORLD,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A promise that was broken: `name` is the invariant's, `sentence` what it says."""

    name: str
    sentence: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.where}: {self.detail}"


def judge(world: World) -> list[Failure]:
    """All promises that were broken."""
    failures = [
        Failure(check.__name__, _sentence(check), "world", detail)
        for check in OF_WORLDS
        for detail in check(world)
    ]
    if world.crash is not None:
        return failures
    for case in cases_of(world):
        for check in OF_CASES:
            # Most find nothing.
            if details := list(check(case)):
                name, sentence, where = check.__name__, _sentence(check), str(case)
                failures += [Failure(name, sentence, where, detail) for detail in details]
    return failures


def _sentence(check: Callable[..., object]) -> str:
    return (check.__doc__ or "").partition("\n")[0]
