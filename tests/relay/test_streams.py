"""What a client's stream is, through the whole router in memory."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings, strategies as st

from tests.chunks import HELLO, NDJSON, SSE, STOP, delta
from tests.stack import chat, events, memory_stack, text_of
from trio_router.demo import Abort, Answer, Close, Send, Sleep, cut, ndjson, sse
from trio_router.observe.record import Outcome


async def streamed(stack, model="any/m", **fields):
    async with stack.stream(chat(model, **fields)) as response:
        body = await response.aread()
    return response, events(body)


async def answered(answer, model="any/m", settings="", **fields):
    """The response, its events and the request's record, for one scripted answer."""
    async with memory_stack(settings) as stack:
        stack.upstream.script = lambda _: answer
        booked = []
        stack.router.engine.consumers = [booked.append]
        response, items = await streamed(stack, model, **fields)
    return response, items, booked[0]


async def test_a_stream_comes_through_with_the_promised_headers(autojump_clock):
    async with memory_stack() as stack:
        response, items = await streamed(stack, "deepseek/chat", text="Привет, 世界 👋🏽")
        asked = stack.upstream.requests[0]
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-trio-router-target"] == "deepseek/chat"
    assert response.headers["x-trio-router-attempts"] == "1"
    assert text_of(items) == "Привет, 世界 👋🏽"
    assert items.count("[DONE]") == 1
    assert items[-1] == "[DONE]"
    assert asked.json["model"] == "echo"
    assert asked.headers["authorization"] == "Bearer sk-upstream-secret"


@pytest.mark.parametrize(
    "model", ["any/echo-s1", "ollama/echo-s1", "any/echo-ndjson-s1", "any/echo-crlf-s1"]
)
@pytest.mark.parametrize(
    "text", ["Съешь ещё этих мягких", "日本語のテキスト", "مرحبا بالعالم", "👩‍👩‍👧‍👦🏳️‍🌈👋🏽"]
)
async def test_characters_torn_at_every_byte_arrive_whole(model, text, autojump_clock):
    async with memory_stack() as stack:
        _, items = await streamed(stack, model, text=text)
    assert text_of(items) == text
    assert items[-1] == "[DONE]"


async def test_the_json_of_each_event_passes_byte_for_byte(autojump_clock):
    choice = b'{"delta":{"content":"a\\u00e9\\ud83d"},"index":0}'
    odd = b'{"id":"x" ,"choices":[ %b],"new":[1e400,18446744073709551617, 1.10]}' % choice
    answer = Answer(headers=SSE, steps=[Send(b"data:" + odd + b"\r\n\r\n"), *sse(STOP)])
    async with memory_stack() as stack:
        stack.upstream.script = lambda _: answer
        async with stack.stream(chat("any/m")) as response:
            body = await response.aread()
    assert b"data: " + odd + b"\n\n" in body


async def test_event_names_ids_and_retry_pass_through(autojump_clock):
    answer = Answer(
        headers=SSE,
        steps=[
            Send(b"event: x\nid: 7\nretry: 9\ndata: " + json.dumps(delta("a")).encode() + b"\n\n"),
            *sse(STOP),
        ],
    )
    async with memory_stack() as stack:
        stack.upstream.script = lambda _: answer
        async with stack.stream(chat("any/m")) as response:
            body = await response.aread()
    assert body.startswith(b"event: x\nid: 7\nretry: 9\ndata: {")


async def test_a_line_separator_inside_json_survives(autojump_clock):
    text = "a\u2028b\u2029c\u0085d"
    steps = [Send(f"data: {json.dumps(delta(text), ensure_ascii=False)}\n\n".encode()), *sse(STOP)]
    _, items, _ = await answered(Answer(headers=SSE, steps=steps))
    assert text_of(items) == text


