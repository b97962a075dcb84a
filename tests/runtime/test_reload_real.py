"""Reloads of a router in a process, under load: nothing fails, nothing is mixed, nothing is left."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from tests.processes import started
from tests.runtime.reloading import until
from tests.serve.command import CLEAN, COMMAND, run, workers_of
from tests.stack import chat, events, text_of
from trio_router import create_app
from trio_router.config.file import parse_config
from trio_router.demo import Answer, DemoUpstream, Sleep, json_answer, sse
from trio_router.transport import StreamTransport

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc"),
]
STREAMS, RATE, RELOADS = 200, 50, 100
ADMIN = "admin-key-of-anna"


def settings(port: int, number: int) -> str:
    """The configuration of one generation: its keys, provider, route and limits all tell its number."""
    extra = f"  p{number % 3}: {{base_url: 'http://127.0.0.1:{port}/x', models: {{z: {{}}}}}}\n"
    return f"""
server: {{max_streams: {1000 + number}, max_body: {100000 + number}, graceful_timeout: 2}}
auth:
  keys: [{{name: all, key: always}}, {{name: now, key: client-{number}}}]
  admin_keys: [{{name: anna, key: {ADMIN}}}]
timeouts: {{read: {20 + number % 5}}}
providers:
{extra}  a:
    base_url: http://127.0.0.1:{port}/v{number % 7}
    api_key: k{number}
    models: {{m: {{defaults: {{user: "{number}"}}}}}}
routes: {{fast: {{targets: [{{model: a/m}}], retry: {{attempts: {number % 3}}}}}}}
"""


class Mixtures:
    """An upstream whose answers say of which generation path, key and body were."""

    def __init__(self) -> None:
        self.upstream = DemoUpstream(remember=10)
        self.upstream.script = self._answer
        self.mixed: list[tuple[str, str, str]] = []

    def _answer(self, request) -> Answer:
        path = request.path.split("/")[1].removeprefix("v")
        key = request.headers["authorization"].removeprefix("Bearer k")
        user = request.json["user"]
        if not (user == key and path == str(int(key) % 7)):
            self.mixed.append((path, key, user))
        if not request.json.get("stream"):
            message = {"role": "assistant", "content": key}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return json_answer({"id": "1", "object": "chat.completion", "created": 1, "model": "m",
                                "choices": [choice]})  # fmt: skip
        return Answer(headers=(("content-type", "text/event-stream"),), steps=self._steps(key))

    def _steps(self, key: str):
        def chunk(delta, finish=None):
            return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}  # fmt: skip

        for _ in range(10):
            yield from sse(chunk({"content": key + " "}), done=False)
            yield Sleep(0.3)
        yield from sse(chunk({}, "stop"))


@contextmanager
def served(path: Path, *words: str):
    """A router of the file at `path`; its process, its address, and where its log is."""
    log = path.with_suffix(".log")
    with log.open("w") as errors:
        command = [COMMAND, "serve", "--config", path, "--port", "0", *words]
        with started(command, stdout=subprocess.PIPE, stderr=errors, env=CLEAN) as process:
            url = re.search(r"https?://127\.0\.0\.1:\d+", process.stdout.readline())[0]
            yield process, url, log
            process.terminate()
            assert process.wait(15) == 0


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@asynccontextmanager
async def client_of(url: str):
    transport = StreamTransport(trust_env=False)
    async with httpx.AsyncClient(transport=transport, base_url=url, timeout=60) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Load:
    """So many streams at once and so many plain requests a second, until `is_over`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.is_over = False
        self.wrong: list[str] = []
        self.streams = self.plain = self.open = 0

    async def stream(self) -> None:
        while not self.is_over:
            body = chat("fast" if self.streams % 2 else "a/m", stream=True)
            self.open += 1
            async with self.client.stream(
                "POST", "/v1/chat/completions", json=body, headers=bearer("always")
            ) as response:
                data = await response.aread()
            self.open -= 1
            said = text_of(events(data)).split() if response.status_code == 200 else []
            if len(said) != 10 or len(set(said)) != 1 or not data.endswith(b"data: [DONE]\n\n"):
                self.wrong.append(f"stream: {response.status_code} {data[-300:]!r}")
            self.streams += 1

    async def plain_ones(self) -> None:
        async with trio.open_nursery() as nursery:
            while not self.is_over:
                nursery.start_soon(self._plain)
                await trio.sleep(1 / RATE)

    async def _plain(self) -> None:
        response = await self.client.post(
            "/v1/chat/completions", json=chat("a/m"), headers=bearer("always")
        )
        if response.status_code != 200:
            self.wrong.append(f"plain: {response.status_code} {response.text[:300]}")
        self.plain += 1


