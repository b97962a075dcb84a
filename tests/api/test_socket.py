"""The Responses API over WebSocket, in memory under a virtual clock."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.booked import Booked
from tests.garbage import collected
from tests.stack import events as sse_events, memory_stack
from tests.websockets import ASK, SocketClient, text_of
from trio_router.demo import Answer, Send, sse
from trio_router.errors import Unauthorized

PROVIDERS = """
providers:
  any: {base_url: "http://upstream/v1"}
  ollama: {dialect: ollama, base_url: "http://upstream"}
  native: {base_url: "http://upstream/v1", responses: true}
"""
KEYED = "auth: {keys: [{name: web, key: sk-good}, {name: other, key: sk-other}]}"
OUTPUT = [{"type": "message", "id": "m", "role": "assistant", "content": []}]
NATIVE = [
    {"type": "response.created", "response": {"id": "resp_up", "x": 1.50}},
    {"type": "response.output_text.delta", "delta": "ä", "own": [1, 2.0]},
    {"type": "response.completed", "response": {"id": "resp_up", "output": OUTPUT}},
]

HEAD = b"\r\n".join(
    [
        b"GET /v1/responses HTTP/1.1",
        b"host: localhost",
        b"connection: Upgrade",
        b"upgrade: WebSocket",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        b"\r\n",
    ]
)


def ask(model="any/echo", **fields):
    return {**ASK, "model": model, **fields}


@asynccontextmanager
async def stacked(settings="", **more):
    async with memory_stack(settings, PROVIDERS, **more) as stack:
        yield stack


@asynccontextmanager
async def talking(stack, **headers):
    client = SocketClient(await stack.connect())
    assert await client.open(**headers) == 101
    try:
        yield client
    finally:
        await client.stream.aclose()


def native_answer(*events):
    text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return Answer(headers=[("content-type", "text/event-stream")], steps=[Send(text.encode())])


class TestHandshake:
    async def test_a_plain_get_is_not_allowed(self, autojump_clock):
        async with stacked() as stack:
            answer = await stack.client.get("/v1/responses")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"

    @pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-bad"}])
    async def test_the_key_is_checked_before_it(self, autojump_clock, headers):
        async with stacked(KEYED) as stack:
            client = SocketClient(await stack.connect())
            assert await client.open(**headers) == 401
        assert json.loads(client.body)["error"]["code"] == "invalid_api_key"

    async def test_where_it_is_off_the_answer_is_426_at_once(self, autojump_clock):
        async with stacked("server: {websocket: false}") as stack:
            began = trio.current_time()
            client = SocketClient(await stack.connect())
            assert await client.open() == 426
            assert trio.current_time() == began
        assert json.loads(client.body)["error"]["code"] == "upgrade_required"

    @pytest.mark.parametrize(
        ("given", "other"),
        [
            (b"sec-websocket-version: 13", b"sec-websocket-version: 8"),
            (b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", b"sec-websocket-key: short"),
            (b"HTTP/1.1", b"HTTP/1.0"),
        ],
    )
    async def test_an_offer_that_cannot_be_taken_is_426(self, autojump_clock, given, other):
        async with stacked() as stack:
            for data, status in ((HEAD, b"101"), (HEAD.replace(given, other), b"426")):
                connection = await stack.connect()
                await connection.send_all(data)
                answer = await connection.receive_some(4000)
                assert answer.split(b" ")[1] == status
                await connection.aclose()

    async def test_pages_of_other_sites_are_refused(self, autojump_clock):
        async with stacked() as stack:
            client = SocketClient(await stack.connect())
            assert await client.open(origin="https://evil.example") == 403
            own = SocketClient(await stack.connect())
            assert await own.open(origin="http://localhost:3000") == 101

    async def test_other_paths_have_none(self, autojump_clock):
        async with stacked() as stack:
            client = SocketClient(await stack.connect())
            assert await client.open("/v1/models") == 200

    async def test_a_message_right_behind_the_head_is_not_lost(self, autojump_clock):
        message = json.dumps(ask(input="x" * 200)).encode()
        frame = b"\x81\xfe" + len(message).to_bytes(2, "big") + b"\0\0\0\0" + message
        async with stacked() as stack:
            connection = await stack.connect()
            await connection.send_all(HEAD + frame)
            seen = b""
            with trio.fail_after(5):
                while b"response.completed" not in seen:
                    seen += await connection.receive_some(4000)
            await connection.aclose()
        assert seen.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")

    async def test_it_is_not_booked_but_each_response_is(self, autojump_clock):
        async with stacked(KEYED) as stack:
            booked = Booked(stack.router)
            async with talking(stack, authorization="Bearer sk-good") as client:
                for number in range(2):
                    await client.send(ask())
                    await client.response()
                    record = await booked.next()
                    assert (record.key, record.status, record.outcome) == ("web", 200, "completed")
                    assert (record.provider, record.chunks_processed > 2) == ("any", True)
                    assert len(booked.records) == number + 1
                await client.close()
            assert not stack.router.engine.running
        assert len({record.request_id for record in booked.records}) == 2


class TestResponses:
    @pytest.mark.parametrize("model", ["any/echo", "ollama/echo", "any/echo-ndjson"])
    async def test_the_events_are_those_of_the_stream_over_http(self, autojump_clock, model):
        body = {"model": model, "input": "Hallo, 世界", "stream": True}
        async with stacked() as stack, talking(stack) as client:
            answer = await stack.client.post("/v1/responses", json=body)
            await client.send(ask(model, input=body["input"]))
            mine = await client.response()
        theirs = sse_events(answer.content)
        assert [e["type"] for e in mine] == [e["type"] for e in theirs]
        assert text_of(mine) == text_of(theirs) == body["input"]
        assert [e["sequence_number"] for e in mine] == list(range(len(mine)))

    async def test_a_native_upstreams_events_pass_byte_for_byte(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            stack.upstream.script = lambda _: native_answer(*NATIVE)
            await client.send(ask("native/m", store=False, include=["reasoning.encrypted_content"]))
            assert await client.response() == NATIVE
            (request,) = stack.upstream.requests
        texts = [e.data for e in client.seen if hasattr(e, "data") and isinstance(e.data, str)]
        assert texts == [json.dumps(e) for e in NATIVE]
        assert request.json["stream"] is True
        assert request.json["include"] == ["reasoning.encrypted_content"]
        assert not request.json.keys() & {"type", "generate", "stream_id"}

    async def test_one_may_come_in_pieces_with_pings_between(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask(), pieces=7)
            assert text_of(await client.response()) == ASK["input"]

    async def test_several_are_answered_one_after_another(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            for number in range(12):  # more than may wait
                await client.send(ask(input=f"number {number}"))
            for number in range(12):
                assert stack.upstream.open_streams <= 1
                assert text_of(await client.response()) == f"number {number}"

    async def test_only_a_few_are_taken_in_while_one_runs(self, autojump_clock):
        taken = 0
        async with stacked(tight=True) as stack, talking(stack) as client:
            await client.send(ask("any/echo-h1"))
            await client.next()
            with trio.move_on_after(5) as limit:
                while taken < 50:
                    await client.send(ask())
                    taken += 1
        assert limit.cancelled_caught
        assert taken < 12

    async def test_a_lanes_events_name_it(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask(stream_id="a"))
            await client.send(ask("nowhere/x", stream_id="b"))
            assert {e["stream_id"] for e in await client.response()} == {"a"}
            (error,) = await client.response()
            assert (error["stream_id"], error["status"]) == ("b", 404)

    async def test_pings_are_answered_while_one_runs(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask("any/echo-h1"))
            assert (await client.next())["type"] == "response.created"
            await client.ping(b"abc")
            with trio.fail_after(1):
                assert await client.pong() == b"abc"

    async def test_silence_is_bridged_with_pings(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask("any/echo-d20000-c2"))
            await client.response()
            pings = [e for e in client.seen if type(e).__name__ == "Ping"]
            assert pings

    async def test_receipts_are_not_answered(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            booked = Booked(stack.router)
            await client.send({"type": "response.processed", "response_id": "resp_1"})
            await client.send(ask())
            assert text_of(await client.response()) == ASK["input"]
            await booked.next()
        assert len(booked.records) == 1


class TestGoingOn:
    async def test_from_a_response_of_the_connection(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask(instructions="Be brief.", input="one"))
            first = (await client.response())[-1]["response"]["id"]
            await client.send(
                ask(input=[{"role": "user", "content": "two"}], previous_response_id=first)
            )
            second = (await client.response())[-1]["response"]["id"]
            await client.send(ask(input="three", previous_response_id=second))
            await client.response()
            last = stack.upstream.requests[-1].json["messages"]
        said = [(m["role"], m["content"]) for m in last]
        assert said == [
            ("user", "one"),
            ("assistant", "one"),
            ("user", "two"),
            ("assistant", "two"),
            ("user", "three"),
        ]

    async def test_from_one_point_several_times(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask(input="one"))
            first = (await client.response())[-1]["response"]["id"]
            for text in ("two", "three"):
                await client.send(ask(input=text, previous_response_id=first))
                await client.response()
            last = stack.upstream.requests[-1].json["messages"]
        assert [m["content"] for m in last] == ["one", "one", "three"]

    async def test_from_a_request_that_was_only_prepared(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask(input="one", generate=False))
            prepared = await client.response()
            assert [e["type"] for e in prepared][-1] == "response.completed"
            assert prepared[-1]["response"]["output"] == []
            assert not stack.upstream.requests
            name = prepared[-1]["response"]["id"]
            await client.send(ask(input=[], previous_response_id=name))
            assert text_of(await client.response()) == "one"

    async def test_a_native_target_gets_the_whole_conversation_too(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            stack.upstream.script = lambda _: native_answer(*NATIVE)
            await client.send(ask("native/m", store=False, input="one"))
            await client.response()
            await client.send(ask("native/m", store=False, input="two", previous_response_id="resp_up"))
            await client.response()
            sent = stack.upstream.requests[-1].json
        assert "previous_response_id" not in sent
        assert [item.get("content") for item in sent["input"]] == ["one", [], "two"]

    async def test_output_that_the_end_does_not_tell_is_that_of_the_items(self, autojump_clock):
        done = {"type": "response.output_item.done", "item": OUTPUT[0]}
        end = {"type": "response.completed", "response": {"id": "resp_up", "status": "completed"}}
        async with stacked() as stack, talking(stack) as client:
            stack.upstream.script = lambda _: native_answer(NATIVE[0], done, end)
            await client.send(ask("native/m", input="one"))
            await client.response()
            await client.send(ask("native/m", input="two", previous_response_id="resp_up"))
            await client.response()
            sent = stack.upstream.requests[-1].json["input"]
        assert sent[1] == OUTPUT[0]

    async def test_what_the_connection_does_not_know_a_native_upstream_may(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            stack.upstream.script = lambda _: native_answer(*NATIVE)
            await client.send(ask("native/m", previous_response_id="resp_stored"))
            await client.response()
            assert stack.upstream.requests[-1].json["previous_response_id"] == "resp_stored"

    @pytest.mark.parametrize("given", ["resp_unknown", "of another connection"])
    async def test_for_others_it_is_not_found(self, autojump_clock, given):
        async with stacked() as stack, talking(stack) as client, talking(stack) as other:
            await other.send(ask())
            known = (await other.response())[-1]["response"]["id"]
            name = known if given.startswith("of") else given
            await client.send(ask(previous_response_id=name))
            (error,) = await client.response()
            await client.send(ask())
            assert text_of(await client.response()) == ASK["input"]
        assert (error["status"], error["error"]["code"]) == (400, "previous_response_not_found")

    async def test_conversations_that_are_too_large_are_forgotten(self, autojump_clock):
        async with stacked("server: {max_body: 4000}") as stack, talking(stack) as client:
            name = None
            for _ in range(9):
                await client.send(ask(input="x" * 300, previous_response_id=name))
                end = (await client.response())[-1]
                if end["type"] == "error":
                    break
                name = end["response"]["id"]
        assert end["error"]["code"] == "previous_response_not_found"

    async def test_a_response_that_failed_is_not_gone_on_from(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask("any/echo-e1-c3"))
            failed = (await client.response())[-1]
            assert failed["type"] == "response.failed"
            await client.send(ask(previous_response_id=failed["response"]["id"]))
            (error,) = await client.response()
        assert error["error"]["code"] == "previous_response_not_found"


class TestErrors:
    @pytest.mark.parametrize(
        ("message", "status", "code"),
        [
            ("no JSON", 400, "invalid_json"),
            ("[]", 400, "invalid_request"),
            ("{}", 400, "invalid_request"),
            ({"type": "session.update"}, 400, "invalid_request"),
            ({"type": "response.create", "input": "x"}, 400, "invalid_request"),
            (ask("nowhere/x"), 404, "model_not_found"),
            (ask("nowhere/x", generate=False), 404, "model_not_found"),
            (ask(input=3), 400, "invalid_request"),
            (ask(max_tokens=3), 400, "invalid_request"),
            (ask("any/echo-r429"), 429, "scripted"),
            (ask("any/echo-r500"), 500, "scripted"),
            (ask("any/echo-x0"), 503, "provider_network_error"),
        ],
    )
    async def test_one_is_an_event_and_the_connection_goes_on(
        self, autojump_clock, message, status, code
    ):
        async with stacked() as stack, talking(stack) as client:
            await client.send(message)
            (error,) = await client.response()
            await client.send(ask())
            assert text_of(await client.response()) == ASK["input"]
        assert error["type"] == "error"
        assert (error["status"], error["error"]["code"]) == (status, code)
        assert error["headers"]["x-request-id"]
        assert ("retry-after" in error["headers"]) is (status == 429)

    @pytest.mark.parametrize("model", ["any/echo-e1-c3", "any/echo-t1-c3", "any/echo-x1-c3"])
    async def test_in_the_middle_it_is_told_and_no_end_is_made_up(self, autojump_clock, model):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask(model))
            kinds = [e["type"] for e in await client.response()]
            await client.send(ask())
            assert text_of(await client.response()) == ASK["input"]
        assert kinds[-2:] == ["error", "response.failed"]
        assert "response.completed" not in kinds

    async def test_that_of_a_native_upstream_has_the_shape_that_ends_a_turn(self, autojump_clock):
        """In a stream the connection's end is the turn's; here a client would go on waiting."""
        told = {"sequence_number": 3, "type": "error", "code": "server_error", "message": "it broke"}
        async with stacked() as stack, talking(stack) as client:
            stack.upstream.script = lambda _: native_answer(*NATIVE[:2], told)
            await client.send(ask("native/m", store=False))
            *_, end = [await client.next() for _ in range(3)]
            stack.upstream.script = lambda _: native_answer(*NATIVE)
            await client.send(ask("native/m", store=False))
            assert await client.response() == NATIVE
        error = {"type": "server_error", "code": "server_error", "message": "it broke", "param": None}
        assert end == {**told, "status": 500, "error": error}

    async def test_a_message_that_is_too_large_is_refused_and_the_connection_closed(
        self, autojump_clock
    ):
        async with stacked("server: {max_body: 5000}") as stack, talking(stack) as client:
            await client.send(ask(input="x" * 4000))
            await client.response()
            await client.send(ask(input="x" * 9000), pieces=5)
            (error,) = await client.response()
            assert await client.next() is None
        assert (error["status"], error["error"]["code"]) == (413, "request_too_large")
        assert client.closed == 1009

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (b"\x81\x81\0\0\0\0\xff", 1007),
            (b"\x82\x81\0\0\0\0x", 1003),
            (b"\x81\x01x", 1002),
            (b"\x88\x80\0\0\0\0", 1000),
        ],
    )
    async def test_what_breaks_the_protocol_ends_all(self, autojump_clock, frame, code):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask("any/echo-h1"))
            assert (await client.next())["type"] == "response.created"
            await client.stream.send_all(frame)
            with trio.fail_after(1):
                await stack.upstream.wait_closed_early()
                while await client.next() is not None:
                    pass
        assert client.closed == code

    async def test_a_message_that_does_not_come_is_given_up(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.stream.send_all(b"\x01\x81\0\0\0\0{")
            began = trio.current_time()
            assert await client.next() is None
            assert trio.current_time() - began < 130
        assert client.closed == 1008

    async def test_a_key_that_was_withdrawn_is_refused_at_the_next_message(self, autojump_clock):
        async with stacked(KEYED) as stack:
            async with talking(stack, authorization="Bearer sk-good") as client:
                await client.send(ask())
                await client.response()
                stack.router.generation.keys.check = _refuse
                await client.send(ask())
                (error,) = await client.response()
        assert error["status"] == 401


def _refuse(*_):
    raise Unauthorized("no")


class TestLeaving:
    @pytest.mark.parametrize("how", ["close", "cut"])
    @pytest.mark.parametrize(
        "model", ["any/echo-f9000", "any/echo-h1", "any/echo-d100-c300", "ollama/echo-h1"]
    )
    async def test_releases_the_upstream_at_once(self, autojump_clock, model, how):
        async with stacked() as stack:
            booked = Booked(stack.router)
            async with talking(stack) as client:
                await client.send(ask(model))
                if "f9000" not in model:
                    await client.next()
                await stack.upstream.wait_open(1)
                left = trio.current_time()
                await (client.close() if how == "close" else client.stream.aclose())
                await stack.upstream.wait_closed_early()
                record = await booked.next()
            assert trio.current_time() == left
        assert record.outcome == "client_gone"
        assert not stack.router.engine.running

    async def test_drops_the_messages_that_wait(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            await client.send(ask("any/echo-h1"))
            await client.send(ask())
            await stack.upstream.wait_open(1)
            await client.close()
            await stack.upstream.wait_closed_early()
            await trio.sleep(100)
        assert len(stack.upstream.requests) == 1

    async def test_between_two_responses_is_no_ones_fault(self, autojump_clock):
        async with stacked() as stack:
            booked = Booked(stack.router)
            async with talking(stack) as client:
                await client.send(ask())
                await client.response()
                await client.close()
                assert await client.next() is None
            assert (await booked.next()).outcome == "completed"
            await trio.testing.wait_all_tasks_blocked()
        assert client.closed == 1000
        assert len(booked.records) == 1

    async def test_a_client_that_takes_nothing_slows_the_upstream_and_is_given_up(self, autojump_clock):
        sent = []

        def endless():
            while True:
                sent.append(1)
                yield sse({"choices": [{"index": 0, "delta": {"content": "x" * 1000}}]}, done=False)[0]

        async with stacked(tight=True) as stack:
            booked = Booked(stack.router)
            head = [("content-type", "text/event-stream")]
            stack.upstream.script = lambda _: Answer(headers=head, steps=endless())
            async with talking(stack) as client:
                await client.send(ask("any/m"))
                await client.next()
                with trio.fail_after(100):
                    await stack.upstream.wait_closed_early()
                record = await booked.next()
        assert record.outcome == "client_stalled"
        assert len(sent) < 60


class TestTheEnd:
    async def test_a_running_response_ends_and_the_connection_is_closed(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client, trio.open_nursery() as nursery:
            await client.send(ask("any/echo-d1000-c5"))
            await client.next()
            nursery.start_soon(stack.router.drain, 30)
            events = await client.response()
            assert events[-1]["type"] == "response.completed"
            await client.send(ask())
            (error,) = await client.response()
        assert (error["status"], error["error"]["code"]) == (503, "draining")

    async def test_a_response_that_takes_too_long_is_told_so(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client, trio.open_nursery() as nursery:
            await client.send(ask("any/echo-d9000-c50"))
            await client.next()
            nursery.start_soon(stack.router.drain, 5)
            kinds = [e["type"] for e in await client.response()]
        assert kinds[-2:] == ["error", "response.failed"]

    async def test_an_idle_connection_is_pinged_and_at_last_closed(self, autojump_clock):
        async with stacked() as stack, talking(stack) as client:
            began = trio.current_time()
            assert await client.next() is None
            assert 3500 < trio.current_time() - began < 3800
        assert client.closed == 1001
        assert sum(type(e).__name__ == "Ping" for e in client.seen) > 50

    @pytest.mark.usefixtures("what_was_there_stands_aside")
    async def test_nothing_is_left_to_the_collector(self, autojump_clock):
        async def scenario(stack, *, cuts):
            client = SocketClient(await stack.connect())
            await client.open()
            await client.send(ask())
            end = (await client.response())[-1]
            await client.send(ask("nowhere/x"))
            await client.response()
            await client.send(ask("any/echo-h1", previous_response_id=end["response"]["id"]))
            await client.next()
            if not cuts:
                await client.close()
                while await client.next() is not None:
                    pass
            await client.stream.aclose()
            await trio.sleep(1)

        async with stacked() as stack:
            for cuts in (True, False):
                await scenario(stack, cuts=cuts)
            stack.upstream.requests.clear()
            with collected() as garbage:
                for cuts in (True, False):
                    await scenario(stack, cuts=cuts)
                await trio.sleep(100)
                await trio.testing.wait_all_tasks_blocked()
        assert not garbage.ours, str(garbage)