@pytest.mark.parametrize("model", ["any/m", "ollama/m"])
@pytest.mark.parametrize(
    "content_type", ["text/event-stream", "application/x-ndjson", "application/json", None]
)
@pytest.mark.parametrize(
    "shape",
    ["openai-sse", "openai-ndjson", "ollama-ndjson", "ollama-sse", "openai-json", "ollama-json"],
)
async def test_the_format_is_seen_not_assumed(model, content_type, shape, autojump_clock):
    ollama = [
        {"model": "m", "message": {"role": "assistant", "content": "he"}, "done": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": "llo"},
            "done": True,
            "done_reason": "stop",
        },
    ]
    steps = {
        "openai-sse": sse(delta("he"), delta("llo"), STOP),
        "openai-ndjson": ndjson(delta("he"), delta("llo"), STOP),
        "ollama-ndjson": ndjson(*ollama),
        "ollama-sse": sse(*ollama, done=False),
        "openai-json": [
            Send(
                json.dumps(
                    {
                        "object": "chat.completion",
                        "choices": [
                            {
                                "index": 0,
                                "message": {"role": "assistant", "content": "hello"},
                                "finish_reason": "stop",
                            }
                        ],
                    },
                    indent=1,
                ).encode()
            )
        ],
        "ollama-json": [Send(json.dumps({**ollama[1], "message": {"content": "hello"}}).encode())],
    }[shape]
    headers = () if content_type is None else (("content-type", content_type),)
    _, items, record = await answered(Answer(headers=headers, steps=steps), model)
    assert text_of(items) == "hello"
    assert items[-1] == "[DONE]"
    assert record.outcome == Outcome.COMPLETED
    if shape.endswith("sse"):
        assert record.format == "sse"


async def test_blank_keep_alive_lines_before_a_whole_answer_are_skipped(autojump_clock):
    whole = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
    }
    steps = [Send(b"\n"), Sleep(5), Send(b"\n\n"), Send(json.dumps(whole).encode())]
    _, items, _ = await answered(Answer(headers=SSE, steps=steps))
    assert text_of(items) == "hi"


async def test_a_whole_answer_whose_content_is_an_object_is_streamed_as_its_json(autojump_clock):
    said = {"name": "Åse", "size": 3}
    choice = {"index": 0, "message": {"content": said}, "finish_reason": "stop"}
    whole = {"object": "chat.completion", "choices": [choice]}
    _, items, _ = await answered(Answer(headers=SSE, steps=[Send(json.dumps(whole).encode())]))
    assert json.loads(text_of(items)) == said


class TestTheEnd:
    async def test_a_finish_reason_without_done_gets_its_done(self, autojump_clock):
        _, items, record = await answered(Answer(headers=SSE, steps=sse(delta("a"), STOP, done=False)))
        assert items[-1] == "[DONE]"
        assert record.outcome == Outcome.COMPLETED

    async def test_an_end_without_done_or_finish_is_a_truncation(self, autojump_clock):
        response, items, record = await answered(Answer(headers=SSE, steps=sse(delta("a"), done=False)))
        assert response.status_code == 200
        assert text_of(items) == "a"
        assert items[-1]["error"]["code"] == "upstream_truncated"
        assert "[DONE]" not in items
        assert record.outcome == Outcome.TRUNCATED

    async def test_a_lenient_provider_may_just_end(self, autojump_clock):
        import trio

        from tests.stack import Stack, config

        text = 'providers: {any: {base_url: "http://upstream/v1", lenient_end: true}}'
        async with trio.open_nursery() as nursery:
            stack = Stack(nursery, config("", text))
            stack.upstream.script = lambda _: Answer(headers=SSE, steps=sse(delta("a"), done=False))
            _, items = await streamed(stack)
            nursery.cancel_scope.cancel()
        assert items[-1] == "[DONE]"

    @pytest.mark.parametrize("last", [Abort(), Close()])
    async def test_a_broken_connection_after_the_first_event_is_a_truncation(
        self, last, autojump_clock
    ):
        _, items, record = await answered(
            Answer(headers=SSE, steps=[*sse(delta("a"), done=False), Sleep(1), last])
        )
        assert text_of(items) == "a"
        assert items[-1]["error"]["code"] == "upstream_truncated"
        assert record.outcome == Outcome.TRUNCATED

    async def test_a_broken_connection_after_the_finish_loses_nothing(self, autojump_clock):
        steps = [*sse(delta("a"), STOP, done=False), Sleep(1), Close()]
        _, items, record = await answered(Answer(headers=SSE, steps=steps))
        assert items[-1] == "[DONE]"
        assert record.outcome == Outcome.COMPLETED

    @pytest.mark.parametrize("tail", [b"", b"\n"])
    async def test_a_last_event_without_its_blank_line_is_not_lost(self, tail, autojump_clock):
        steps = [*sse(delta("a"), done=False), Send(b"data: " + json.dumps(STOP).encode() + tail)]
        _, items, _ = await answered(Answer(headers=SSE, steps=steps))
        assert items[-2] == STOP
        assert items[-1] == "[DONE]"

    async def test_a_last_record_without_its_line_end_is_not_lost(self, autojump_clock):
        steps = [
            Send(b'{"message":{"content":"a"},"done":false}\n{"message":{"content":"b"},"done":true}')
        ]
        _, items, _ = await answered(Answer(headers=NDJSON, steps=steps), "ollama/m")
        assert text_of(items) == "ab"
        assert items[-1] == "[DONE]"

    async def test_what_comes_after_done_is_not_passed_on(self, autojump_clock):
        _, items, _ = await answered(Answer(headers=SSE, steps=[*sse(STOP), *sse(delta("late"))]))
        assert items == [STOP, "[DONE]"]

    async def test_an_upstream_that_never_closes_after_done_does_not_hold_the_client(
        self, autojump_clock
    ):
        import trio

        began = trio.current_time()
        _, items, _ = await answered(Answer(headers=SSE, steps=[*sse(STOP), Sleep(3600)]))
        assert items[-1] == "[DONE]"
        assert trio.current_time() - began < 1


