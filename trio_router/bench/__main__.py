"""`python -m trio_router.bench`: the router beside a bare relay, against the embedded upstream.

Absolute figures are this machine's; the ratio of the two holds from machine to machine.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from trio_router.bench.load import Outcome, Scene, run
from trio_router.bench.processes import cpu_seconds, free_port, memory_mib, running

SCENES = [
    Scene("unary", "answers without streaming", "echo-c20", 600, 16, is_stream=False),
    Scene("fast", "200 chunks as fast as they go", "echo-c200", 80, 16),
    Scene("paced", "100 streams, a chunk every 20 ms", "echo-c100-d20", 100, 100),
    Scene("many", "1,000 streams, a chunk every 500 ms", "echo-c8-d500", 1000, 1000),
]
_CONFIG = """
providers:
  bench: {{base_url: "http://127.0.0.1:{port}/v1"}}
"""


@click.command()
@click.option(
    "--scene",
    "names",
    multiple=True,
    type=click.Choice([scene.name for scene in SCENES]),
    help="Only this one; may be given again.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=1, show_default=True, help="Medians are told."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="The router's.")
def main(names: tuple[str, ...], rounds: int, workers: int) -> None:
    """Measure the router's CPU, latency and memory beside a bare Trio relay's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, router, floor = free_port(), free_port(), free_port()
        config = folder / "router.yaml"
        config.write_text(_CONFIG.format(port=upstream))

        def start(port: int, module: str, *words: object) -> int:
            log = folder / f"{port}.log"
            return stack.enter_context(running(port, log, "-m", module, *map(str, words)))

        start(upstream, "trio_router.demo", "--port", upstream)
        serve = ("serve", "--config", config, "--port", router, "--workers", workers)
        targets = [
            Target("trio-router", router, "bench/", start(router, "trio_router", *serve)),
            Target("relay", floor, "", start(floor, "trio_router.bench.floor", floor, upstream)),
        ]
        for scene in SCENES:
            if not names or scene.name in names:
                _measure(scene, targets, rounds)


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured: the process behind `port`, asked for models that begin with `prefix`."""

    name: str
    port: int
    prefix: str
    process_id: int


def _measure(scene: Scene, targets: list[Target], rounds: int) -> None:
    figures: dict[str, dict[str, list[float]]] = {target.name: defaultdict(list) for target in targets}
    for _ in range(rounds):
        for target in targets:  # in turn, so that a busy machine is busy for all
            before = cpu_seconds(target.process_id)
            outcome = trio.run(run, f"http://127.0.0.1:{target.port}", target.prefix, scene)
            after = cpu_seconds(target.process_id)
            cpu = None if before is None or after is None else after - before
            for name, value in _figures(scene, outcome, cpu, memory_mib(target.process_id)).items():
                figures[target.name][name].append(value)
    click.echo(f"\n{scene.name}: {scene.what}")
    ours, floor = (figures[target.name] for target in targets)
    for name in ours:
        mine, least = statistics.median(ours[name]), statistics.median(floor[name])
        ratio = f"{mine / least:6.2f}x" if least else ""
        click.echo(f"  {name:24} {mine:10.2f}   relay {least:10.2f} {ratio}")


def _figures(
    scene: Scene, outcome: Outcome, cpu: float | None, memory: float | None
) -> dict[str, float]:
    if outcome.faults:
        click.echo(f"  {len(outcome.faults)} faults, the first: {outcome.faults[0]}", err=True)
    figures = {"good answers": float(outcome.good)}
    if scene.is_stream:
        if cpu is not None:
            figures["CPU us a chunk"] = cpu / max(outcome.chunks, 1) * 1e6
        figures["chunks a second"] = outcome.chunks / outcome.seconds
        figures["first chunk p99, ms"] = _percentile(outcome.first, 99) * 1000
    else:
        if cpu is not None:
            figures["CPU ms a request"] = cpu / max(outcome.good, 1) * 1000
        figures["requests a second"] = outcome.good / outcome.seconds
        figures["answer p99, ms"] = _percentile(outcome.total, 99) * 1000
    if memory is not None:
        figures["memory after it, MiB"] = memory
    return figures


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


if __name__ == "__main__":
    main()
