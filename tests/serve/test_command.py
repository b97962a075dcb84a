"""The command as a person runs it: in a process of its own, ended by signals."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

import trio_router
from tests.processes import started
from tests.serve.command import CLEAN, ask, run, served
from tests.stack import events, text_of


def settings(tmp_path: Path, text: str) -> str:
    path = tmp_path / "router.yaml"
    path.write_text(f"server: {{demo: true, {text}}}\n")
    return str(path)


def test_version_is_told():
    assert trio_router.__version__ in run("--version").stdout


def test_without_a_configuration_it_prints_what_it_found_and_lines_that_work_as_pasted():
    with served() as router:
        line = next(x for x in router.banner.splitlines() if "curl" in x and 'demo/echo"' in x)
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=30, check=True
        )
        items = events(done.stdout.encode())
        assert text_of(items) == "Hello, Привет, こんにちは, مرحبا 👋🏽"
        assert items[-1] == "[DONE]"
        assert router.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_router_leaves_at_once(number):
    with served() as router:
        with httpx.Client(base_url=router.url, trust_env=False) as client:
            assert client.get("/readyz").status_code == 200
            assert router.end(number, within=2) == 0


def test_a_log_that_nobody_reads_stalls_neither_requests_nor_the_end():
    with served(stderr=subprocess.PIPE) as router:
        with httpx.Client(base_url=router.url, trust_env=False) as client:
            for _ in range(400):  # more lines than a pipe holds
                assert client.get("/nothing").status_code == 404
        assert router.end(within=3) == 0


def test_each_request_ends_in_one_log_line_without_its_text(tmp_path):
    with (tmp_path / "log").open("w") as log, served(stderr=log) as router:
        with httpx.Client(base_url=router.url, trust_env=False) as client:
            client.post("/v1/chat/completions", json=ask("demo/echo", stream=True))
        assert router.end() == 0
    text = (tmp_path / "log").read_text()
    (line,) = [x for x in map(json.loads, text.splitlines()) if x["event"] == "request"]
    assert {
        "request_id",
        "key",
        "provider",
        "model",
        "format",
        "status",
        "outcome",
        "chunks_processed",
        "chunks_failed",
        "bytes_received",
        "unicode_errors",
        "json_errors",
        "first_event_ms",
        "duration_ms",
        "prompt_tokens",
        "completion_tokens",
    } <= set(line)
    assert (line["outcome"], line["status"], line["format"]) == ("completed", 200, "sse")
    assert "hello" not in text


def test_it_leaves_on_time_though_a_client_has_stopped_reading(tmp_path):
    config = settings(tmp_path, "graceful_timeout: 0.5")
    with served("--config", config) as router:
        port = int(router.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = json.dumps(ask("demo/echo-c20000-b10000", stream=True)).encode()
            head = (
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
            )
            client.sendall(head % len(body) + body)
            assert b"200" in client.recv(100)
            assert router.end(within=2) == 0


def test_a_running_stream_gets_its_grace_then_an_error_and_a_second_signal_hurries(tmp_path):
    config = settings(tmp_path, "graceful_timeout: 600")
    with served("--config", config) as router:
        with httpx.Client(base_url=router.url, trust_env=False, timeout=20) as client:
            with client.stream(
                "POST", "/v1/chat/completions", json=ask("demo/echo-h1", stream=True)
            ) as response:
                parts = response.iter_bytes()
                first = next(parts)
                router.process.send_signal(signal.SIGTERM)
                while client.get("/readyz").status_code != 503:
                    pass
                router.process.send_signal(signal.SIGTERM)
                rest = first + b"".join(parts)
        assert b'"draining"' in rest
        assert b"[DONE]" not in rest
        assert router.process.wait(3) == 0


def test_chat_streams_to_the_terminal():
    with served() as router:
        done = run("chat", "--url", router.url, "-m", "demo/echo", "Привет, 世界 👋🏽")
        assert (done.returncode, done.stdout) == (0, "Привет, 世界 👋🏽\n")
        failed = run("chat", "--url", router.url, "-m", "demo/nope", "x")
        assert failed.returncode == 1
        assert "404" in failed.stderr


def test_chat_without_a_router_says_so():
    failed = run("chat", "--url", "http://127.0.0.1:9", "x")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


def test_a_taken_port_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        failed = run("serve", "--port", str(taken.getsockname()[1]))
    assert failed.returncode == 1
    assert "cannot listen" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_another_address_without_keys_is_refused_and_told_how_to_set_one():
    refused = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "keys:" in refused.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_wrong_configuration_ends_with_every_complaint(command, tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text("servr: {}\nproviders:\n  a: {base_url: nope, api_key: '${NOPE}'}\n")
    failed = run(command, "--config", str(path))
    assert failed.returncode == 2
    assert "router.yaml:1: servr: unknown key; did you mean server?" in failed.stderr
    assert failed.stderr.count("router.yaml:3") == 2


def test_check_prints_providers_and_models():
    good = run("check", "--config", str(Path(__file__).parents[2] / "config" / "router.yaml"))
    assert good.returncode == 0
    assert "deepseek/chat -> deepseek-chat" in good.stdout


def test_hypercorn_serves_the_application_too():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hypercorn = Path(sys.executable).with_name("hypercorn")
    words = [hypercorn, "-k", "trio", "-b", f"127.0.0.1:{port}", "trio_router:create_app()"]
    # It starts a process of its own for the worker, and one that tracks that one's resources.
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=CLEAN) as process:
        watch = threading.Timer(60, process.kill)
        watch.start()
        try:
            while "Running on" not in (line := process.stdout.readline()):
                assert line
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                assert client.get("/healthz").status_code == 200
                answer = client.post("/v1/chat/completions", json=ask("demo/echo", stream=True))
            assert answer.content.endswith(b"data: [DONE]\n\n")
        finally:
            watch.cancel()


def test_the_log_can_be_for_people_and_of_one_level():
    words = ("--log-format", "console", "--log-level", "warning")
    with served(*words, stderr=subprocess.PIPE) as router:
        with httpx.Client(base_url=router.url, trust_env=False) as client:
            client.post("/v1/chat/completions", json=ask("demo/echo"))
            client.post("/v1/chat/completions", json=ask("demo/echo-r500"))
        router.end()
        lines = router.process.stderr.read().splitlines()
    assert len(lines) == 1
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} WARNING request upstream_error demo/echo-r500 ", lines[0])


def test_a_watcher_of_the_dashboard_holds_up_no_shutdown():
    with served() as router, httpx.Client(base_url=router.url, trust_env=False) as client:
        with client.stream("GET", "/dashboard/events") as response:
            next(response.iter_raw())
            assert router.end(within=3) == 0


@pytest.mark.parametrize(
    ("auth", "state"),
    [
        ("{}", "dashboard: open, on loopback"),
        ("{keys: [k]}", "dashboard: closed, for there are keys but no admin key"),
        ("{keys: [k], admin_keys: [a-long-admin-key]}", "dashboard: behind 1 admin keys"),
    ],
)
def test_check_says_who_sees_the_dashboard(tmp_path, auth, state):
    path = tmp_path / "router.yaml"
    path.write_text(f"auth: {auth}\nproviders: {{p: {{base_url: http://x/v1}}}}\n")
    assert state in run("check", "--config", str(path)).stdout


def test_check_tells_an_open_address_beside_all_else_and_serve_may_be_told_another(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text("server:\n  host: 0.0.0.0\n  prt: 1\n")
    failed = run("check", "--config", str(path))
    assert failed.returncode == 2
    assert "router.yaml:2: server.host: '0.0.0.0' can be reached from other machines" in failed.stderr
    assert "router.yaml:3: server.prt" in failed.stderr
    assert "good" not in failed.stdout
    path.write_text("server: {host: 0.0.0.0, demo: true}\n")
    assert run("serve", "--config", str(path), "--port", "0").returncode == 2
    with served("--config", str(path), "--host", "127.0.0.1") as router:
        assert router.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_metrics_have_a_listener_of_their_own_whatever_the_number_of_workers(workers, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = settings(tmp_path, f"metrics: {{port: {port}}}")
    with served("--config", config, "--workers", workers) as router:
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{router.url}/metrics").status_code == 404
            assert "trio_router_tasks" in client.get(f"http://127.0.0.1:{port}/metrics").text
            assert client.get(f"http://127.0.0.1:{port}/healthz").status_code == 404
        assert router.end() == 0