class TestErrorsBeforeTheFirstEvent:
    @pytest.mark.parametrize(
        ("steps", "status", "code"),
        [
            (sse({"error": {"message": "busy"}}), 502, "provider_stream_error"),
            ([Send(b'event: error\ndata: {"message": "busy"}\n\n')], 502, "provider_stream_error"),
            ([Send(b"event: error\ndata: busy\n\n")], 502, "provider_stream_error"),
            ([Send(b'event: error\ndata: "busy"\n\n')], 502, "provider_stream_error"),
            ([Send(b"data: {nonsense\n\n")], 502, "malformed_json"),
            ([Send(b"data: 17\n\n")], 502, "malformed_json"),
            ([Send(b"<html>busy</html>")], 502, "malformed_json"),
            ([], 502, "upstream_truncated"),
            ([Abort()], 503, "provider_network_error"),
            ([Close()], 503, "provider_network_error"),
            (ndjson({"error": "busy"}), 502, "provider_stream_error"),
        ],
    )
    async def test_is_an_http_error(self, steps, status, code, autojump_clock):
        response, _, record = await answered(Answer(headers=(), steps=steps))
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, code)
        assert set(error) == {"message", "type", "code", "param"}
        assert record.error_code == code
        if code == "provider_stream_error":
            assert error["message"] == "busy"

    async def test_the_upstreams_own_status_code_and_message_are_kept(self, autojump_clock):
        from trio_router.demo import error_answer

        answer = error_answer(429, "slow down", "rate_limited", headers=(("retry-after", "7"),))
        response, _, record = await answered(answer)
        assert response.status_code == 429
        assert response.json()["error"] == {
            "message": "slow down",
            "type": "rate_limit_error",
            "code": "rate_limited",
            "param": None,
        }
        assert response.headers["retry-after"] == "7"
        assert record.outcome == Outcome.UPSTREAM_ERROR

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refused_router_key_is_not_the_clients_fault(self, status, autojump_clock):
        from trio_router.demo import error_answer

        response, _, _ = await answered(
            error_answer(status, "bad key sk-upstream-secret", "invalid_api_key"), "deepseek/chat"
        )
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "provider_auth_error"
        assert "sk-upstream-secret" not in response.text

    async def test_a_key_that_the_upstream_repeats_never_reaches_the_client(self, autojump_clock):
        from trio_router.demo import error_answer

        response, _, _ = await answered(
            error_answer(400, "no: sk-upstream-secret!", "x"), "deepseek/chat"
        )
        assert response.json()["error"]["message"] == "no: ***!"

    async def test_a_refused_connection_is_a_network_error(self, autojump_clock):
        text = 'providers: {gone: {base_url: "http://nowhere/v1"}}'
        import trio

        from tests.stack import Stack, config

        async with trio.open_nursery() as nursery:
            stack = Stack(nursery, config("", text))
            response = await stack.ask(chat("gone/m", stream=True))
            nursery.cancel_scope.cancel()
        assert (response.status_code, response.json()["error"]["code"]) == (
            503,
            "provider_network_error",
        )


