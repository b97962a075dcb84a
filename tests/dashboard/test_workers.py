"""Whichever worker is asked shows all of them, and stops any stream."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import contextmanager

import httpx
import pytest

from tests.serve.command import ask, served, wait_for, workers_of

pytestmark = pytest.mark.slow


class Watching:
    """Keeps what each worker has told, from a thread."""

    def __init__(self, url: str) -> None:
        self.rows: dict[int, dict[int, list]] = {}
        self.away: list[int] = []
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            with self._client.stream("GET", "/dashboard/events") as response:
                for line in response.iter_lines():
                    if line:
                        self._take(json.loads(line.removeprefix("data: ")))
        except httpx.TransportError:
            pass  # the router has gone

    def _take(self, message: dict) -> None:
        if "away" in message:
            self.away.append(message["away"])
            self.rows.pop(message["away"], None)
            return
        rows = self.rows.setdefault(message["worker"], {})
        for number in message["gone"]:
            rows.pop(number, None)
        for row in message["begun"]:
            rows[row[0]] = row

    @property
    def total(self) -> int:
        return sum(len(rows) for rows in list(self.rows.values()))


@contextmanager
def watching(url: str):
    seen = Watching(url)
    seen._thread.start()
    try:
        yield seen
    finally:
        seen._client.close()


@contextmanager
def streams(url: str, count: int):
    """So many streams that go on, each on a connection of its own."""
    clients = [httpx.Client(base_url=url, trust_env=False, timeout=30) for _ in range(count)]
    body = ask("demo/echo-c500-d200", stream=True)
    begun = [client.send(client.build_request("POST", "/v1/chat/completions", json=body), stream=True)
             for client in clients]  # fmt: skip
    try:
        yield begun
    finally:
        for response in begun:
            response.close()
        for client in clients:
            client.close()


def test_any_worker_shows_all_streams_and_stops_each():
    with served("--workers", "2") as router, streams(router.url, 6) as begun:
        with watching(router.url) as seen:
            wait_for(lambda: seen.total == 6 and len(seen.rows) == 2)
            assert all(seen.rows.values())  # both workers have some
            with httpx.Client(base_url=router.url, trust_env=False) as client:
                for worker, rows in list(seen.rows.items()):
                    for number, request_id, *_ in list(rows.values()):
                        body = {"worker": worker, "number": number, "request_id": request_id}
                        answer = client.post(
                            "/dashboard/stop", json=body, headers={"sec-fetch-site": "same-origin"}
                        )
                        assert answer.json() == {"stopped": True}
            wait_for(lambda: seen.total == 0)
        for response in begun:
            assert '"code":"stopped"' in list(response.iter_lines())[-2]


def test_a_worker_that_dies_is_away_and_comes_back():
    with served("--workers", "2") as router, watching(router.url) as seen:
        wait_for(lambda: len(seen.rows) == 2)
        (shown_by,) = [w for w in workers_of(router.process.pid) if _has_watcher(w)] or [None]
        other = next(w for w in workers_of(router.process.pid) if w != shown_by)
        os.kill(other, signal.SIGKILL)
        wait_for(lambda: seen.away)
        wait_for(lambda: len(seen.rows) == 2)


def _has_watcher(process_id: int) -> bool:
    """Whether the process holds the watcher's connection: it is the one that has asked its peer."""
    descriptors = f"/proc/{process_id}/fd"
    inodes = {os.readlink(f"{descriptors}/{name}") for name in os.listdir(descriptors)}
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table.readlines()[1:]]
    return any(line[3] == "01" and f"socket:[{line[9]}]" in inodes for line in lines)
