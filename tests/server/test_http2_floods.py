"""HTTP/2 clients that make us work for nothing, or send what is no HTTP/2: a clean end, or none."""

from __future__ import annotations

import json
import logging
import struct

import h2.events
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
)

from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.server.http2_client import FIELDS, http2
from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Answer, Close, Hang, sse
from trio_router.observe.record import Outcome

GET = [(":method", "GET"), (":path", "/healthz"), (":scheme", "http"), (":authority", "localhost")]


def window(increment: int, stream: int = 0) -> bytes:
    return struct.pack(">HBBBLL", 0, 4, 8, 0, stream, increment)


def priority(number: int, depends_on: int) -> bytes:
    return PriorityFrame(number, depends_on=depends_on, stream_weight=15, exclusive=True).serialize()


async def ended(client) -> ErrorCodes:
    """Why the server says it ends the connection."""
    told = await client.until(0, h2.events.ConnectionTerminated)
    return told.error_code


FLOODS = {
    "pings": PingFrame(0, opaque_data=b"12345678").serialize(),
    "ping answers": PingFrame(0, opaque_data=b"12345678", flags=["ACK"]).serialize(),
    "settings": SettingsFrame(0, settings={SettingCodes.INITIAL_WINDOW_SIZE: 65535}).serialize(),
    "priorities": priority(5, 3),
    "windows": window(1),
    "unknown frames": b"\0\0\0\x77\0\0\0\0\0",
    "empty data": DataFrame(1).serialize(),
    "data after the answer": DataFrame(3).serialize(),
}