class TestErrorsAfterTheFirstEvent:
    @pytest.mark.parametrize(
        ("steps", "code", "outcome"),
        [
            (sse({"error": {"message": "busy"}}), "provider_stream_error", Outcome.UPSTREAM_ERROR),
            (
                [Send(b'event: error\ndata: {"message": "busy"}\n\n')],
                "provider_stream_error",
                Outcome.UPSTREAM_ERROR,
            ),
            ([Send(b"data: {nonsense\n\n"), *sse(STOP)], "malformed_json", Outcome.UPSTREAM_ERROR),
            ([Send(b"data: " + b"x" * 3000)], "event_too_large", Outcome.UPSTREAM_ERROR),
        ],
    )
    @pytest.mark.parametrize("together", [False, True])
    async def test_is_the_last_event_and_no_done_follows(
        self, steps, code, outcome, together, autojump_clock
    ):
        steps = [*sse(delta("a"), done=False), *steps]
        if together:  # one read or many: the client sees the same
            steps = [Send(b"".join(s.data for s in steps))]
        response, items, record = await answered(
            Answer(headers=SSE, steps=steps), settings="stream: {max_event: 2000}"
        )
        assert response.status_code == 200
        assert text_of(items) == "a"
        assert items[-1]["error"]["code"] == code
        assert "[DONE]" not in items
        assert record.outcome == outcome

    async def test_a_malformed_event_may_be_skipped(self, autojump_clock):
        steps = [*sse(delta("a"), done=False), Send(b"data: {nonsense\n\n"), *sse(delta("b"), STOP)]
        _, items, record = await answered(
            Answer(headers=SSE, steps=steps), settings="stream: {malformed_event: skip}"
        )
        assert text_of(items) == "ab"
        assert items[-1] == "[DONE]"
        assert (record.chunks_failed, record.json_errors) == (1, 1)

    async def test_bad_utf8_becomes_replacement_characters_and_is_counted(self, autojump_clock):
        bad = json.dumps(delta("a?b")).encode().replace(b"?", b"\xe2\x82\xff")
        steps = [Send(b"data: " + bad + b"\n\n"), *sse(STOP)]
        _, items, record = await answered(Answer(headers=SSE, steps=steps))
        assert text_of(items) == "a\ufffd\ufffdb"
        assert items[-1] == "[DONE]"
        assert record.unicode_errors == 2

    async def test_bad_utf8_may_end_the_stream(self, autojump_clock):
        bad = json.dumps(delta("a?b")).encode().replace(b"?", b"\xff")
        steps = [*sse(delta("a"), done=False), Send(b"data: " + bad + b"\n\n"), *sse(STOP)]
        _, items, _ = await answered(
            Answer(headers=SSE, steps=steps), settings="stream: {invalid_utf8: error}"
        )
        assert items[-1]["error"]["code"] == "malformed_utf8"


class TestUsage:
    USAGE = {
        **HELLO,
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }

    async def test_is_always_asked_for_and_taken_out_if_the_client_did_not_ask(self, autojump_clock):
        async with memory_stack() as stack:
            stack.upstream.script = lambda _: Answer(
                headers=SSE, steps=sse(delta("a"), STOP, self.USAGE)
            )
            _, items = await streamed(stack)
            asked = stack.upstream.requests[0].json
        assert asked["stream_options"] == {"include_usage": True}
        assert items == [delta("a"), STOP, "[DONE]"]

    async def test_reaches_the_client_that_asked(self, autojump_clock):
        _, items, record = await answered(
            Answer(headers=SSE, steps=sse(STOP, self.USAGE)), stream_options={"include_usage": True}
        )
        assert items == [STOP, self.USAGE, "[DONE]"]
        assert (record.prompt_tokens, record.completion_tokens) == (3, 4)

    async def test_beside_choices_it_stays(self, autojump_clock):
        both = {**STOP, "usage": self.USAGE["usage"]}
        _, items, _ = await answered(Answer(headers=SSE, steps=sse(both)))
        assert items == [both, "[DONE]"]

    async def test_other_stream_options_are_kept(self, autojump_clock):
        async with memory_stack() as stack:
            await streamed(stack, "any/echo", stream_options={"include_obfuscation": False})
            asked = stack.upstream.requests[0].json
        assert asked["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=6),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    ndjson_too=st.booleans(),
    offsets=st.lists(st.integers(0, 2000), max_size=8),
)
async def test_any_text_in_any_pieces_arrives_as_it_was_sent(
    texts, end, ndjson_too, offsets, autojump_clock
):
    if ndjson_too:
        records = [{"message": {"content": t}, "done": False} for t in texts]
        lines = [*records, {"message": {"content": ""}, "done": True}]
        body = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in lines)
    else:
        frames = [json.dumps(c, ensure_ascii=False) for c in [*map(delta, texts), STOP]]
        body = "".join(f"data: {f}{end}: comment{end}{end}" for f in [*frames, "[DONE]"])
    data = body.encode()
    answer = Answer(headers=SSE, steps=cut(data, sorted({o for o in offsets if 0 < o < len(data)})))
    _, items, _ = await answered(answer)
    assert text_of(items) == "".join(texts)
    assert items[-1] == "[DONE]"
