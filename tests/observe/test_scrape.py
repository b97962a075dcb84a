"""A scrape stalls no stream, and a real Prometheus takes what it gets."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from functools import partial

import httpx
import pytest
import trio

from tests.observe.deployed import PROMETHEUS, with_models
from tests.stack import chat, real_stack


async def test_streams_go_on_while_a_scrape_of_thousands_of_series_is_rendered():
    metrics = with_models(200)
    begun, seen = threading.Event(), threading.Event()
    text = metrics.text

    def watched() -> bytes:
        begun.set()
        assert seen.wait(10)  # until a task of the event loop has run meanwhile
        return text()

    async def notice() -> None:
        while not begun.is_set():  # noqa: ASYNC110  a thread sets it
            await trio.sleep(0.001)
        seen.set()

    metrics.text = watched
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice)
        assert (await metrics.render()).count(b"\n") > 10_000


async def test_scrapes_wait_for_each_other():
    metrics = with_models(3)
    running, most = 0, 0
    text = metrics.text

    def counted() -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1
        return text()

    metrics.text = counted
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(metrics.render)
    assert most == 1


def quickened(rules: str) -> str:
    """The rules, with seconds where they have minutes."""
    rules = re.sub(r"\[\d+m\]", "[12s]", rules)
    return re.sub(r"for: \d+m", "for: 2s", rules)


CONFIG = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: trio-router
    static_configs: [{targets: ["%s"]}]
"""


def start_prometheus(folder, target: str) -> tuple[subprocess.Popen, str]:
    command = shutil.which("prometheus")
    if command is None:
        pytest.skip("prometheus is not installed")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    (folder / "rules.yml").write_text(quickened((PROMETHEUS / "alerts.yml").read_text()))
    (folder / "prometheus.yml").write_text(CONFIG % target)
    words = [
        "--config.file=prometheus.yml",
        f"--web.listen-address={address}",
        "--storage.tsdb.path=data",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([command, *words], cwd=folder, **quiet), f"http://{address}"


async def ask_prometheus(url: str, path: str, **params) -> list:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            answer = (await client.get(f"{url}/api/v1/{path}", params=params)).json()
        except httpx.TransportError:
            return []  # not up yet
    data = answer["data"]
    return data["alerts"] if path == "alerts" else data["result"]


async def wait_for(condition, seconds: float = 40) -> None:
    with trio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110 - no event tells it
            await trio.sleep(0.3)


@pytest.mark.slow
async def test_a_real_prometheus_is_silent_in_fair_weather_and_tells_of_foul(tmp_path):
    models = ["any/echo-c20-d20", "deepseek/chat"]

    async def load(stack) -> None:
        while True:
            for model in models:
                body = chat(model, stream=True)
                nursery.start_soon(partial(stack.client.post, "/v1/chat/completions", json=body))
                await trio.sleep(0.05)

    async def firing(url: str) -> set[str]:
        alerts = await ask_prometheus(url, "alerts")
        told = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
        return told - {"TrioRouterEventLoopLag"}  # a machine that is shared may be late

    async with real_stack() as stack:
        process, url = start_prometheus(tmp_path, stack.url.removeprefix("http://"))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load, stack)

                async def has_rates() -> bool:
                    query = 'sum(rate(trio_router_requests_total{outcome="completed"}[12s])) > 1'
                    return bool(await ask_prometheus(url, "query", query=query))

                await wait_for(has_rates)
                await trio.sleep(8)
                assert await firing(url) == set()
                models += ["any/echo-c9-t3", "any/echo-r500", "any/echo-c5-u2", "any/echo-c5-m2"]
                expected = {f"TrioRouter{name}" for name in (
                    "StreamErrors", "TruncatedStreams", "UnicodeErrors", "JSONErrors")}  # fmt: skip

                async def tells() -> bool:
                    return await firing(url) >= expected

                await wait_for(tells)
                assert await firing(url) == expected
                nursery.cancel_scope.cancel()
        finally:
            process.terminate()
            process.wait(10)