def measured(process_ids: list[int]) -> tuple[int, int]:
    """Descriptors, and resident memory in KiB."""
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in process_ids)
    memory = 0
    for pid in process_ids:
        status = Path(f"/proc/{pid}/status").read_text()
        memory += int(status.partition("VmRSS:")[2].split()[0])
    return descriptors, memory


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hundred_reloads_under_load_harm_nobody(workers, tmp_path):
    mixtures = Mixtures()
    path = tmp_path / "router.yaml"
    async with trio.open_nursery() as nursery:
        port = await nursery.start(mixtures.upstream.serve)
        path.write_text(settings(port, 0))
        with served(path, "--workers", str(workers)) as (process, url, log):
            before = await loaded_round(process, url, path, port, 1, 16)
            after = await loaded_round(process, url, path, port, 16, RELOADS + 16)
            assert mixtures.mixed == []
            print(f"{workers} workers: descriptors, KiB: {before} {after}")
            assert after[0] <= before[0] + 5
            assert after[1] <= before[1] + 10 * 1024 * workers
        told = [json.loads(line) for line in log.read_text().splitlines()]
        assert not [line for line in told if line["level"] == "error"]
        nursery.cancel_scope.cancel()


async def loaded_round(process, url: str, path: Path, port: int, first: int, end: int):
    """Reloads under load; what the router's processes hold when all is over."""
    pids = [process.pid, *workers_of(process.pid)]
    async with client_of(url) as client:
        async with trio.open_nursery() as loading:
            load = Load(client)
            for _ in range(STREAMS):
                loading.start_soon(load.stream)
            loading.start_soon(load.plain_ones)
            await until(lambda: load.streams > STREAMS, 60)
            await reload_often(client, process, path, port, first, end)
            load.is_over = True
        print(f"{load.streams} streams, {load.plain} plain requests, {end - first} reloads")
        assert load.wrong == []
        assert load.streams > 2 * STREAMS
        assert load.plain > RATE
        # The pools of the last generations go with their last requests.
        await reload_often(client, process, path, port, end + 2000, end + 2001)
    return await settled(pids)


async def settled(process_ids: list[int]) -> tuple[int, int]:
    """What they hold once connections that have ended are closed."""
    now = measured(process_ids)
    for _ in range(20):
        before = now
        await trio.sleep(0.5)
        now = measured(process_ids)
        if now[0] == before[0]:
            break
    return now


async def reload_often(client, process, path: Path, port: int, first: int, end: int) -> None:
    """By the file, by SIGHUP and by an operator in turn; from each on the old key is refused."""
    for number in range(first, end):
        old = re.search("client-[0-9]+", await trio.Path(path).read_text())[0]
        replace(path, settings(port, number))
        if number % 3 == 0:
            process.send_signal(signal.SIGHUP)
        if number % 3 == 1:
            report = (await client.post("/admin/v1/config/reload", headers=bearer(ADMIN))).json()
            assert report["result"] in ("loaded", "unchanged"), report
        await until_key(client, f"client-{number}")
        for _ in range(4):  # whichever worker answers
            ask = partial(client.get, "/v1/models")
            assert (await ask(headers=bearer(old))).status_code == 401
            assert (await ask(headers=bearer(f"client-{number}"))).status_code == 200


async def until_key(client, key: str) -> None:
    """Until all workers have had the configuration: each has its own moment of the swap."""
    with trio.fail_after(20):
        agreeing = 0
        while agreeing < 3:
            answer = await client.get("/admin/v1/config", headers=bearer(ADMIN))
            text = (await client.get("/v1/models", headers=bearer(key))).status_code
            agreeing = agreeing + 1 if text == 200 else 0
            assert answer.status_code == 200
            if text != 200:
                await trio.sleep(0.01)


async def until_generation(client, number: int) -> None:
    with trio.fail_after(20):
        agreeing = 0
        while agreeing < 3:
            told = (await client.get("/admin/v1/config", headers=bearer(ADMIN))).json()
            last = told["last_reload"]
            is_there = told["generation"] == number and last and last["generation"] == number
            agreeing = agreeing + 1 if is_there else 0
            if not is_there:
                await trio.sleep(0.01)