class TestFloods:
    @pytest.fixture(autouse=True)
    def no_error_is_logged(self, caplog):
        yield
        assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]

    @pytest.mark.parametrize("kind", FLOODS)
    async def test_frames_that_do_nothing_end_the_connection_when_they_are_very_many(self, kind):
        async with real_stack() as stack, http2(stack) as client:
            await client.ask(1, "/v1/chat/completions", "POST")
            await client.ask(3)
            await client.until(3, h2.events.StreamEnded)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.send_for_ever, client, FLOODS[kind] * 500)
                assert await ended(client) == ErrorCodes.ENHANCE_YOUR_CALM
                nursery.cancel_scope.cancel()
            assert (await stack.client.get("/healthz")).status_code == 200

    async def send_for_ever(self, client, data: bytes) -> None:
        try:
            while True:
                await client.raw(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def test_a_few_of_all_of_them_are_borne(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.ask(1, "/v1/chat/completions", "POST")
            await client.ask(3)
            await client.until(3, h2.events.StreamEnded)
            for data in FLOODS.values():
                await client.raw(data * 500)
            await client.ask(5)
            await client.until(5, h2.events.StreamEnded)

    async def test_window_updates_of_a_reader_are_no_flood(self, monkeypatch):
        monkeypatch.setattr("trio_router.server.http2._NOISE", (20, 0))
        pieces = ["x" * 10] * 3000
        async with real_stack() as stack, http2(stack) as client:
            stack.upstream.script = lambda _: Answer(
                headers=SSE, steps=[*sse(*[delta(piece) for piece in pieces])]
            )
            client.is_taking = False
            await client.chat(1, chat("any/m", stream=True))
            while not any(isinstance(e, h2.events.StreamEnded) for e in client.events.get(1, [])):
                new = len(client.events.get(1, []))
                await client.receive()
                for event in client.events.get(1, [])[new:]:
                    if isinstance(event, h2.events.DataReceived) and not client.h2.streams[1].closed:
                        client.h2.increment_flow_control_window(len(event.data))
                        client.h2.increment_flow_control_window(len(event.data), 1)
                        await client.send()
            assert text_of(events(client.body(1))) == "".join(pieces)

    async def test_requests_that_are_reset_at_once_end_the_connection_when_they_are_very_many(self):
        async with real_stack() as stack:
            booked = Booked(stack.router)
            stack.router.engine.consumers = [booked.records.append]
            stack.upstream.script = lambda _: Answer(headers=SSE, steps=[*sse(delta("a")), Hang()])
            async with http2(stack) as client:
                body = json.dumps(chat("any/m", stream=True)).encode()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.ask_and_reset, client, body)
                    assert await ended(client) == ErrorCodes.ENHANCE_YOUR_CALM
                    nursery.cancel_scope.cancel()
            with trio.fail_after(5):
                await stack.upstream.wait_open(0)
            assert {r.outcome for r in booked.records} <= {Outcome.CLIENT_GONE}

    async def ask_and_reset(self, client, body: bytes) -> None:
        try:
            for number in range(1, 4000, 2):
                client.h2.send_headers(number, list(FIELDS.items()))
                client.h2.send_data(number, body, end_stream=True)
                client.h2.reset_stream(number, ErrorCodes.CANCEL)
                await client.send()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError):
            pass  # the server has ended it

    async def test_a_client_that_resets_one_request_in_two_is_served(self):
        async with real_stack() as stack, http2(stack) as client:
            for number in range(1, 6000, 4):
                await client.ask(number)
                await client.until(number, h2.events.StreamEnded)
                client.h2.send_headers(number + 2, list(FIELDS.items()))
                client.h2.reset_stream(number + 2, ErrorCodes.CANCEL)
                client.events.clear()
            await client.send()

    async def test_more_streams_than_were_offered_are_refused(self):
        async with real_stack() as stack, http2(stack) as client:
            for number in range(1, 301, 2):
                client.h2.send_headers(number, list(FIELDS.items()))
            await client.send()
            await client.until(0, h2.events.ConnectionTerminated)

    async def test_a_head_without_end_is_not_kept(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.raw(HeadersFrame(1, data=b"\x82").serialize())
            with pytest.raises(trio.BrokenResourceError):
                for _ in range(1000):
                    await client.raw(ContinuationFrame(1, data=b"\0" * 16000).serialize())
                await client.rest()
                raise trio.BrokenResourceError

    async def test_a_head_that_unpacks_to_much_is_refused(self):
        async with real_stack() as stack, http2(stack) as client:
            big = [("x-big", "a" * 3900)]
            head = client.h2.encoder.encode([*GET, *big]) + b"\xbe" * 10_000  # the same again
            await client.raw(
                HeadersFrame(1, data=head, flags=["END_HEADERS", "END_STREAM"]).serialize()
            )
            assert await ended(client) == ErrorCodes.ENHANCE_YOUR_CALM

    async def test_a_table_of_headers_is_no_larger_than_ours_whatever_a_client_offers(self):
        settings = {SettingCodes.HEADER_TABLE_SIZE: 2**31}
        async with real_stack() as stack, http2(stack, settings) as client:
            for number in range(1, 401, 2):  # each answer has an id of its own
                await client.ask(number)
                await client.until(number, h2.events.StreamEnded)
            assert client.h2.decoder.header_table_size == 4096


class TestOneStream:
    """What is wrong with one stream is told there, and the others go on."""

    async def good(self, client, number: int = 101) -> None:
        await client.ask(number)
        await client.until(number, h2.events.StreamEnded)
        assert client.status(number) == 200

    async def test_a_chain_of_priorities_changes_nothing(self, caplog):
        async with real_stack() as stack, http2(stack) as client:
            chain = [priority(number, number - 2) for number in range(3, 6003, 2)]
            await client.raw(b"".join(chain) + priority(3, 6001))
            await self.good(client, 7001)
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

    async def test_a_stream_that_depends_on_itself_is_an_error_of_the_protocol(self, caplog):
        async with real_stack() as stack, http2(stack) as client:
            await client.raw(priority(3, 3))
            assert await ended(client) == ErrorCodes.PROTOCOL_ERROR
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

    @pytest.mark.parametrize(
        "more", [{}, {":protocol": "websocket", ":scheme": "https", ":path": "/chat"}]
    )
    async def test_connect_is_no_method_here(self, more, caplog):
        async with real_stack() as stack, http2(stack) as client:
            fields = {":method": "CONNECT", ":authority": "localhost:443"} | more
            with trio.fail_after(3):  # no body is waited for: there is none
                client.h2.send_headers(1, list(fields.items()))
                await client.send()
                await client.until(1, h2.events.StreamEnded)
            assert client.status(1) in (404, 405)
            assert json.loads(client.body(1))["error"]["type"] == "invalid_request_error"
            await self.good(client)
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

    @pytest.mark.parametrize(
        "fields",
        [
            {":path": "/\u00ff"},
            {":path": "/a b"},
            {":path": "/a\x00"},
            {":path": ""},
            {":path": None},
            {":scheme": None},
            {":method": None},
            {":method": "G T"},
            {":method": "CONNECT"},  # with a path
            {":authority": None},
            {":status": "200"},
            {":protocol": "x"},
            {"host": "another"},
            {"connection": "close"},
            {"transfer-encoding": "chunked"},
            {"upgrade": "h2c"},
            {"te": "gzip"},
            {"X-Upper": "1"},
            {"x y": "1"},
            {"": "1"},
            {"x": "a\r\nb: c"},
            {"x": " a"},
            {"x": "a\x00"},
        ],
        ids=repr,
    )
    async def test_a_malformed_request_ends_its_stream_alone(self, fields, caplog):
        async with real_stack() as stack, http2(stack) as client:
            made = {k: v for k, v in (dict(GET) | fields).items() if v is not None}
            client.h2.send_headers(1, list(made.items()), end_stream=True)
            await client.send()
            reset = await client.until(1, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.PROTOCOL_ERROR
            await self.good(client)
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

    @pytest.mark.parametrize("trailer", [(":path", "/"), ("connection", "close"), ("x", "a\nb")])
    async def test_malformed_trailers_end_their_stream_alone(self, trailer):
        async with real_stack() as stack, http2(stack) as client:
            client.h2.send_headers(1, list(FIELDS.items()))
            client.h2.send_data(1, b"{")
            client.h2.send_headers(1, [trailer], end_stream=True)
            await client.send()
            await client.until(1, h2.events.StreamReset)
            await self.good(client)

    async def test_trailers_are_taken_and_change_nothing(self):
        async with real_stack() as stack, http2(stack) as client:
            client.h2.send_headers(1, list(FIELDS.items()))
            client.h2.send_data(1, json.dumps(chat("any/echo", "hi")).encode())
            client.h2.send_headers(1, [("x-checksum", "1")], end_stream=True)
            await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert client.status(1) == 200

    async def test_a_head_that_is_too_large_gets_a_431(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.ask(1, **{f"x-{n}": "a" * 10_000 for n in range(7)})
            await client.until(1, h2.events.StreamEnded)
            assert client.status(1) == 431
            await self.good(client)

    async def test_a_window_that_grows_too_far_ends_its_stream_or_the_connection(self):
        async with real_stack() as stack, http2(stack) as client:
            stack.upstream.script = lambda _: Answer(headers=SSE, steps=[*sse(delta("a")), Hang()])
            await client.chat(1, chat("any/m", stream=True))
            await client.until(1, h2.events.DataReceived)
            await client.raw(window(2**31 - 1, 1))
            reset = await client.until(1, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.FLOW_CONTROL_ERROR
            with trio.fail_after(5):
                await stack.upstream.wait_closed_early()
            await self.good(client)
            await client.raw(window(2**31 - 1))
            assert await ended(client) == ErrorCodes.FLOW_CONTROL_ERROR

    async def test_a_client_that_is_told_to_send_its_body_does(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.ask(1, "/v1/chat/completions", "POST", expect="100-continue")
            told = await client.until(1, h2.events.InformationalResponseReceived)
            assert dict(told.headers)[b":status"] == b"100"
            client.h2.send_data(1, json.dumps(chat("any/echo")).encode(), end_stream=True)
            await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert client.status(1) == 200

    async def test_head_gets_the_head_alone(self):
        async with real_stack() as stack, http2(stack) as client:
            client.h2.send_headers(1, [(":method", "HEAD"), *GET[1:]], end_stream=True)
            await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert client.status(1) == 200
            assert not client.body(1)

    async def test_a_stream_that_breaks_off_is_reset(self):
        async with real_stack() as stack, http2(stack) as client:
            speech = Answer(headers=[("content-type", "audio/mpeg")], steps=[*sse("x"), Close()])
            stack.upstream.script = lambda _: speech
            body = json.dumps({"model": "any/m", "input": "x", "voice": "y"}).encode()
            await client.ask(1, "/v1/audio/speech", "POST")
            client.h2.send_data(1, body, end_stream=True)
            await client.send()
            reset = await client.until(1, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.INTERNAL_ERROR
            await self.good(client)


class TestEnds:
    async def test_a_client_that_says_goodbye_still_gets_its_answers(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.chat(1, chat("any/echo-d20", "still here", stream=True))
            await client.until(1, h2.events.DataReceived)
            await client.raw(struct.pack(">HBBBLLL", 0, 8, 7, 0, 0, 0, 0))
            await client.until(1, h2.events.StreamEnded)
            assert text_of(events(client.body(1))) == "still here"
            await client.rest()

    async def test_idle_connections_are_told_when_the_server_ends(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.ask(1)
            await client.until(1, h2.events.StreamEnded)
            stack.stop.set()
            assert await ended(client) == ErrorCodes.NO_ERROR
            await client.rest()
            with trio.fail_after(5):
                await stack.stopped.wait()

    async def test_streams_come_to_their_end_before_the_server_does(self):
        async with real_stack() as stack, http2(stack) as client:
            await client.chat(1, chat("any/echo-d20", "to the end", stream=True))
            await client.until(1, h2.events.DataReceived)
            stack.stop.set()
            await client.rest()
            assert text_of(events(client.body(1))) == "to the end"
            assert await ended(client) == ErrorCodes.NO_ERROR

    async def test_a_connection_that_asks_nothing_is_closed_in_time(self, monkeypatch):
        monkeypatch.setattr("trio_router.server.service.KEEP_ALIVE", 0.1)
        async with real_stack() as stack, http2(stack) as client:
            await client.chat(1, chat("any/echo-d50", "for longer than that", stream=True))
            await client.until(1, h2.events.StreamEnded)
            assert text_of(events(client.body(1))) == "for longer than that"
            await client.rest()
            assert await ended(client) == ErrorCodes.NO_ERROR
