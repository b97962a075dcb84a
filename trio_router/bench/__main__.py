"""`python -m trio_router.bench`: the router beside a bare relay, against the embedded upstream.

Absolute figures are this machine's; the ratio of the two holds from machine to machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from trio_router.bench.load import Tally, Workload, run
from trio_router.bench.processes import cpu_seconds, free_port, memory_mib, running

WORKLOADS = [
    Workload("unary", "answers without streaming", "echo-c20", 600, 16, is_stream=False),
    Workload("fast", "200 chunks as fast as they go", "echo-c200", 80, 16),
    Workload("paced", "100 streams, a chunk every 20 ms", "echo-c100-d20", 100, 100),
    Workload("many", "1,000 streams, a chunk every 500 ms", "echo-c8-d500", 1000, 1000),
]
_CONFIG = """
server: {{{server}}}
providers:
  bench: {{base_url: "{url}/v1"}}
"""
_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
    "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
)


@click.command()
@click.option(
    "--scene",
    "names",
    multiple=True,
    type=click.Choice([workload.name for workload in WORKLOADS]),
    help="Only this one; may be given again.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=1, show_default=True, help="Medians are told."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="The router's.")
@click.option("--tls", is_flag=True, help="Also with TLS to the upstream, and from the client.")
def main(names: tuple[str, ...], rounds: int, workers: int, tls: bool) -> None:
    """Measure the router's CPU, latency and memory beside a bare Trio relay's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = _Field(stack, folder, workers).targets(tls=tls)
        for workload in WORKLOADS:
            if not names or workload.name in names:
                _measure(workload, targets, rounds)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured: the process behind `url`, asked for models that begin with `prefix`."""

    name: str
    url: str
    prefix: str
    process_id: int
    trusted: str | None = None


class _Field:
    """What is started for a benchmark: the upstream, routers and relays, until `stack` is left."""

    def __init__(self, stack: ExitStack, folder: Path, workers: int) -> None:
        self._stack = stack
        self._folder = folder
        self._workers = workers

    def targets(self, *, tls: bool) -> list[Measured]:
        """The floor is the last."""
        upstream, floor = free_port(), free_port()
        self._start(upstream, "trio_router.demo", "--port", upstream)
        targets = [self._router("trio-router", f"http://127.0.0.1:{upstream}")]
        if tls:
            targets += self._with_tls(upstream)
        relay = self._start(floor, "trio_router.bench.floor", floor, upstream)
        return [*targets, Measured("relay", f"http://127.0.0.1:{floor}", "", relay)]

    def _with_tls(self, upstream: int) -> list[Measured]:
        key, certificate = self._folder / "key.pem", self._folder / "certificate.pem"
        command = [*_CERTIFICATE.split(), "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        os.environ["SSL_CERT_FILE"] = str(certificate)  # what the routers trust
        behind = free_port()
        self._start(behind, "trio_router.bench.floor", behind, upstream, certificate, key)
        return [
            self._router("TLS to upstream", f"https://127.0.0.1:{behind}"),
            self._router(
                "TLS from client", f"http://127.0.0.1:{upstream}", certificate=certificate, key=key
            ),
        ]

    def _router(
        self, name: str, url: str, certificate: Path | None = None, key: Path | None = None
    ) -> Measured:
        port = free_port()
        server = f"certfile: {certificate}, keyfile: {key}" if certificate else ""
        config = self._folder / f"{port}.yaml"
        config.write_text(_CONFIG.format(server=server, url=url))
        words = ("serve", "--config", config, "--port", port, "--workers", self._workers)
        process_id = self._start(port, "trio_router", *words)
        scheme = "https" if certificate else "http"
        trusted = str(certificate) if certificate else None
        return Measured(name, f"{scheme}://127.0.0.1:{port}", "bench/", process_id, trusted)

    def _start(self, port: int, module: str, *words: object) -> int:
        log = self._folder / f"{port}.log"
        return self._stack.enter_context(running(port, log, "-m", module, *map(str, words)))


def _measure(workload: Workload, targets: list[Measured], rounds: int) -> None:
    figures: dict[str, dict[str, list[float]]] = {target.name: defaultdict(list) for target in targets}
    for _ in range(rounds):
        for target in targets:  # in turn, so that a busy machine is busy for all
            before = cpu_seconds(target.process_id)
            tally = trio.run(run, target.url, target.prefix, workload, target.trusted)
            after = cpu_seconds(target.process_id)
            cpu = None if before is None or after is None else after - before
            for name, value in _figures(workload, tally, cpu, memory_mib(target.process_id)).items():
                figures[target.name][name].append(value)
    click.echo(f"\n{workload.name}: {workload.what}")
    floor = figures[targets[-1].name]
    for name in floor:
        least = statistics.median(floor[name])
        told = [f"  {name:24}"]
        for target in targets:
            value = statistics.median(figures[target.name][name])
            ratio = f" ({value / least:.2f}x)" if least and target is not targets[-1] else ""
            told.append(f"{target.name} {value:.2f}{ratio}")
        click.echo(" | ".join(told))


def _figures(
    workload: Workload, tally: Tally, cpu: float | None, memory: float | None
) -> dict[str, float]:
    if tally.faults:
        click.echo(f"  {len(tally.faults)} faults, the first: {tally.faults[0]}", err=True)
    figures = {"good answers": float(tally.good)}
    if workload.is_stream:
        if cpu is not None:
            figures["CPU us a chunk"] = cpu / max(tally.chunks, 1) * 1e6
        figures["chunks a second"] = tally.chunks / tally.seconds
        figures["first chunk p99, ms"] = _percentile(tally.first, 99) * 1000
    else:
        if cpu is not None:
            figures["CPU ms a request"] = cpu / max(tally.good, 1) * 1000
        figures["requests a second"] = tally.good / tally.seconds
        figures["answer p99, ms"] = _percentile(tally.total, 99) * 1000
    if memory is not None:
        figures["memory after it, MiB"] = memory
    return figures


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


if __name__ == "__main__":
    main()
