"""What must not end a running router: SIGHUP, and a standard output that takes nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serve.command import CLEAN, COMMAND, ask
from trio_router.observe.log import write_line

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextmanager
def running(*words: str, shell: str = '"$@"', **more):
    """A router that is ready, whatever became of what it prints; its log is a pipe."""
    port = free_port()
    process = subprocess.Popen(
        ["sh", "-c", f"exec {shell}", "sh", COMMAND, "serve", "--port", str(port), *words],
        env=CLEAN,
        **{"stderr": subprocess.PIPE, **more},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_ready(client, process)
            yield process, client
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


def wait_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("it is not ready")


def works(client: httpx.Client) -> bool:
    time.sleep(0.3)  # the banner comes after the first connection may be taken
    return client.post("/v1/chat/completions", json=ask("demo/echo")).status_code == 200


@pytest.mark.parametrize("shell", ['"$@" >&-', '"$@" >/dev/full', '"$@" <&- >&- 2>&-'])
def test_a_closed_or_full_standard_output_does_not_stop_it(shell):
    with running(shell=shell) as (process, client):
        assert works(client)
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_a_pipe_that_nobody_reads_does_not_stop_it(words):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    try:
        with running(*words, stdout=writing, stderr=writing) as (process, client):
            assert works(client)
            process.terminate()
            assert process.wait(15) == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_a_pipe_whose_reader_has_left_does_not_stop_it():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with running(stdout=writing) as (process, client):
            assert works(client)
            process.terminate()
            assert process.wait(10) == 0
    finally:
        os.close(writing)


def test_no_connection_gets_a_standard_descriptor():
    """Or the log would be written to it."""
    with running(shell='"$@" <&- >&- 2>&-') as (process, client):
        assert works(client)
        folder = Path(f"/proc/{process.pid}/fd")
        assert {os.readlink(folder / str(number)) for number in range(3)} == {os.devnull}


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_a_hangup_changes_nothing_and_is_told(words):
    with running(*words, stdout=subprocess.DEVNULL) as (process, client):
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            assert works(client)
        process.terminate()
        _, log = process.communicate(timeout=15)
        assert process.returncode == 0
    assert log.count(b"SIGHUP: nothing was changed") >= 3
    assert b"a worker died" not in log


def test_a_hangup_while_it_starts_does_not_end_it():
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=CLEAN
    )
    try:
        end = time.monotonic() + 30
        ignored = Path(f"/proc/{process.pid}/status")
        while not int(ignored.read_text().partition("SigIgn:")[2].split()[0], 16) & 1:
            assert time.monotonic() < end
            time.sleep(0.002)
        for _ in range(50):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.005)
        assert process.stdout.readline().startswith(b"trio-router ")
        process.terminate()
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def test_a_line_by_hand_never_waits(tmp_path):
    reading, writing = os.pipe()
    try:
        for _ in range(2000):  # more than a pipe holds
            write_line(0.0, "x" * 100, "info", writing)
        os.close(reading)
        reading = -1
        write_line(0.0, "x", "info", writing)
    finally:
        os.close(writing)
        if reading >= 0:
            os.close(reading)
    write_line(0.0, "x", "info", writing)
