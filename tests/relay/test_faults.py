"""The wall of faults: what the caller gets, and what each provider saw, to the millisecond."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
import trio

from tests.chunks import HELLO, SSE, STOP, delta
from tests.relay.faults import AFTER, BEFORE, BUSY, broken, limited, streaming
from tests.relay.routes import PROVIDERS, TARGETS, good, scene
from trio_router.demo import Abort, Answer, Hang, Send, error_answer, json_answer, sse


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_fault_before_the_first_event_is_rescued(fault, autojump_clock):
    answers, asked = BEFORE[fault]
    async with scene() as s:
        s.script("x", *answers)
        s.script("y", good())
        seen = await s.ask()
        assert s.asked == asked
        assert seen.is_clean
        assert seen.text == "good"
        assert seen.headers["x-trio-router-attempts"] == str(len(asked))
        target = {"x": "a/x", "y": "b/y"}[asked[-1][0]]
        assert seen.headers["x-trio-router-target"] == target
        assert seen.took == pytest.approx(asked[-1][1], abs=9.1)
        line = s.line
        assert f"{line['provider']}/{line['model']}" == target
        assert line["outcome"] == "completed"
        assert line["error_code"] is None
        assert [a["outcome"] for a in line["attempts"]].count("completed") == 1
        assert line["attempts"][-1]["outcome"] == "completed"
        assert s.metric(f'trio_router_requests_total{{model="{asked[-1][0]}"') == 1
        assert s.metric("trio_router_requests_total") == 1
        assert s.metric("trio_router_attempts_total") == len(asked)


@pytest.mark.parametrize("fault", [f for f in BEFORE if "silence" not in f and "token" not in f])
async def test_the_same_without_streaming(fault, autojump_clock):
    answers, asked = BEFORE[fault]
    if "comments" in fault:
        pytest.skip("an answer without streaming is waited for as a whole")
    async with scene() as s:
        s.script("x", *answers)
        s.script("y", good())
        seen = await s.ask(stream=False)
        assert s.asked == asked
        assert seen.status == 200
        assert b'"good"' in seen.body
        assert seen.headers["x-trio-router-attempts"] == str(len(asked))


async def test_a_date_in_retry_after_is_honoured(autojump_clock):
    async with scene() as s:
        s.script("x", limited(formatdate(time.time() + 20, usegmt=True)), good())
        seen = await s.ask()
        assert seen.is_clean
        assert 18 <= s.asked[1][1] <= 20


async def test_a_target_that_asked_for_patience_is_left_alone_by_others_too(autojump_clock):
    async with scene() as s:
        s.script("x", limited("20"), good())
        s.script("y", good("other"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(s.ask)
            await trio.sleep(5)
            assert (await s.ask()).text == "other"
        assert s.asked == [("x", 0.0), ("y", 5.0), ("x", 20.0)]


async def test_patience_is_waited_for_where_no_other_target_is(autojump_clock):
    async with scene("targets: [{model: a/x}], retry: {attempts: 0}") as s:
        s.script("x", limited("5"), good())
        assert (await s.ask()).status == 429
        assert (await s.ask()).is_clean
        assert s.asked == [("x", 0.0), ("x", 5.0)]


def unreachable(how):
    """A provider whose connection comes to nothing."""

    async def connect(host, port):
        if host != "gone":
            return await connect.before(host, port)
        connect.at.append(round(trio.current_time() - connect.began, 3))
        await trio.lowlevel.checkpoint()
        if how == "dns":
            raise OSError(-2, "Name or service not known")
        ours, theirs = trio.testing.memory_stream_pair()
        if how == "reset":
            await theirs.aclose()
        return ours

    connect.at = []
    connect.began = trio.current_time()
    return connect


@pytest.mark.parametrize(
    ("how", "times", "rescued_at"),
    [("dns", [0, 0.25, 0.75], 0.75), ("reset", [0, 0.25, 0.75], 0.75), ("tls", [0], 10.0)],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_provider_that_cannot_be_reached_is_rescued(
    how, times, rescued_at, stream, autojump_clock
):
    scheme = "https" if how == "tls" else "http"  # a TLS handshake that nobody answers
    providers = PROVIDERS.replace("http://upstream", f"{scheme}://gone", 1)
    async with scene(providers=providers) as s:
        connect = unreachable(how)
        connect.before, s.stack._to_upstream = s.stack._to_upstream, connect
        s.script("y", good())
        seen = await s.ask(stream=stream)
        assert seen.status == 200
        assert s.asked == [("y", rescued_at)]
        assert connect.at == times
        codes = [a["error"] for a in s.line["attempts"]]
        assert set(codes[:-1]) <= {"provider_network_error", "provider_timeout"}


class TestWhatIsNotAskedAgain:
    async def test_a_request_that_is_wrong_is_told_at_once(self, autojump_clock):
        async with scene() as s:
            s.script("x", error_answer(400, "messages is wrong", "invalid_value", param="messages"))
            seen = await s.ask()
            assert (seen.status, seen.error["code"]) == (400, "invalid_value")
            assert seen.error["param"] == "messages"
            assert s.asked == [("x", 0.0)]
            assert s.router.generation.upstreams.fleet.targets["a/x"].state(trio.current_time()) == 0

    CONTEXT = error_answer(400, "maximum context length is 8192 tokens", "context_length_exceeded")
    SIZES = "targets: [{model: a/x, context: 8192}, {model: b/y, context: %d}, {model: c/z}]"

    async def test_too_long_a_prompt_goes_to_a_larger_context(self, autojump_clock):
        async with scene(self.SIZES % 32768) as s:
            s.script("x", self.CONTEXT)
            s.script("y", good())
            seen = await s.ask()
            assert seen.is_clean
            assert s.asked == [("x", 0.0), ("y", 0.0)]

    async def test_too_long_a_prompt_is_told_if_no_target_is_larger(self, autojump_clock):
        async with scene(self.SIZES % 8192) as s:
            s.script("x", self.CONTEXT)
            seen = await s.ask()
            assert (seen.status, seen.error["code"]) == (400, "context_length_exceeded")
            assert s.asked == [("x", 0.0)]

    async def test_a_target_that_is_passed_over_may_be_too_small_as_well(self, autojump_clock):
        async with scene(self.SIZES % 32768) as s:
            s.script("x", BUSY)
            s.script("y", self.CONTEXT)
            seen = await s.ask()
            assert [m for m, _ in s.asked] == ["x", "x", "x", "y"]
            assert (seen.status, seen.error["code"]) == (503, "overloaded_error")
            assert "b/y: 400" in seen.error["message"]

    FILTER = error_answer(400, "The response was filtered", "content_filter")

    async def test_a_content_filter_is_not_routed_around(self, autojump_clock):
        async with scene() as s:
            s.script("x", self.FILTER)
            seen = await s.ask()
            assert (seen.status, seen.error["code"]) == (400, "content_filter")
            assert s.asked == [("x", 0.0)]

    async def test_a_content_filter_is_routed_around_if_the_route_says_so(self, autojump_clock):
        async with scene(TARGETS + ", content_filter: fallback") as s:
            s.script("x", self.FILTER)
            s.script("y", good())
            assert (await s.ask()).is_clean
            assert s.asked == [("x", 0.0), ("y", 0.0)]


class TestAllFailed:
    @pytest.mark.parametrize("stream", [True, False])
    async def test_the_error_says_what_was_tried(self, stream, autojump_clock):
        async with scene() as s:
            s.script("x", BUSY)
            s.script("y", error_answer(500, "fell over", "server_error"))
            seen = await s.ask(stream=stream)
            assert seen.status == 503
            assert seen.error["code"] == "overloaded_error"
            assert seen.error["message"] == ("too busy (tried a/x: 503, 503, 503; b/y: 500, 500, 500)")
            assert seen.headers["x-trio-router-attempts"] == "6"
            assert s.line["outcome"] == "upstream_error"
            assert s.metric("trio_router_tokens_total") == 0

    @pytest.mark.parametrize("status", [400, 404, 413, 422])
    async def test_a_fallbacks_objection_does_not_mask_the_first_failure(self, status, autojump_clock):
        async with scene() as s:
            s.script("x", streaming(Hang()))
            s.script("y", error_answer(status, "max_tokens is too large here", "bad"))
            seen = await s.ask()
            assert (seen.status, seen.error["code"]) == (504, "provider_timeout")
            assert f"b/y: {status}" in seen.error["message"]

    async def test_the_last_429_keeps_its_retry_after(self, autojump_clock):
        async with scene() as s:
            s.script("x", limited("50"))
            s.script("y", limited("70"))
            seen = await s.ask()
            assert seen.status == 429
            assert seen.headers["retry-after"] == "50"

    async def test_when_all_are_given_a_rest_the_caller_hears_until_when(self, autojump_clock):
        async with scene() as s:
            s.script("x", BUSY)
            s.script("y", BUSY)
            await s.ask()
            asked = len(s.asked)
            seen = await s.ask()
            assert (seen.status, seen.error["code"]) == (503, "targets_unavailable")
            assert 0 < int(seen.headers["retry-after"]) <= 10
            assert len(s.asked) == asked


@pytest.mark.parametrize("fault", AFTER)
class TestAfterTheCommit:
    async def test_error_says_it_honestly(self, fault, autojump_clock):
        answer, code, after = AFTER[fault]
        async with scene() as s:
            s.script("x", answer)
            seen = await s.ask()
            assert s.asked == [("x", 0.0)]
            assert seen.text == "one two "
            assert seen.error["code"] == code
            assert "[DONE]" not in seen.items
            assert seen.took == after

    async def test_replay_goes_on_where_the_two_agree(self, fault, autojump_clock):
        answer, _code, after = AFTER[fault]
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", answer)
            s.script("y", good("on", "e tw", "o three"))
            seen = await s.ask()
            assert s.asked == [("x", 0.0), ("y", after)]
            assert seen.is_clean
            assert seen.text == "one two three"
            assert s.bodies[0]["messages"] == s.bodies[1]["messages"]
            assert s.line["replayed"] is True
            assert [a["target"] for a in s.line["attempts"]] == ["a/x", "b/y"]
            assert s.metric('trio_router_replays_total{model="y",outcome="completed"') == 1

    async def test_prefill_goes_on_from_what_was_sent(self, fault, autojump_clock):
        targets = "targets: [{model: a/x}, {model: b/y}, {model: c/z, prefill: true}]"
        async with scene(targets + ", midstream: prefill") as s:
            s.script("x", answer := AFTER[fault][0])
            assert answer
            s.script("z", good("three"))
            seen = await s.ask()
            assert [m for m, _ in s.asked] == ["x", "z"]
            assert seen.is_clean
            assert seen.text == "one two three"
            assert s.bodies[1]["messages"][-1] == {"role": "assistant", "content": "one two "}

    async def test_complete_holds_the_answer_back_until_it_is_whole(self, fault, autojump_clock):
        answer, _code, after = AFTER[fault]
        times = [0, after + 0.25, after + 0.25 + after + 0.5]
        async with scene(TARGETS + ", commit: complete") as s:
            s.script("x", answer)
            s.script("y", good("whole"))
            seen = await s.ask()
            assert seen.is_clean
            assert seen.text == "whole"
            silent = fault == "stalled"  # a target that fell silent is not asked again
            assert [m for m, _ in s.asked] == (["x", "y"] if silent else ["x", "x", "x", "y"])
            if not silent:
                assert [t for _, t in s.asked[:3]] == times
            assert seen.headers["x-trio-router-target"] == "b/y"


class TestGoingOn:
    async def test_an_answer_that_differs_is_an_honest_error(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", broken(Abort()))
            s.script("y", good("one three"))
            seen = await s.ask()
            assert seen.text == "one two "
            assert seen.error["code"] == "upstream_truncated"
            assert "b/y: replay_diverged" in seen.error["message"]
            assert "[DONE]" not in seen.items
            assert s.line["outcome"] == "truncated"
            assert s.router.generation.upstreams.fleet.targets["b/y"].state(trio.current_time()) == 0

    async def test_a_third_target_may_agree(self, autojump_clock):
        targets = "targets: [{model: a/x}, {model: b/y}, {model: c/z}], midstream: replay"
        async with scene(targets) as s:
            s.script("x", broken(Abort()))
            s.script("y", good("no"))
            s.script("z", good("one two and more"))
            seen = await s.ask()
            assert seen.is_clean
            assert seen.text == "one two and more"

    async def test_a_second_break_goes_on_once_more(self, autojump_clock):
        targets = "targets: [{model: a/x}, {model: b/y}, {model: c/z}], midstream: replay"
        async with scene(targets) as s:
            s.script("x", broken(Abort()))
            s.script("y", streaming(*sse(delta("one two th"), done=False), Abort()))
            s.script("z", good("one two three"))
            seen = await s.ask()
            assert seen.is_clean
            assert seen.text == "one two three"

    async def test_an_answer_shorter_than_what_was_sent_differs(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", broken(Abort()))
            s.script("y", good("one "))
            seen = await s.ask()
            assert seen.text == "one two "
            assert seen.error["code"] == "upstream_truncated"

    async def test_an_answer_that_differs_and_comes_in_one_read_has_one_end(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", broken(Abort()))
            whole = b"".join(step.data for step in good("one three").steps)
            s.script("y", streaming(Send(whole)))
            seen = await s.ask()
            assert seen.error["code"] == "upstream_truncated"
            assert b"[DONE]" not in seen.body

    async def test_an_answer_that_only_stops_before_what_was_sent_differs(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", broken(Abort()))
            s.script("y", streaming(*sse(delta("one "))))
            seen = await s.ask()
            assert seen.error["code"] == "upstream_truncated"
            assert b"[DONE]" not in seen.body

    async def test_the_stream_keeps_its_name_and_says_its_role_once(self, autojump_clock):
        role = {**HELLO, "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", streaming(*sse(role, delta("ab"), done=False), Abort()))
            other = [{**one, "id": "other", "created": 99} for one in (role, delta("abc"), STOP)]
            s.script("y", Answer(headers=SSE, steps=sse(*other)))
            seen = await s.ask()
            chunks = seen.items[:-1]
            assert {(c["id"], c["created"]) for c in chunks} == {("x", 1)}
            assert sum(c["choices"][0]["delta"].get("role") is not None for c in chunks) == 1
            assert seen.text == "abc"

    CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}

    def called(self, *arguments, name="f", number="call_1", stop=True):
        first = {**self.CALL, "id": number, "function": {"name": name, "arguments": ""}}
        pieces = [first, *[{"index": 0, "function": {"arguments": a}} for a in arguments]]
        chunks = [{**HELLO, "choices": [{"index": 0, "delta": {"tool_calls": [p]}}]} for p in pieces]
        end = {**HELLO, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
        return sse(*chunks, *([end] if stop else []), done=stop)

    async def test_a_begun_tool_call_goes_on_if_it_agrees(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", streaming(*self.called('{"a"', stop=False), Abort()))
            s.script("y", streaming(*self.called('{"a": ', "1}", number="call_2")))
            seen = await s.ask()
            assert seen.is_clean
            pieces = [c["choices"][0]["delta"].get("tool_calls") for c in seen.items[:-1]]
            pieces = [p[0] for p in pieces if p]
            assert "".join(p["function"]["arguments"] for p in pieces) == '{"a": 1}'
            assert [p["id"] for p in pieces if "id" in p] == ["call_1"]

    @pytest.mark.parametrize("other", [{"name": "g"}, {}])
    async def test_a_begun_tool_call_that_differs_is_an_error(self, other, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", streaming(*self.called('{"a"', stop=False), Abort()))
            s.script("y", streaming(*self.called('{"b": 1}' if not other else '{"a": 1}', **other)))
            seen = await s.ask()
            assert seen.error["code"] == "upstream_truncated"

    async def test_a_tool_call_is_never_prefilled(self, autojump_clock):
        targets = "targets: [{model: a/x}, {model: b/y, prefill: true}], midstream: prefill"
        async with scene(targets) as s:
            s.script("x", streaming(*self.called('{"a"', stop=False), Abort()))
            seen = await s.ask()
            assert seen.error["code"] == "upstream_truncated"
            assert s.asked == [("x", 0.0)]

    async def test_a_fallback_that_refuses_prefill_does_not_mask_the_break(self, autojump_clock):
        targets = "targets: [{model: a/x}, {model: b/y, prefill: true}], midstream: prefill"
        async with scene(targets) as s:
            s.script("x", broken(Abort()))
            s.script("y", error_answer(400, "last message must be from the user", "invalid"))
            seen = await s.ask()
            assert seen.text == "one two "
            assert seen.error["code"] == "upstream_truncated"
            assert "b/y: 400" in seen.error["message"]
            assert s.asked == [("x", 0.0), ("y", 0.0)]

    async def test_usage_counts_both_and_says_that_it_is_partly_a_guess(self, autojump_clock):
        usage = {**HELLO, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", broken(Abort()))
            s.script("y", streaming(*sse(delta("one two three"), STOP, usage)))
            await s.ask()
            assert s.line["usage"] == "estimated"
            assert s.line["completion_tokens"] == 5 + 2
            assert s.metric('trio_router_tokens_total{direction="output",model="y"') == 5
            assert s.metric('trio_router_tokens_estimated_total{direction="output",model="x"') == 2

    async def test_a_messages_client_gets_one_stream_too(self, autojump_clock):
        async with scene(TARGETS + ", midstream: replay") as s:
            s.script("x", broken(Abort()))
            s.script("y", good("one two three"))
            seen = await s.ask(path="/v1/messages", max_tokens=100)
            kinds = [item["type"] for item in seen.items]
            assert kinds.count("message_start") == kinds.count("message_stop") == 1
            texts = [i["delta"].get("text", "") for i in seen.items if "delta" in i]
            assert "".join(texts) == "one two three"
            assert "error" not in kinds


class TestAccounting:
    async def test_the_answering_model_is_reported_and_failed_attempts_are_not_billed(
        self, autojump_clock
    ):
        usage = {**HELLO, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
        async with scene() as s:
            s.script("x", BUSY)
            s.script("y", streaming(*sse(delta("yes"), STOP, usage)))
            await s.ask()
            line = s.line
            assert (line["provider"], line["model"], line["route"]) == ("b", "y", "r")
            assert (line["prompt_tokens"], line["completion_tokens"]) == (10, 5)
            assert line["usage"] == "reported"
            assert s.metric('trio_router_requests_total{model="x"') == 0
            assert s.metric('trio_router_requests_total{model="y",outcome="completed"') == 1
            failed = 'trio_router_attempts_total{model="x",outcome="upstream_error",provider="a"}'
            assert s.metric(failed) == 3
            assert s.metric('trio_router_tokens_total{direction="output",model="y"') == 5
            assert s.metric("trio_router_tokens_total") == 15
            assert s.metric("trio_router_tokens_estimated_total") == 0


class TestEarlyCommit:
    async def test_other_targets_are_still_tried(self, autojump_clock):
        async with scene(settings="timeouts: {early_commit: 2}") as s:
            s.script("x", streaming(Hang()))
            s.script("y", good())
            seen = await s.ask()
            assert seen.body.startswith(b":")
            assert seen.is_clean
            assert seen.text == "good"
            assert s.asked == [("x", 0.0), ("y", 10.0)]
            assert len(s.bodies[1]["messages"]) == 1

    async def test_what_all_say_is_told_in_the_stream(self, autojump_clock):
        async with scene(settings="timeouts: {early_commit: 0.1}") as s:
            s.script("x", BUSY)
            s.script("y", BUSY)
            seen = await s.ask()
            assert seen.status == 200
            assert seen.error["code"] == "overloaded_error"
            assert "[DONE]" not in seen.items


async def test_a_whole_json_body_for_a_stream_is_an_answer(autojump_clock):
    whole = {
        **HELLO,
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "all"}, "finish_reason": "stop"}
        ],
    }
    async with scene() as s:
        s.script("x", json_answer(whole))
        assert (await s.ask()).is_clean
