"""False ends, openings, trickles and refusals of providers, as the clients of each API see them."""

from __future__ import annotations

import json

import pytest
import trio

from tests.chunks import HELLO, NDJSON, SSE, STOP, delta
from tests.relay.routes import TARGETS, good, scene
from tests.stack import Stack, chat, config, events
from trio_router.demo import Abort, Answer, Hang, Send, Sleep, error_answer, json_answer, ndjson, sse

ROLE = {**HELLO, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
USAGE = {**HELLO, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}
DONE = Send(b"data: [DONE]\n\n")
APIS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions")
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


def streaming(*steps) -> Answer:
    return Answer(headers=SSE, steps=steps)


def named(*values) -> list[Send]:
    """Events with their type as their name."""
    return [Send(f"event: {v['type']}\ndata: {json.dumps(v)}\n\n".encode()) for v in values]


def call(arguments: str, index: int = 0, name: str | None = "f") -> dict:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece = {"index": index, "function": function} | ({"id": f"c{index}"} if name else {})
    return {**HELLO, "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}


def asking(path: str, *, stream: bool = True, model: str = "any/m") -> dict:
    told = {"model": model, "stream": stream}
    match path:
        case "/v1/responses":
            return {**told, "input": "hi"}
        case "/v1/completions":
            return {**told, "prompt": "hi"}
        case "/v1/messages":
            told["max_tokens"] = 9
    return {**told, "messages": [{"role": "user", "content": "hi"}]}


PROVIDERS = """
providers:
  any: {base_url: "http://upstream/v1", api_key: sk-upstream-secret-1, completions: false}
  ollama: {dialect: ollama, base_url: "http://upstream"}
  claude: {dialect: anthropic, base_url: "http://upstream/v1"}
  native: {base_url: "http://upstream/v1", responses: true}
"""


async def ask(answer: Answer, path: str = APIS[0], settings: str = "", **fields):
    """The response to one request, and its record."""
    async with trio.open_nursery() as nursery:
        stack = Stack(nursery, config(settings, PROVIDERS))
        stack.upstream.script = lambda _: answer
        booked: list = []
        stack.router.engine.consumers = [booked.append]
        response = await stack.client.post(path, json={**asking(path), **fields}, timeout=10_000)
        nursery.cancel_scope.cancel()
    return response, booked[0]


def code_of(response) -> str:
    """The code of an error answer, or of the event that ends a stream badly; else empty."""
    if response.status_code != 200:
        error = response.json()["error"]
        return str(error.get("code") or error.get("type"))
    last = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    found = [value["error"] for value in last if value.get("error")]
    return str(found[-1].get("code") or found[-1].get("type")) if found else ""


EMPTY = {
    "only [DONE]": streaming(DONE),
    "usage and [DONE]": streaming(*sse(USAGE)),
    "an opening and [DONE]": streaming(*sse(ROLE)),
    "empty pieces and [DONE]": streaming(*sse(ROLE, delta(""), delta(None))),
    "no choices": json_answer({"object": "chat.completion", "choices": []}),
    "choices null": json_answer({"object": "chat.completion", "choices": None}),
    "no message": json_answer({"choices": [{"index": 0, "message": None, "finish_reason": None}]}),
    "an empty message": json_answer({"choices": [{"message": {"role": "assistant", "content": ""}}]}),
}


class TestWhatSaysNothing:
    @pytest.mark.parametrize("path", APIS)
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("kind", EMPTY)
    async def test_it_is_an_error_in_every_api(self, kind, stream, path, autojump_clock):
        response, record = await ask(EMPTY[kind], path, stream=stream)
        assert response.status_code == 502
        if path != "/v1/messages":
            assert response.json()["error"]["code"] == "upstream_empty"
        assert record.error_code == "upstream_empty"
        assert record.first_event_at is None or not stream

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("kind", EMPTY)
    async def test_a_route_asks_again_and_elsewhere(self, kind, stream, autojump_clock):
        async with scene() as s:
            s.script("x", EMPTY[kind])
            s.script("y", good())
            seen = await s.ask(stream=stream)
            assert [m for m, _ in s.asked] == ["x", "x", "x", "y"]
            assert seen.status == 200
            assert b"good" in seen.body

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_message_of_anthropics_too(self, path, stream, autojump_clock):
        answer = streaming(*named(START, {"type": "message_stop"}))
        response, record = await ask(answer, path, model="claude/m", stream=stream)
        assert (response.status_code, record.error_code) == (502, "upstream_empty")
        whole = json_answer(START["message"])
        response, record = await ask(whole, path, model="claude/m", stream=stream)
        assert (response.status_code, record.error_code) == (502, "upstream_empty")

    @pytest.mark.parametrize("path", APIS)
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize(
        "answer",
        [streaming(*sse(STOP)), streaming(*sse(STOP, done=False)), json_answer({"choices": [
            {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]})],
    )  # fmt: skip
    async def test_a_finish_reason_alone_is_an_answer(self, answer, stream, path, autojump_clock):
        response, record = await ask(answer, path, stream=stream)
        assert (response.status_code, record.outcome) == (200, "completed")

    @pytest.mark.parametrize("path", APIS)
    @pytest.mark.parametrize("stream", [True, False])
    async def test_the_finish_reason_error_is_an_error(self, stream, path, autojump_clock):
        choice = {"index": 0, "finish_reason": "error", "error": {"code": 503, "message": "fell over"}}
        for answer in (
            streaming(*sse(ROLE, {**HELLO, "choices": [{**choice, "delta": {"content": ""}}]})),
            json_answer({"choices": [{**choice, "message": {"content": "so far"}}]}),
        ):
            response, _ = await ask(answer, path, stream=stream)
            assert response.status_code == 503
            assert b"fell over" in response.content
        said = [delta("a"), {**HELLO, "choices": [{**choice, "delta": {"content": ""}}]}]
        response, _ = await ask(streaming(*sse(*said)), path)
        assert response.status_code == 200
        assert b"fell over" in response.content
        assert b"[DONE]" not in response.content


CUT = {
    "a string": [call('{"city": "Par')],
    "in two pieces": [call('{"city"'), call(': "Par', name=None)],
    "an escape": [call('{"city": "Par\\')],
    "an object": [call('{"city": {"name": "Paris"}')],
    "nothing yet": [call("")],
    "the second": [call("{}"), call('{"a": ', index=1)],
    "a word": [call("tru")],
}


class TestNoEndIsMadeUp:
    @pytest.mark.parametrize("path", APIS[:3])
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("lenient", [True, False])
    @pytest.mark.parametrize("kind", CUT)
    async def test_arguments_that_are_cut_are_truncated(
        self, kind, lenient, stream, path, autojump_clock
    ):
        response, record = await ask(streaming(*sse(*CUT[kind])), path, stream=stream)
        assert record.error_code == "upstream_truncated"
        assert b"[DONE]" not in response.content
        for false in (b'"stop_reason":"tool_use"', b"message_stop", b"response.completed"):
            assert false not in response.content

    @pytest.mark.parametrize("path", APIS[:3])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_of_a_whole_body_too(self, stream, path, autojump_clock):
        calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "b'}}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        answer = json_answer({"choices": [{"index": 0, "message": message, "finish_reason": None}]})
        _, record = await ask(answer, path, stream=stream)
        assert record.error_code == "upstream_truncated"

    @pytest.mark.parametrize("path", APIS[:2])
    async def test_of_anthropics_too(self, path, autojump_clock):
        block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
        piece = {"type": "input_json_delta", "partial_json": '{"city": "Par'}
        answer = streaming(
            *named(
                START,
                {"type": "content_block_start", "index": 0, "content_block": block},
                {"type": "content_block_delta", "index": 0, "delta": piece},
                {"type": "message_stop"},
            )
        )
        _, record = await ask(answer, path, model="claude/m")
        assert record.error_code == "upstream_truncated"

    @pytest.mark.parametrize("path", APIS[:3])
    async def test_arguments_that_are_whole_are_an_end(self, path, autojump_clock):
        whole = call('{"city": "a } \\" [ b", "n": [1, {}]}')
        response, record = await ask(streaming(*sse(whole)), path)
        assert record.outcome == "completed"
        if path == "/v1/messages":
            assert '"stop_reason":"tool_use"' in response.text
        if path == "/v1/responses":
            assert "response.completed" in response.text

    @pytest.mark.parametrize("path", APIS[:3])
    async def test_a_finish_reason_is_believed(self, path, autojump_clock):
        last = {**HELLO, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
        _, record = await ask(streaming(*sse(call('{"city": "Par'), last)), path)
        assert record.outcome == "completed"

    @pytest.mark.parametrize("stream", [True, False])
    async def test_text_without_a_reason_passes_and_gets_none(self, stream, autojump_clock):
        answer = streaming(*sse(delta("so")))
        told = {}
        for path in APIS:
            response, record = await ask(answer, path, stream=stream)
            assert record.outcome == "completed"
            told[path] = response.text
        for path in (APIS[0], APIS[3]):
            assert '"stop"' not in told[path]
        assert '"stop_reason":null' in told["/v1/messages"]
        assert "end_turn" not in told["/v1/messages"]
        assert '"status":"incomplete"' in told["/v1/responses"]
        assert '"status":"completed"' not in told["/v1/responses"]

    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_line_of_ollamas_that_is_not_done_is_no_answer(self, stream, autojump_clock):
        line = {"model": "m", "message": {"role": "assistant", "content": "Par"}, "done": False}
        _, record = await ask(
            Answer(headers=NDJSON, steps=ndjson(line)), model="ollama/m", stream=stream
        )
        assert record.error_code == "upstream_truncated"


class TestEachChoiceHasItsOwnEnd:
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("last", [0, 1])
    async def test_one_that_is_cut_makes_the_answer_truncated(self, last, stream, autojump_clock):
        steps = sse(delta("a"), delta("b", index=1), delta("", "stop", index=last), done=False)
        response, record = await ask(streaming(*steps), stream=stream, n=2)
        assert record.error_code == "upstream_truncated"
        assert b"[DONE]" not in response.content

    async def test_all_of_them_are_an_end(self, autojump_clock):
        steps = sse(delta("a", "stop"), delta("b", "stop", index=1), done=False)
        _, record = await ask(streaming(*steps), n=2)
        assert record.outcome == "completed"

    async def test_a_choice_whose_arguments_are_cut_is_not_excused_by_another(self, autojump_clock):
        steps = sse(delta("b", "stop", index=1), call('{"a'))
        _, record = await ask(streaming(*steps), n=2)
        assert record.error_code == "upstream_truncated"


OPENINGS = {
    "a role": (APIS[0], "any/m", sse(ROLE, done=False)),
    "message_start and ping": ("/v1/messages", "claude/m", named(START, {"type": "ping"})),
    "the same, translated": (APIS[0], "claude/m", named(START, {"type": "ping"})),
    "created": (
        "/v1/responses",
        "native/m",
        named(
            {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
            {"type": "response.in_progress", "response": {"id": "r", "status": "in_progress"}},
            {"type": "response.output_item.added", "item": {"id": "i", "type": "message",
             "status": "in_progress", "content": [], "role": "assistant"}},
            {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
        ),
    ),
}  # fmt: skip
ERRORS = {
    "overloaded": (named(OVERLOADED), 502),
    "a 429": (sse({"error": {"message": "Overloaded", "code": 429}}, done=False), 429),
    "a 503": (sse({"error": {"message": "Overloaded", "code": "503"}}, done=False), 503),
    "a cut": ([Abort()], 502),
}


class TestAnOpeningIsNoAnswer:
    @pytest.mark.parametrize("opening", OPENINGS)
    @pytest.mark.parametrize("error", ERRORS)
    async def test_an_error_after_it_is_an_http_error(self, opening, error, autojump_clock):
        path, model, steps = OPENINGS[opening]
        told, status = ERRORS[error]
        if error == "a cut":
            status = 503  # nothing was said: the connection was lost
        response, record = await ask(streaming(*steps, *told), path, model=model)
        assert response.status_code == status
        assert record.first_event_at is None
        if error != "a cut":
            assert "Overloaded" in response.json()["error"]["message"]

    @pytest.mark.parametrize("opening", OPENINGS)
    async def test_silence_after_it_is_a_slow_first_event(self, opening, autojump_clock):
        path, model, steps = OPENINGS[opening]
        limits = "timeouts: {first_event: 7, read: 3}"
        for more in ([Hang()], [s for _ in range(99) for s in (Sleep(1), Send(b": hm\n\n"))]):
            answer = streaming(*steps, *more)
            response, record = await ask(answer, path, settings=limits, model=model)
            assert (response.status_code, record.error_code) == (504, "provider_timeout")
            assert "first_event" in response.json()["error"]["message"]
            assert record.tries[0].ended_at - record.tries[0].sent_at == pytest.approx(7)

    async def test_a_route_goes_on(self, autojump_clock):
        async with scene() as s:
            s.script("x", streaming(*sse(ROLE, done=False), Hang()))
            s.script("y", good())
            seen = await s.ask()
            assert s.asked == [("x", 0.0), ("y", 10.0)]
            assert (seen.is_clean, seen.text) == (True, "good")

    async def test_a_race_is_won_by_who_says_something(self, autojump_clock):
        async with scene(TARGETS + ", hedge: {after: 1, share: 1}, first_event: 60") as s:
            s.script("x", streaming(*sse(ROLE, done=False), Sleep(30), *good("late").steps))
            s.script("y", streaming(Sleep(1), *good("soon").steps))
            seen = await s.ask()
            assert (seen.text, seen.took) == ("soon", 2)

    async def test_what_was_held_back_goes_out_byte_for_byte_in_the_same_write(self, autojump_clock):
        first = b'data: {"id":"x" ,"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
        then = b'event: e\nid: 7\ndata: {"choices":[{"index":0,"delta":{"content":"\\u0061"}}]}\n\n'
        rest = [Sleep(2), Send(b": hm\n\n"), Sleep(2), Send(then), Sleep(2), *sse(STOP)]
        async with trio.open_nursery() as nursery:
            stack = Stack(nursery, config("", PROVIDERS))
            stack.upstream.script = lambda _: streaming(Send(first), *rest)
            began = trio.current_time()
            async with stack.stream(chat("any/m")) as response:
                assert trio.current_time() - began == pytest.approx(4)
                reads = aiter(response.aiter_raw())
                assert await anext(reads) == first + then
                assert trio.current_time() - began == pytest.approx(4)
                assert b"".join([data async for data in reads]).endswith(b"data: [DONE]\n\n")
            nursery.cancel_scope.cancel()

    async def test_of_messages_too(self, autojump_clock):
        steps = [
            *named(START, {"type": "ping"}),
            *named({"type": "content_block_start", "index": 0, "content_block": {"type": "text",
                                                                                 "text": ""}}),
            Sleep(5),
            *named({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": "a"}}),
            *named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}),
            *named({"type": "message_stop"}),
        ]  # fmt: skip
        response, record = await ask(streaming(*steps), "/v1/messages", model="claude/m")
        assert response.content == b"".join(s.data for s in steps if isinstance(s, Send))
        assert record.first_event_after == pytest.approx(5)

    async def test_what_is_held_back_is_bounded(self, autojump_clock):
        limits = "stream: {max_event: 4096}"
        steps = [Send(b'data: {"choices":[]}\n\n') for _ in range(100)]
        response, record = await ask(streaming(*steps, *sse(delta("a"), STOP)), settings=limits)
        assert (response.status_code, record.error_code) == (502, "event_too_large")
        big = delta("a" * 3900)
        response, record = await ask(streaming(*sse(ROLE, big, STOP)), settings=limits)
        assert record.outcome == "completed"

    @pytest.mark.parametrize("path", APIS)
    async def test_after_an_early_commit_it_waits_too(self, path, autojump_clock):
        limits = "timeouts: {early_commit: 1, first_event: 20}"
        steps = [*sse(ROLE, done=False), Sleep(5), *sse({"error": {"message": "no", "code": 429}})]
        response, _ = await ask(streaming(*steps), path, settings=limits)
        assert response.status_code == 200
        assert b"message_start" not in response.content
        assert b'"role"' not in response.content
        if path == "/v1/responses":
            numbers = [json.loads(line[6:])["sequence_number"] for line in
                       response.text.splitlines() if line.startswith("data: ")]  # fmt: skip
            assert numbers == list(range(4))
        assert b"no" in response.content

    async def test_complete_and_replay_stay_right(self, autojump_clock):
        cut = streaming(*sse(ROLE, delta("one "), done=False), Abort())
        for how in ("commit: complete", "midstream: replay"):
            async with scene(f"{TARGETS}, {how}, retry: {{attempts: 0}}") as s:
                s.script("x", cut)
                s.script("y", streaming(*sse(ROLE, delta("one two"), STOP)))
                seen = await s.ask()
                assert (seen.is_clean, seen.text) == (True, "one two")
                roles = [i for i in seen.items if i != "[DONE]" and
                         i["choices"][0]["delta"].get("role")]  # fmt: skip
                assert len(roles) == 1


def trickling(piece: bytes, seconds: float, *, times: int = 2000) -> list:
    return [s for _ in range(times) for s in (Sleep(seconds), Send(piece))]


class TestProgress:
    TRICKLES = {
        "comments": trickling(b": hm\n\n", 5),
        "inside an event": [Send(b'data: {"x": "'), *trickling(b"a", 1)],
        "empty pieces": trickling(sse(delta(""), done=False)[0].data, 7),
        "usage": trickling(sse(USAGE, done=False)[0].data, 7),
    }

    @pytest.mark.parametrize("kind", TRICKLES)
    async def test_a_trickle_is_none(self, kind, autojump_clock):
        steps = [*sse(delta("a"), done=False), Sleep(20), *sse(delta("b"), done=False)]
        response, record = await ask(streaming(*steps, *self.TRICKLES[kind]))
        error = events(response.content)[-1]["error"]
        assert (error["code"], record.outcome) == ("provider_timeout", "upstream_timeout")
        assert error["message"] == "any: progress timeout after 300 s"
        assert record.tries[0].ended_at - record.tries[0].sent_at == pytest.approx(320)

    @pytest.mark.parametrize("path", ["/v1/messages", APIS[0]])
    async def test_pings_are_none(self, path, autojump_clock):
        block = {"type": "content_block_delta", "index": 0,
                 "delta": {"type": "text_delta", "text": "a"}}  # fmt: skip
        pings = trickling(named({"type": "ping"})[0].data, 9)
        answer = streaming(*named(START, block), *pings)
        settings = "timeouts: {progress: 60}"
        _, record = await ask(answer, path, settings=settings, model="claude/m")
        assert record.tries[0].error == "timeout_progress"
        assert record.tries[0].ended_at - record.tries[0].sent_at == pytest.approx(60)

    async def test_a_stream_that_says_something_now_and_then_goes_on(self, autojump_clock):
        words = [s for _ in range(9) for s in
                 (*trickling(b": hm\n\n", 20, times=14), *sse(delta("a"), done=False))]  # fmt: skip
        _, record = await ask(streaming(*sse(delta("a"), done=False), *words, *sse(STOP)))
        assert record.outcome == "completed"

    async def test_silence_is_still_silence_and_null_is_never(self, autojump_clock):
        begun = sse(delta("a"), done=False)
        _, record = await ask(streaming(*begun, *trickling(b": hm\n\n", 20, times=30), Hang()),
                              settings="timeouts: {progress: null}")  # fmt: skip
        assert record.tries[0].error == "timeout_read"
        assert record.tries[0].ended_at - record.tries[0].sent_at == pytest.approx(630)

    async def test_a_client_that_takes_its_time_does_not_count(self, autojump_clock):
        settings = "timeouts: {progress: 10, stall: null, keepalive: null}\nstream: {buffer: 1}"
        # The client holds up events that say nothing: those that do begin the time anew by themselves.
        silent = {"choices": [{"index": 0, "delta": {}}], "padding": "a" * 70_000}
        big = [*sse(delta("a"), done=False), *sse(silent, done=False) * 4]
        async with trio.open_nursery() as nursery:
            stack = Stack(nursery, config(settings, PROVIDERS), tight=True)
            steps = [*big, Sleep(5), Send(b": hm\n\n"), *sse(STOP)]
            stack.upstream.script = lambda _: streaming(*steps)
            async with stack.stream(chat("any/m")) as response:
                reads = aiter(response.aiter_raw())
                await anext(reads)
                await trio.sleep(100)
                rest = b"".join([data async for data in reads])
            nursery.cancel_scope.cancel()
        assert rest.endswith(b"data: [DONE]\n\n")

    async def test_it_is_rescued_like_silence(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            begun = sse(delta("one "), done=False)
            s.script("x", streaming(*begun, *trickling(b": hm\n\n", 5)))
            s.script("y", good("one two"))
            seen = await s.ask()
            assert s.asked == [("x", 0.0), ("y", 300.0)]
            assert (seen.is_clean, seen.text) == (True, "one two")


HTML = b"<html><head><title>Attention Required! &#124; Firewall</title></head><body>key</body></html>"
REFUSALS = {
    "a wrong key": (401, {"message": "No such key: sk-upstream-secret-1"}, 502, "provider_auth_error"),
    "no permission": (403, {"message": "You lack permission", "type": "x"}, 502, "provider_auth_error"),
    "an account": (403, {"message": "Your account was closed for violating our policies"}, 502,
                   "provider_auth_error"),
    "a code": (403, {"message": "no", "code": "permission_denied"}, 502, "provider_auth_error"),
    "a verdict": (403, {"message": "Your chosen model requires moderation and your input was flagged",
                        "code": 403, "metadata": {"flagged_input": "x"}}, 400, "content_filter"),
    "another verdict": (403, {"message": "Content violates usage guidelines. API key ID: 1",
                              "code": "The caller does not have permission"}, 400, "content_filter"),
    "something else": (403, {"message": "not in your country", "code": "geo"}, 403, "geo"),
}  # fmt: skip


class TestTheProvidersWords:
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("kind", REFUSALS)
    async def test_they_are_kept(self, kind, stream, autojump_clock):
        status, error, ours, code = REFUSALS[kind]
        response, record = await ask(json_answer({"error": error}, status=status), stream=stream)
        told = response.json()["error"]
        assert (response.status_code, told["code"]) == (ours, code)
        assert told["message"] == error["message"].replace("sk-upstream-secret-1", "***")
        assert "secret" not in str(record.tries[0].error_text)

    async def test_a_page_is_told_by_its_title(self, autojump_clock):
        answer = Answer(status=403, headers=[("content-type", "text/html")], steps=[Send(HTML)])
        response, record = await ask(answer)
        told = response.json()["error"]
        assert (response.status_code, told["message"]) == (403, "Attention Required! | Firewall")
        assert record.error_code == "upstream_403"

    async def test_a_key_that_is_shown_in_part_is_hidden(self, autojump_clock):
        for shown in ("sk-upstr********et-1", "sk-upstream-secret-1.", "sk-other-1234567"):
            answer = error_answer(401, f"Incorrect API key provided: {shown}", "invalid_api_key")
            response, _ = await ask(answer)
            message = response.json()["error"]["message"]
            assert message.startswith("Incorrect API key provided: ***")
            assert "et-1" not in message
            assert "1234" not in message

    async def test_a_verdict_is_not_routed_around_and_a_closed_door_is(self, autojump_clock):
        for error, asked in (("requires moderation and was flagged", 1), ("not in your country", 2)):
            async with scene() as s:
                s.script("x", error_answer(403, error, "x"))
                s.script("y", good())
                seen = await s.ask()
                assert len(s.asked) == asked
                assert seen.status == (400 if asked == 1 else 200)

    @pytest.mark.parametrize("path", APIS)
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("body", ["json", "sse", "opening"])
    async def test_a_code_inside_a_200_is_its_status(self, body, stream, path, autojump_clock):
        error = {"error": {"message": "slow down", "code": 429}}
        answer = {
            "json": json_answer(error, headers=[("retry-after", "7")]),
            "sse": Answer(headers=[*SSE, ("retry-after", "7")], steps=sse(error)),
            "opening": Answer(headers=[*SSE, ("retry-after", "7")], steps=sse(ROLE, error)),
        }[body]
        response, record = await ask(answer, path, stream=stream)
        assert (response.status_code, response.headers["retry-after"]) == (429, "7")
        assert response.json()["error"]["message"] == "slow down"
        assert record.tries[0].error == "http_429"

    async def test_its_retry_after_is_obeyed_and_may_stand_in_the_body(self, autojump_clock):
        metadata = {"headers": {"Retry-After": "4"}}
        error = {"error": {"message": "slow", "code": 429, "metadata": metadata}}
        async with scene() as s:
            s.script("x", streaming(*sse(ROLE, error)), good())
            assert (await s.ask()).is_clean
            assert s.asked == [("x", 0.0), ("x", 4.0)]

    async def test_a_refused_key_inside_a_200_is_one(self, autojump_clock):
        error = {"error": {"message": "bad key sk-upstream-secret-1", "code": 401}}
        response, _ = await ask(streaming(*sse(ROLE, error)))
        told = response.json()["error"]
        assert (response.status_code, told["code"]) == (502, "provider_auth_error")
        assert told["message"] == "bad key ***"

    async def test_after_the_commit_it_is_an_error_of_the_stream(self, autojump_clock):
        error = {"error": {"message": "slow down", "code": 429}}
        response, _ = await ask(streaming(*sse(delta("a"), error)))
        assert events(response.content)[-1]["error"]["code"] == "provider_stream_error"
