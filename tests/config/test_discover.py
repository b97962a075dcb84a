from __future__ import annotations

import socket

import trio

from trio_router.config.discover import embedded_config, ollama_answers
from trio_router.demo import DemoUpstream


async def test_a_local_ollama_is_found_by_its_answer(nursery, monkeypatch):
    port = await nursery.start(DemoUpstream().serve)
    monkeypatch.setattr("trio_router.config.discover.OLLAMA", ("127.0.0.1", port))
    config = await trio.to_thread.run_sync(embedded_config, {})
    assert config.providers["ollama"].dialect == "ollama"
    assert config.providers["ollama"].base_url == f"http://127.0.0.1:{port}"


def test_where_nothing_listens_nothing_is_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not ollama_answers("127.0.0.1", taken.getsockname()[1])


def test_a_port_that_never_answers_costs_a_moment_only():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not ollama_answers("127.0.0.1", silent.getsockname()[1])
