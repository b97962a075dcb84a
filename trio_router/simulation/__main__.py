"""`python -m trio_router.simulation`: worlds by seed; exit status 1 if a promise was broken."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from trio_router.simulation.generate import generate
from trio_router.simulation.plan import plan_from, plan_text
from trio_router.simulation.runs import Series, WorldResult, run_plan, run_seed
from trio_router.simulation.shrink import Shrinker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_router.simulation.plan import WorldPlan

_COMMAND = "python -m trio_router.simulation"
_INTERRUPTED = 130  # the exit status after Ctrl-C, as shells have it
_TOLD_EVERY = 1000  # seeds
_FIRST_FRESH = 1_000_000_000  # seeds from here on are those of a day that nobody has run


@click.command()
@click.option("--seeds", metavar="A..B", help="These seeds, the last one included.")
@click.option("--seed", type=click.IntRange(0), help="One seed.")
@click.option(
    "--for",
    "minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Fresh seeds for so long.",
)
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
    """Runs the whole router in simulated worlds, and checks every promise in each.

    The last line of standard output counts; the exit status is 1 if a promise was broken.
    """
    if sum(x is not None for x in (seeds, seed, minutes, world)) != 1:
        raise click.UsageError("one of --seeds, --seed, --for and --world is needed")
    if (trace or write is not None) and seed is None and world is None:
        raise click.UsageError("--trace and --write are for one world: with --seed or --world")
    gc.freeze()
    gc.disable()  # `run_plan` collects what worlds leave: the collector's own look-outs cost more
    if seed is not None or world is not None:
        plan = generate(seed or 0) if world is None else _read(world)
        if write is not None:
            write.write_text(plan_text(plan))
        results = iter([run_plan(plan, is_kept=trace)])
    else:
        results = _results(seeds, minutes)
    series, is_cut_short = Series(), False
    try:
        _play(results, series, world, is_shrinking=shrink and not trace)
    except* KeyboardInterrupt:
        is_cut_short = True
    click.echo(series)
    sys.exit(1 if series.failures else _INTERRUPTED if is_cut_short else 0)


def _play(
    results: Iterator[WorldResult], series: Series, world: Path | None, *, is_shrinking: bool
) -> None:
    for result in results:
        series.add(result)
        for line in result.lines:
            click.echo(line)
        if result.has_failed:
            _tell(result, None if world is None else str(world))
            if is_shrinking and series.failures == 1:
                _tell_smaller(result)
        if series.seeds % _TOLD_EVERY == 0:
            click.echo(series, err=True)


def _read(world: Path) -> WorldPlan:
    try:
        return plan_from(world.read_bytes())
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise click.BadParameter(f"{world} is no world: {fault}", param_hint="--world") from None


def _results(seeds: str | None, minutes: float | None) -> Iterator[WorldResult]:
    if seeds is not None:
        first, _, last = seeds.partition("..")
        last = last or first
        if not first.isdigit() or not last.isdigit() or int(first) > int(last):
            raise click.BadParameter("A..B is expected, such as 0..99", param_hint="--seeds")
        yield from map(run_seed, range(int(first), int(last) + 1))
    elif minutes is not None:
        until = time.monotonic() + 60 * minutes
        number = _FIRST_FRESH + time.time_ns() // 1000 % _FIRST_FRESH
        while time.monotonic() < until:
            yield run_seed(number)
            number += 1


def _tell(result: WorldResult, world: str | None) -> None:
    """Standard error: which promises were broken, and how to see it again."""
    again = f"--seed {result.plan.seed}" if world is None else f"--world {world}"
    click.echo(f"{_COMMAND} {again} --trace", err=True)
    for failure in result.failures[:10]:
        click.echo(f"  {failure.sentence}\n    {failure}", err=True)


def _tell_smaller(result: WorldResult) -> None:
    name = result.failures[0].name
    click.echo("  making it smaller, which takes up to a minute", err=True)
    smaller = Shrinker(result.plan, name).run()
    path = Path(f"world-{result.plan.seed}-{name}.json")
    path.write_text(plan_text(smaller))
    count = sum(len(caller.asks) for caller in smaller.callers)
    click.echo(f"  smaller, with {count} requests: {_COMMAND} --world {path} --trace", err=True)


if __name__ == "__main__":
    main()
