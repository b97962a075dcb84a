"""HTTP/2 from clients: what goes wrong on one stream or connection stays there."""

from __future__ import annotations

import json
import logging

import h2.events
import h2.settings
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame

from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.connections import connected
from tests.server.http2_client import Client
from tests.stack import chat, real_stack
from trio_router.demo import Answer, sse
from trio_router.observe.record import Outcome
from trio_router.server.http2_connection import Http2Connection


def faults(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


async def test_a_path_that_is_not_ascii_ends_its_stream_alone(caplog):
    async with real_stack() as stack, connected(stack) as stream:
        client = Client(stream)
        await client.ask(1, "/\u00ff")
        await client.ask(3)
        await client.until(1, h2.events.StreamReset)
        await client.until(3, h2.events.StreamEnded)
        assert (await stack.client.get("/healthz")).status_code == 200
    assert not faults(caplog)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/nothing"])
async def test_a_body_that_goes_on_after_its_answer_harms_no_other_stream(path, caplog, monkeypatch):
    monkeypatch.setattr("trio_router.api.request._DRAIN_SECONDS", 0.01)
    async with real_stack("server: {max_body: 1000}") as stack, connected(stack) as stream:
        client = Client(stream)
        await client.ask(1, path, "POST")
        client.h2.send_data(1, b"x" * 2000)
        await client.send()
        await client.until(1, h2.events.StreamEnded)
        told = await client.until(1, h2.events.StreamReset)
        assert told.error_code == ErrorCodes.NO_ERROR
        for number in range(3, 203, 2):  # more than the window holds
            await stream.send_all(DataFrame(1, b"x" * 1000).serialize())  # as if it had not seen that
            await client.ask(number)
            await client.until(number, h2.events.StreamEnded)
    assert not faults(caplog)


async def test_a_client_that_takes_nothing_is_given_up_and_harms_nobody(caplog):
    async with real_stack("timeouts: {stall: 0.2}") as stack:
        booked = Booked(stack.router)
        big = Answer(headers=SSE, steps=sse(*[delta("x" * 100_000) for _ in range(300)]))
        stack.upstream.script = lambda _: big
        async with connected(stack) as stream:
            client = Client(stream)
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
            client.h2.increment_flow_control_window(2**31 - 1 - 65535)
            await client.ask(1, "/v1/chat/completions", "POST")
            client.h2.send_data(1, json.dumps(chat("any/m", stream=True)).encode(), end_stream=True)
            await client.send()
            assert (await booked.next()).outcome in (Outcome.CLIENT_STALLED, Outcome.CLIENT_GONE)
        assert (await stack.client.get("/healthz")).status_code == 200
    assert not faults(caplog)


@pytest.mark.parametrize("is_busy", [False, True])
async def test_nothing_is_left_of_a_connection_that_its_client_has_closed(is_busy, monkeypatch):
    ended = []
    run = Http2Connection.run

    async def noted(self, first: bytes) -> None:
        await run(self, first)
        ended.append(self)

    monkeypatch.setattr(Http2Connection, "run", noted)
    async with real_stack() as stack:
        booked = Booked(stack.router)
        async with connected(stack) as stream:
            client = Client(stream)
            await client.ask(1)
            await client.until(1, h2.events.StreamEnded)
            if is_busy:
                await client.ask(3, "/v1/chat/completions", "POST")
                client.h2.send_data(3, json.dumps(chat("any/echo-h1", stream=True)).encode())
                client.h2.end_stream(3)
                await client.send()
                await client.until(3, h2.events.DataReceived)
        with trio.fail_after(5):
            if is_busy:
                await stack.upstream.wait_closed_early()
                assert (await booked.next()).outcome == Outcome.CLIENT_GONE
            while not ended:
                await trio.testing.wait_all_tasks_blocked()
