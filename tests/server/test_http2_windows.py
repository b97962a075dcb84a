"""HTTP/2 windows hold back what they are meant to hold back, and nothing else."""

from __future__ import annotations

import gc
import json
import logging
import math
import weakref

import h2.events
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import PingFrame

from tests.api.transcriptions import START, TRANSCRIPTIONS
from tests.api.uploads import END, FORM, upload_stack
from tests.booked import Booked
from tests.chunks import SSE, delta
from tests.server.http2_client import LARGEST, http2
from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Answer, Hang, json_answer, sse
from trio_router.observe.record import Outcome
from trio_router.server.http2_connection import Http2Connection

STALL = "timeouts: {stall: 0.3}"
LONG = [f"{number:06d}" * 5000 for number in range(300)]  # 9 MB
NO_WINDOW = {SettingCodes.INITIAL_WINDOW_SIZE: 0}


def long(_) -> Answer:
    return Answer(headers=SSE, steps=sse(*[delta(piece) for piece in LONG]))


def whole(_) -> Answer:
    message = {"role": "assistant", "content": "x" * 100_000}
    return json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def faults(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


async def test_a_client_that_opens_no_window_gets_what_it_has_room_for_and_no_more_is_read(caplog):
    async with real_stack(STALL) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = long
        async with http2(stack) as client:
            client.is_taking = False
            await client.chat(1, chat("any/m", stream=True))
            reset = await client.until(1, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.CANCEL
            assert client.took(1) == 65535
            record = await booked.next()
            assert record.outcome == Outcome.CLIENT_STALLED
            assert record.bytes_received < 1 << 20
            with trio.fail_after(5):
                await stack.upstream.wait_open(0)
            assert (await stack.client.get("/healthz")).status_code == 200
    assert not faults(caplog)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_answers_that_find_no_window_at_all_do_not_stay(is_stream, caplog):
    async with real_stack(STALL) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = long if is_stream else whole
        async with http2(stack, NO_WINDOW) as client:
            for number in range(1, 41, 2):
                await client.chat(number, chat("any/m", stream=is_stream))
            for number in range(1, 41, 2):
                assert (await booked.next()).outcome == Outcome.CLIENT_STALLED
                await client.until(number, h2.events.StreamReset)
                assert client.status(number) == 200
                assert not client.body(number)
            # The connection goes on: its client may have room for other streams.
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
            await client.ask(41)
            await client.until(41, h2.events.StreamEnded)
    assert not faults(caplog)


async def test_a_stream_whose_window_is_full_holds_back_no_other():
    async with real_stack() as stack:
        stack.upstream.script = lambda r: long(r) if r.json["model"] == "long" else None
        async with http2(stack) as client:
            client.h2.increment_flow_control_window(LARGEST - 65535)
            client.is_taking = False
            await client.chat(1, chat("any/long", stream=True))
            while client.took(1) < 65535:
                await client.receive()
            for number in range(3, 23, 2):
                await client.chat(number, chat("any/echo", "me too", stream=True))
                await client.until(number, h2.events.StreamEnded)
                assert text_of(events(client.body(number))) == "me too"
            client.h2.increment_flow_control_window(LARGEST - 65535, 1)
            await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert text_of(events(client.body(1))) == "".join(LONG)


@pytest.mark.parametrize("step", [1000, 16384, 100_000])
async def test_streams_that_share_a_narrow_window_all_come_to_their_end(step):
    pieces = [f"{number:06d}" * 100 for number in range(100)]  # 60 KB each stream
    async with real_stack("timeouts: {stall: 5}") as stack:
        stack.upstream.script = lambda _: Answer(
            headers=SSE, steps=sse(*[delta(piece) for piece in pieces])
        )
        async with http2(stack, {SettingCodes.INITIAL_WINDOW_SIZE: LARGEST}) as client:
            client.is_taking = False
            numbers = range(1, 21, 2)
            for number in numbers:
                await client.chat(number, chat("any/m", stream=True))
            while client.h2.inbound_flow_control_window:
                await client.receive()
            with trio.fail_after(30):
                while not all(client.h2.streams[n].closed for n in numbers if n in client.h2.streams):
                    if client.h2.inbound_flow_control_window < step:
                        client.h2.increment_flow_control_window(step)
                        await client.send()
                    await client.receive()
            for number in numbers:
                assert text_of(events(client.body(number))) == "".join(pieces)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_client_that_takes_little_by_little_is_not_stalled(is_stream):
    async with real_stack(STALL) as stack:
        stack.upstream.script = long if is_stream else whole
        async with http2(stack, NO_WINDOW) as client:
            client.h2.increment_flow_control_window(LARGEST - 65535)
            await client.chat(1, chat("any/m", stream=is_stream))
            for _ in range(20):
                await trio.sleep(0.05)
                client.h2.increment_flow_control_window(50, 1)
                await client.send()
            client.h2.increment_flow_control_window(LARGEST - 1000, 1)
            await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert len(client.body(1)) > 100_000


async def test_a_window_that_shrinks_below_nothing_is_waited_for():
    async with real_stack() as stack:
        stack.upstream.script = long
        async with http2(stack) as client:
            client.is_taking = False
            await client.chat(1, chat("any/m", stream=True))
            while client.took(1) < 65535:
                await client.receive()
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            await client.send()
            await client.until(0, h2.events.SettingsAcknowledged)
            client.is_taking = True
            client.h2.increment_flow_control_window(LARGEST - 65535)
            client.h2.increment_flow_control_window(LARGEST - 65535, 1)
            await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert text_of(events(client.body(1))) == "".join(LONG)


async def test_a_socket_that_takes_nothing_ends_the_connection_and_all_its_upstreams(caplog):
    async with real_stack(STALL) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = long
        async with http2(stack, {SettingCodes.INITIAL_WINDOW_SIZE: LARGEST}) as client:
            client.h2.increment_flow_control_window(LARGEST - 65535)
            for number in range(1, 11, 2):
                await client.chat(number, chat("any/m", stream=True))
            for _ in range(5):  # a stream that was just not writing sees its client gone
                assert (await booked.next()).outcome in (Outcome.CLIENT_STALLED, Outcome.CLIENT_GONE)
            with trio.fail_after(5):
                await stack.upstream.wait_open(0)
    assert not faults(caplog)


@pytest.mark.slow
async def test_a_client_that_reads_nothing_of_what_it_makes_us_say_is_read_no_further(
    caplog, monkeypatch
):
    monkeypatch.setattr("trio_router.server.http2._NOISE", (math.inf, 0))
    flush, highest = Http2Connection.flush, 0

    def noted(self) -> None:
        nonlocal highest
        flush(self)
        highest = max(highest, len(self._unsent))

    monkeypatch.setattr(Http2Connection, "flush", noted)
    async with real_stack("timeouts: {stall: 1}") as stack, http2(stack) as client:
        late = PingFrame(0).serialize() * 4000
        with trio.fail_after(20), pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            while True:
                await client.raw(late)
    assert 0 < highest < 200_000
    assert not faults(caplog)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("is_blocked", [False, True])
async def test_a_client_that_leaves_releases_its_upstream(how, is_blocked):
    async with real_stack() as stack:
        booked = Booked(stack.router)
        hanging = Answer(headers=SSE, steps=[*sse(delta("a"), done=False), Hang()])
        stack.upstream.script = long if is_blocked else lambda _: hanging
        async with http2(stack) as client:
            client.is_taking = False
            await client.chat(1, chat("any/m", stream=True))
            await client.until(1, h2.events.DataReceived)
            while is_blocked and client.took(1) < 65535:
                await client.receive()
            if how == "reset":
                client.h2.reset_stream(1, ErrorCodes.CANCEL)
                await client.send()
            else:
                client.stream.socket.close()
            with trio.fail_after(5):
                await stack.upstream.wait_closed_early()
                assert (await booked.next()).outcome == Outcome.CLIENT_GONE
            if how == "reset":
                client.h2.increment_flow_control_window(65535)
                await client.ask(3)
                await client.until(3, h2.events.StreamEnded)


async def test_nothing_is_left_of_connections_whatever_their_streams_were_doing(monkeypatch):
    ended = []
    run = Http2Connection.run

    async def noted(self, first: bytes) -> None:
        await run(self, first)
        ended.append(self)

    monkeypatch.setattr(Http2Connection, "run", noted)
    async with real_stack("timeouts: {stall: 20}") as stack:
        await stack.client.get("/healthz")
        stack.upstream.script = lambda r: long(r) if r.json["model"] == "long" else None
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(5):
            async with http2(stack, {SettingCodes.INITIAL_WINDOW_SIZE: LARGEST}) as client:
                client.is_taking = False
                await client.chat(1, chat("any/long", stream=True))
                await client.chat(3, chat("any/echo-h1", stream=True))
                await client.ask(5, method="POST", path="/v1/chat/completions")
                await client.until(1, h2.events.DataReceived)
        with trio.fail_after(5):
            while len(ended) < 5 or stack.upstream.open_streams:
                await trio.testing.wait_all_tasks_blocked()
            while trio.lowlevel.current_statistics().tasks_living > before:
                await trio.testing.wait_all_tasks_blocked()
        assert all(not c._streams and not c.waiting and not c._unsent for c in ended)


@pytest.mark.usefixtures("what_was_there_stands_aside")
async def test_nothing_of_a_connection_is_left_to_the_collector(monkeypatch):
    made = []
    run = Http2Connection.run

    async def noted(self, first: bytes) -> None:
        made.extend(weakref.ref(thing) for thing in (self, self.protocol, self.protocol._h2))
        await run(self, first)

    begin = Http2Connection._begin

    def noted_stream(self, event) -> None:
        begin(self, event)
        made.extend(weakref.ref(thing) for thing in self._streams[event.stream_id])

    monkeypatch.setattr(Http2Connection, "run", noted)
    monkeypatch.setattr(Http2Connection, "_begin", noted_stream)
    async with real_stack() as stack:
        gc.collect()
        gc.disable()
        try:
            async with http2(stack) as client:
                for number in (1, 3):
                    await client.chat(number, chat("any/echo", stream=number == 1))
                    await client.until(number, h2.events.StreamEnded)
                await client.ask(5, "/v1/chat/completions", "POST", **{"content-length": "9"})
                await client.chat(7, chat("any/echo-h1", stream=True))
                await client.until(7, h2.events.DataReceived)
                client.h2.reset_stream(7)
                await client.send()
            with trio.fail_after(5):
                while any(thing() is not None for thing in made):
                    await trio.testing.wait_all_tasks_blocked()
        finally:
            gc.enable()
    assert len(made) == 3 + 2 * 4


class TestBodies:
    async def test_a_refused_client_is_told_to_stop_though_its_body_has_not_come(self, monkeypatch):
        monkeypatch.setattr("trio_router.api.request._DRAIN_SECONDS", 0.05)
        async with real_stack("auth: {keys: [sk-web]}") as stack, http2(stack) as client:
            await client.ask(1, "/v1/chat/completions", "POST", **{"content-length": "1000000"})
            for _ in range(4):
                client.h2.send_data(1, b" " * 16000)
            await client.send()
            reset = await client.until(1, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.NO_ERROR
            assert client.status(1) == 401
            assert json.loads(client.body(1))["error"]["code"] == "invalid_api_key"

    async def test_a_body_over_the_limit_is_refused_and_its_client_told_to_stop(self, monkeypatch):
        monkeypatch.setattr("trio_router.api.request._DRAIN_SECONDS", 0.05)
        async with real_stack("server: {max_body: 100000}") as stack, http2(stack) as client:
            await client.ask(1, "/v1/chat/completions", "POST")
            for _ in range(12):
                client.h2.send_data(1, b" " * 10000)
                await client.send()
                while client.h2.local_flow_control_window(1) < 10000:
                    await client.receive()
            reset = await client.until(1, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.NO_ERROR
            assert client.status(1) == 413
            assert json.loads(client.body(1))["error"]["code"] == "request_too_large"

    async def test_a_long_body_comes_in_whole(self):
        text = "x" * 3_000_000
        async with real_stack() as stack, http2(stack) as client:
            stack.upstream.script = whole
            rest = json.dumps(chat("any/m", text)).encode()
            await client.ask(1, "/v1/chat/completions", "POST", **{"content-length": str(len(rest))})
            while rest:
                room = min(client.h2.local_flow_control_window(1), 16384)
                if not room:
                    await client.receive()
                    continue
                piece, rest = rest[:room], rest[room:]
                client.h2.send_data(1, piece, end_stream=not rest)
                await client.send()
            await client.until(1, h2.events.StreamEnded)
            assert stack.upstream.requests[0].json["messages"][0]["content"] == text

    async def test_an_upload_that_is_not_read_holds_back_only_itself(self):
        async with upload_stack() as stack:
            read = trio.Event()

            async def answer(seen):
                if len(stack.peer.seen) == 1:
                    await read.wait()
                await stack.peer.whole(seen)

            stack.peer.answer = answer
            async with http2(stack) as client:
                length = str(len(START) + (100 << 20) + len(b"\r\n" + END))
                fields = {"content-type": FORM, "content-length": length}
                await client.ask(1, TRANSCRIPTIONS, "POST", **fields)
                client.h2.send_data(1, START)
                sent = await self.fill(client, 100 << 20, patience=0.5)
                assert sent < 32 << 20  # what the kernel's buffers take
                for number in range(3, 23, 2):  # more than the connection's window holds
                    size = str(len(START) + 200_000 + len(b"\r\n" + END))
                    await client.ask(
                        number, TRANSCRIPTIONS, "POST", **fields | {"content-length": size}
                    )
                    client.h2.send_data(number, START)
                    assert await self.fill(client, 200_000, number) == 200_000
                    await self.end(client, number)
                    await client.until(number, h2.events.StreamEnded)
                    assert client.status(number) == 200
                read.set()
                assert sent + await self.fill(client, (100 << 20) - sent) == 100 << 20
                await self.end(client, 1)
                await client.until(1, h2.events.StreamEnded)
                assert client.status(1) == 200
                assert stack.peer.seen[0].size > 100 << 20

    async def end(self, client, number: int) -> None:
        last = b"\r\n" + END
        with trio.fail_after(20):
            while client.h2.local_flow_control_window(number) < len(last):
                await client.receive()
        client.h2.send_data(number, last, end_stream=True)
        await client.send()

    async def fill(self, client, size: int, number: int = 1, patience: float = 20) -> int:
        """Sends what goes of `size` bytes; how many that were."""
        sent = 0
        while sent < size:
            room = min(client.h2.local_flow_control_window(number), 16384, size - sent)
            if room:
                client.h2.send_data(number, b"a" * room)
                sent += room
                await client.send()
                continue
            with trio.move_on_after(patience) as limit:
                await client.receive()
            if limit.cancelled_caught:
                break
        return sent
