"""Several processes: spread evenly, replaced when they die, drained together, counted together."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.serve.command import ask, served, wait_for, workers_of
from trio_router.serve.workers import Supervisor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc"),
]


def sockets_of(process_id: int) -> int:
    folder = Path(f"/proc/{process_id}/fd")
    return sum(os.readlink(entry).startswith("socket:") for entry in folder.iterdir())


def connected(port: int, stack: ExitStack) -> socket.socket:
    """A connection that has had an answer, and stays open."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
    connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    return connection


def port_of(router) -> int:
    return int(router.url.rpartition(":")[2])


def test_connections_are_spread_evenly():
    with served("--workers", "2") as router, ExitStack() as stack:
        wait_for(lambda: len(workers_of(router.process.pid)) == 2)
        workers = workers_of(router.process.pid)
        time.sleep(0.5)  # both have to have come as far as accepting
        before = [sockets_of(worker) for worker in workers]
        for _ in range(20):
            connected(port_of(router), stack)
        share = [sockets_of(w) - b for w, b in zip(workers, before, strict=True)]
        assert sum(share) == 20
        assert max(share) - min(share) <= 4


def test_a_worker_that_dies_is_replaced_and_nobody_is_refused():
    with served("--workers", "2") as router, ExitStack() as stack:
        wait_for(lambda: len(workers_of(router.process.pid)) == 2)
        first, other = workers_of(router.process.pid)
        os.kill(first, signal.SIGKILL)
        for _ in range(5):
            connected(port_of(router), stack)
        wait_for(lambda: len(set(workers_of(router.process.pid)) - {first}) == 2)
        assert other in workers_of(router.process.pid)


def test_a_worker_that_cannot_be_started_is_tried_again_and_ends_no_other(monkeypatch):
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    failed = []
    supervisor = Supervisor(
        2,
        lambda *_: None,
        grace=lambda: 1,
        on_death=lambda *_: None,
        on_failure=lambda *what: failed.append(what),
    )
    supervisor._due = {0: 0.0, 1: 0.0}
    monkeypatch.setattr(os, "fork", fork)
    supervisor._start_what_is_due(set())
    assert [worker for worker, _ in failed] == [0, 1]
    assert all(5 < when - time.monotonic() < 20 for when in supervisor._due.values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_drain_together_and_leave(number):
    with served("--workers", "2") as router:
        wait_for(lambda: len(workers_of(router.process.pid)) == 2)
        workers = workers_of(router.process.pid)
        with httpx.Client(base_url=router.url, trust_env=False) as client:
            body = ask("demo/echo-c20-d50", stream=True)
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                router.process.send_signal(number)
                assert [line for line in lines if line][-1] == "data: [DONE]"
        assert router.process.wait(5) == 0
        assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_workers_do_not_outlive_a_killed_parent():
    with served("--workers", "2") as router:
        wait_for(lambda: len(workers_of(router.process.pid)) == 2)
        workers = workers_of(router.process.pid)
        router.end(signal.SIGKILL)
        wait_for(lambda: not any(_runs(worker) for worker in workers))


def _runs(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # ended, and not yet collected by whoever took it over


def test_metrics_are_those_of_all_workers():
    with served("--workers", "2") as router:
        for _ in range(10):
            with httpx.Client(base_url=router.url, trust_env=False) as client:
                assert client.post("/v1/chat/completions", json=ask("demo/echo")).status_code == 200
        with httpx.Client(base_url=router.url, trust_env=False) as client:
            text = client.get("/metrics").text
        counted = 'trio_router_requests_total{model="echo",outcome="completed",provider="demo"} 10.0'
        assert counted in text
        assert 'trio_router_upstreams_open{model="echo",provider="demo"} 0.0' in text
