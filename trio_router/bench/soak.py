"""`python -m trio_router.bench.soak`: hours in minutes.  Does anything grow, is anything lost?

Plain requests, streams, streams whose reader leaves, broken and failing upstreams, all at once, at a
rate that keeps the router at a share of one core.  Told every half minute: CPU, memory, descriptors,
tasks.  Exits with 1 if, at the end, something is still open or memory has grown.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import httpx
import trio

from trio_router.bench.processes import cpu_seconds, free_port, memory_mib, running
from trio_router.transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 60  # clients
_TELL = 30.0  # s between two lines
_ADJUST = 1.0  # s between two looks at the CPU
_SETTLE = 35.0  # s after the load, in which kept connections end
_GROWTH = 1.10  # of memory, from the first third of the time to the last
_CONFIG = """
timeouts: {{read: 2, first_event: 2}}
providers:
  bench: {{base_url: "http://127.0.0.1:{port}/v1"}}
"""
# What is asked for, how often, and whether the reader leaves in the middle.
_MIX: list[tuple[int, str, bool, bool]] = [
    (40, "echo-c20", False, False),
    (30, "echo-c30-d5", True, False),
    (10, "echo-c200", True, False),
    (10, "echo-c1000-d10", True, True),
    (3, "echo-x5-c20", True, False),
    (2, "echo-e5-c20", True, False),
    (2, "echo-m5-c20", True, False),
    (1, "echo-h3", True, False),
    (2, "echo-r429", True, False),
]
_GAUGES = ("trio_router_streams_open", "trio_router_upstreams_open")


class Soak:
    """The load: clients that ask, pause, and ask again; the pause keeps the CPU where it should be."""

    def __init__(self, url: str, share: float, cpu: Callable[[], float]) -> None:
        self._url = url
        self._share = share
        self._cpu = cpu
        self._pause = 0.05
        self._random = random.Random(7)
        self.outcomes: Counter[str] = Counter()

    async def run(self, seconds: float, look: Callable[[float], None]) -> None:
        """`look` is called every half minute with the share of a core in use."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._steer)
                nursery.start_soon(self._tell, look)
                for _ in range(_AT_ONCE):
                    nursery.start_soon(self._client)

    async def _steer(self) -> None:
        while True:
            before = self._cpu()
            await trio.sleep(_ADJUST)
            used = (self._cpu() - before) / _ADJUST
            self._pause = min(5.0, max(0.0005, self._pause * (1 + (used - self._share) / 2)))

    async def _tell(self, look: Callable[[float], None]) -> None:
        while True:
            before = self._cpu()
            await trio.sleep(_TELL)
            look((self._cpu() - before) / _TELL)

    async def _client(self) -> None:
        weights = [weight for weight, *_ in _MIX]
        transport = StreamTransport(trust_env=False)
        async with httpx.AsyncClient(transport=transport, base_url=self._url, timeout=20) as client:
            while True:
                (_, model, is_stream, leaves) = self._random.choices(_MIX, weights)[0]
                try:
                    self.outcomes[await self._ask(client, model, is_stream, leaves)] += 1
                except httpx.HTTPError as fault:
                    self.outcomes[type(fault).__name__] += 1
                await trio.sleep(self._random.uniform(0.5, 1.5) * self._pause)

    async def _ask(self, client: httpx.AsyncClient, model: str, is_stream: bool, leaves: bool) -> str:
        body = {
            "model": f"bench/{model}",
            "stream": is_stream,
            "messages": [{"role": "user", "content": "hello"}],
        }
        parts = []
        async with client.stream(
            "POST", "/v1/chat/completions", content=json.dumps(body).encode()
        ) as response:
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            async for data in stream:
                parts.append(data)
                if leaves and len(parts) == 5:
                    return "left"
        whole = b"".join(parts)
        if not is_stream or whole.endswith(b"data: [DONE]\n\n"):
            return f"{response.status_code}"
        return "error in the stream" if b'"error"' in whole else f"{response.status_code} torn"


class ProcessFigures:
    """What the router's process holds, as the system and its own metrics say."""

    def __init__(self, process_id: int, url: str) -> None:
        self._process_id = process_id
        self._url = url
        self.memory: list[float] = []

    def cpu(self) -> float:
        used = cpu_seconds(self._process_id)
        if used is None:
            raise click.ClickException("this needs a system with /proc")
        return used

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._process_id}/fd").iterdir()))

    def gauges(self) -> dict[str, float]:
        text = httpx.get(f"{self._url}/metrics", trust_env=False).text
        found = {name: _sum(text, name) for name in _GAUGES}
        return {**found, "tasks": _sum(text, "trio_router_tasks")}

    def tell(self, began: float, share: float) -> None:
        memory = memory_mib(self._process_id) or 0.0
        self.memory.append(memory)
        click.echo(
            f"{time.monotonic() - began:6.0f} s  CPU {share:4.0%}  memory {memory:6.1f} MiB  "
            f"descriptors {self.descriptors()}"
        )


def _sum(text: str, name: str) -> float:
    values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for value in values)


@click.command()
@click.option("--minutes", type=float, default=10, show_default=True)
@click.option("--cpu", "percent", type=float, default=70, show_default=True, help="Of one core.")
def main(minutes: float, percent: float) -> None:
    """Keep a router busy for a while, and see what is left of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, port = free_port(), free_port()
        config = folder / "router.yaml"
        config.write_text(_CONFIG.format(port=upstream))
        demo = ("-m", "trio_router.demo", "--port", str(upstream))
        serve = ("-m", "trio_router", "serve", "--config", str(config), "--port", str(port))
        stack.enter_context(running(upstream, folder / "upstream.log", *demo))
        process_id = stack.enter_context(running(port, folder / "router.log", *serve))
        url = f"http://127.0.0.1:{port}"
        figures = ProcessFigures(process_id, url)
        before = {**figures.gauges(), "descriptors": figures.descriptors()}
        soak = Soak(url, percent / 100, figures.cpu)
        began = time.monotonic()
        trio.run(soak.run, minutes * 60, lambda share: figures.tell(began, share))
        time.sleep(_SETTLE)
        after = {**figures.gauges(), "descriptors": figures.descriptors()}
    click.echo(f"asked: {dict(soak.outcomes.most_common())}")
    click.echo(f"before: {before}\nafter:  {after}")
    sys.exit(_judge(before, after, figures.memory))


def _judge(before: dict[str, float], after: dict[str, float], memory: list[float]) -> int:
    complaints = [f"{name}: {after[name]} is open" for name in _GAUGES if after[name]]
    # Connections to the upstream are kept for the next request; a few are no leak.
    for name, more in (("tasks", 2), ("descriptors", 8)):
        if after[name] > before[name] + more:
            complaints.append(f"{name}: {before[name]} before, {after[name]} after")
    third = len(memory) // 3
    if third:
        first, last = statistics.median(memory[:third]), statistics.median(memory[-third:])
        if last > first * _GROWTH:
            complaints.append(f"memory: {first:.1f} MiB at first, {last:.1f} at last")
    for complaint in complaints:
        click.echo(complaint, err=True)
    if not complaints:
        click.echo("nothing is open, nothing has grown")
    return 1 if complaints else 0


if __name__ == "__main__":
    main()
