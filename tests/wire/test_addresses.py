from __future__ import annotations

import pytest

from tests.stack import chat, real_stack
from trio_router.wire.addresses import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine_alone_is_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "", "127.0.0.1.evil.org"]
)
def test_what_others_can_reach_is_not(host):
    assert not is_loopback(host)


async def test_a_loopback_upstream_is_asked_past_the_environments_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with real_stack() as stack:
        body = chat("any/echo")
        response = await stack.client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
