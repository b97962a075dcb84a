"""`python -m trio_router.simulation`: worlds by seed; exit status 1 if a promise was broken."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trio_router.simulation.generate import generate
from trio_router.simulation.plan import plan_from, plan_text
from trio_router.simulation.runs import Series, WorldResult, run_plan, run_seed
from trio_router.simulation.shrink import Shrinker

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND = "python -m trio_router.simulation"
_FIRST_FRESH = 1_000_000_000  # seeds from here on are those of a day that nobody has run


@click.command()
@click.option("--seeds", metavar="A..B", help="These seeds, the last one included.")
@click.option("--seed", type=int, help="One seed.")
@click.option("--for", "minutes", type=float, metavar="MINUTES", help="Fresh seeds for so long.")
@click.option(
    "--world",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A world written down, as YAML or JSON.",
)
@click.option("--trace", is_flag=True, help="Print what happened, line by line.")
@click.option("--write", type=click.Path(path_type=Path), help="Write the world's plan to this file.")
@click.option("--shrink/--no-shrink", default=True, help="Make the first failing world smaller.")
def main(
    seeds: str | None,
    seed: int | None,
    minutes: float | None,
    world: Path | None,
    trace: bool,
    write: Path | None,
    shrink: bool,
) -> None:
    """Runs the whole router in simulated worlds, and checks every promise in each."""
    gc.freeze()
    gc.disable()  # `run_plan` collects what worlds leave: the collector's own look-outs cost more
    series = Series()
    if seed is not None or world is not None:
        plan = plan_from(world.read_bytes()) if world is not None else generate(seed or 0)
        if write is not None:
            write.write_text(plan_text(plan))
        results = iter([run_plan(plan, is_kept=trace)])
    else:
        results = _results(seeds, minutes)
    for result in results:
        series.add(result)
        for line in result.lines:
            click.echo(line)
        if result.has_failed:
            _tell(result, None if world is None else str(world))
            if shrink and not trace and series.failures == 1:
                _tell_smaller(result)
    click.echo(series)
    sys.exit(1 if series.failures else 0)


def _results(seeds: str | None, minutes: float | None) -> Iterator[WorldResult]:
    if seeds is not None:
        first, _, last = seeds.partition("..")
        if not first.isdigit() or not (last or first).isdigit():
            raise click.BadParameter("A..B is expected, such as 0..99", param_hint="--seeds")
        yield from map(run_seed, range(int(first), int(last or first) + 1))
    elif minutes is not None:
        until = time.monotonic() + 60 * minutes
        number = _FIRST_FRESH + time.time_ns() // 1000 % _FIRST_FRESH
        while time.monotonic() < until:
            yield run_seed(number)
            number += 1
    else:
        raise click.UsageError("one of --seeds, --seed, --for and --world is needed")


def _tell(result: WorldResult, world: str | None) -> None:
    """Standard error: which promises were broken, and how to see it again."""
    again = f"--seed {result.plan.seed}" if world is None else f"--world {world}"
    click.echo(f"{_COMMAND} {again} --trace", err=True)
    for failure in result.failures[:10]:
        click.echo(f"  {failure.sentence}\n    {failure}", err=True)


def _tell_smaller(result: WorldResult) -> None:
    name = result.failures[0].name
    smaller = Shrinker(result.plan, name).run()
    path = Path(f"world-{result.plan.seed}-{name}.json")
    path.write_text(plan_text(smaller))
    count = sum(len(caller.asks) for caller in smaller.callers)
    click.echo(f"  smaller, with {count} requests: {_COMMAND} --world {path} --trace", err=True)


if __name__ == "__main__":
    main()