async def test_a_worker_that_is_replaced_comes_up_with_what_was_accepted(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text(settings(9, 0))
    with served(path, "--workers", "2") as (process, url, log):
        async with client_of(url) as client:
            replace(path, settings(9, 1))
            await until_generation(client, 2)
            path.write_text("broken: [")
            await until(lambda: "configuration refused" in log.read_text(), 30)
            for _ in range(2):
                first, *_ = before = workers_of(process.pid)
                os.kill(first, signal.SIGKILL)
                await until(
                    lambda before=before: (now := workers_of(process.pid)) != before and len(now) == 2,
                    10,
                )
                await trio.sleep(3)
            for _ in range(20):
                async with client_of(url) as one:
                    assert (await one.get("/v1/models", headers=bearer("client-1"))).status_code == 200
                    assert (await one.get("/v1/models", headers=bearer("client-0"))).status_code == 401
            told = (await client.get("/admin/v1/config", headers=bearer(ADMIN))).json()
            assert (told["generation"], told["last_reload"]["result"]) == (2, "refused")
            assert (await client.get("/readyz")).status_code == 200
    assert log.read_text().count("configuration refused") >= 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_renewed_certificate_is_served(workers, tmp_path):
    authority = trustme.CA()

    def issue() -> None:
        issued = authority.issue_cert("127.0.0.1", "localhost")
        pem = tmp_path / "new.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(pem)
        pem.replace(tmp_path / "cert.pem")

    issue()
    path = tmp_path / "router.yaml"
    path.write_text(f"server: {{demo: true, certfile: {tmp_path}/cert.pem}}")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def serial(url: str) -> str:
        host, port = url.removeprefix("https://").split(":")
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=trusting)
        async with stream:
            await stream.do_handshake()
            return stream.getpeercert()["serialNumber"]

    with served(path, "--workers", workers) as (process, url, log):
        old = await serial(url)
        issue()
        await until(lambda: "certificate: renewed" in log.read_text(), 30)
        found = {await serial(url) for _ in range(10)}
        assert old not in found
        assert len(found) == 1
        (tmp_path / "cert.pem").write_text("half a certifi")
        await until(lambda: "configuration refused" in log.read_text(), 30)
        assert {await serial(url) for _ in range(4)} == found
        issue()
        process.send_signal(signal.SIGHUP)
        await until(lambda: log.read_text().count("certificate: renewed") == 2, 30)
        assert await serial(url) not in {old, *found}


async def test_the_command_reloads_and_tells(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text(settings(9, 0))
    with served(path) as (_, url, _):
        ask = partial(trio.to_thread.run_sync, lambda *words: run("reload", "--url", url, *words))
        wrong = await ask("--key", "nope")
        assert wrong.returncode == 1
        assert "401" in wrong.stderr
        same = await ask("--key", ADMIN)
        assert (same.returncode, same.stdout) == (0, "unchanged: generation 1\n")
        path.write_text(
            "log: {level: debug}\n" + settings(9, 0).replace("{max", "{port: 1, reload: false, max")
        )
        done = await ask("--key", ADMIN)
        assert done.returncode == 0
        lines = ["  ~ server: port, reload", "  ~ log: level"]
        assert done.stdout.splitlines() in (
            ["loaded: generation 2", *lines],
            ["unchanged: generation 2"],
        )
        path.write_text("bad: 1\nworse: 2\n")
        refused = await ask("--key", ADMIN)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.count("router.yaml:") == 2
    assert run("reload", "--url", "http://127.0.0.1:9").returncode == 1


@pytest.mark.parametrize(("words", "is_fixed"), [((), False), (("--log-level", "error"), True)])
async def test_the_log_level_follows_the_file_unless_the_command_line_gave_it(
    words, is_fixed, tmp_path
):
    path = tmp_path / "router.yaml"
    path.write_text("log: {level: error}\nserver: {demo: true}")
    with served(path, *words) as (process, url, log):
        async with client_of(url) as client:
            body = chat("demo/echo")
            await client.post("/v1/chat/completions", json=body)
            await trio.sleep(0.2)
            assert log.read_text() == ""
            path.write_text("log: {level: info}\nserver: {demo: true}")
            process.send_signal(signal.SIGHUP)
            while (  # noqa: ASYNC110
                await client.get("/admin/v1/config")
            ).json()["generation"] != 2:
                await trio.sleep(0.02)
            await client.post("/v1/chat/completions", json=body)
            await trio.sleep(0.2)
            assert ('"event":"request"' in log.read_text()) != is_fixed


async def test_the_application_under_another_server_watches_its_file(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text("timeouts: {read: 1}")
    app = create_app(path)
    async with app.test_app():
        path.write_text("timeouts: {read: 2}")
        await until(lambda: app.router.generation.config.timeouts.read == 2, 5)
    path.write_text("server: {reload: false}\ntimeouts: {read: 1}")
    app = create_app(path)
    async with app.test_app():
        path.write_text("server: {reload: false}\ntimeouts: {read: 2}")
        await trio.sleep(2.5)
        assert app.router.generation.config.timeouts.read == 1
    assert create_app(parse_config("", {})).router.generation.number == 1
