"""The wall of faults once more, over real sockets: names, TLS, resets by the kernel."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress

import pytest
import trio
import trustme

from tests.relay.faults import AFTER, BEFORE, HTML, limited
from tests.relay.routes import good
from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Abort, Answer, Hang, Send, Sleep, error_answer, sse

pytestmark = pytest.mark.slow


QUICK = "retry: {attempts: 2, base: 0.02}, first_event: 0.3"
PROVIDERS = """
providers:
  a: {base_url: "http://upstream/v1", models: {x: {}}, timeouts: {read: 0.3, connect: 2}}
  b: {base_url: "http://upstream/v1", models: {y: {}}}
routes:
  r: {targets: [{model: a/x}, {model: b/y}], %s}
"""


class Providers:
    def __init__(self, stack, *answers):
        self.asked = []
        self.answers = answers
        stack.upstream.script = self.answer

    def answer(self, request):
        model = request.json["model"]
        number = self.asked.count(model)
        self.asked.append(model)
        if model == "y":
            return good("one two three")
        one = self.answers[min(number, len(self.answers) - 1)]
        return one() if callable(one) else one


async def ask(stack, *, stream=True):
    began = time.perf_counter()
    body = chat("r", stream=stream)
    response = await stack.client.post("/v1/chat/completions", json=body)
    return response, time.perf_counter() - began


# Those that a real network shows in its own way, or that wait; scaled down to tenths of a second.
REAL = {
    "429 with Retry-After": ([limited("1"), good("one two three")], ["x", "x"], 1.0),
    "429 with a long Retry-After": ([limited("60")], ["x", "y"], 0),
    "503 for ever": ([error_answer(503, "?", "x")], ["x", "x", "x", "y"], 0),
    "silence": ([Answer(head_delay=60)], ["x", "y"], 0.3),
    "a slow first token": ([lambda: Answer(steps=[Sleep(1), Send(b"")])], ["x", "y"], 0.3),
    "a reset": ([Answer(steps=[Abort()])], ["x", "x", "x", "y"], 0),
    "HTML with 200": ([HTML], ["x", "x", "x", "y"], 0),
    "an error in a 200": ([BEFORE["an error in a 200"][0][0]], ["x", "x", "x", "y"], 0),
    "headers, then a close": ([BEFORE["headers, then a close"][0][0]], ["x", "x", "x", "y"], 0),
}


@pytest.mark.parametrize("fault", REAL)
async def test_a_fault_before_the_first_event_is_rescued(fault):
    answers, asked, at_least = REAL[fault]
    async with real_stack(providers=PROVIDERS % QUICK) as stack:
        providers = Providers(stack, *answers)
        response, took = await ask(stack)
        assert text_of(events(response.content)) == "one two three"
        assert events(response.content)[-1] == "[DONE]"
        assert providers.asked == asked
        assert at_least <= took < at_least + 5
        await stack.upstream.wait_open(0)


@pytest.mark.parametrize("fault", AFTER)
async def test_an_answer_that_breaks_off_is_gone_on_with(fault):
    async with real_stack(providers=PROVIDERS % (QUICK + ", midstream: replay")) as stack:
        # The kernel may drop what stands before a reset: so a moment passes.
        steps = list(AFTER[fault][0].steps)
        answer = Answer(headers=[("content-type", "text/event-stream")], steps=[*steps[:2], Sleep(0.1)])
        providers = Providers(stack, Answer(200, answer.headers, [*answer.steps, *steps[2:]]))
        response, _ = await ask(stack)
        assert text_of(events(response.content)) == "one two three"
        assert events(response.content)[-1] == "[DONE]"
        assert providers.asked == ["x", "y"]
        await stack.upstream.wait_open(0)


@pytest.mark.parametrize("base", ["http://nowhere.invalid", "http://127.0.0.1:1"])
@pytest.mark.parametrize("stream", [True, False])
async def test_no_such_name_and_nobody_listening_are_rescued(base, stream):
    text = PROVIDERS.replace("http://upstream", base, 1) % "retry: {attempts: 1, base: 0.02}"
    async with real_stack(providers=text) as stack:
        providers = Providers(stack)
        response, _ = await ask(stack, stream=stream)
        assert response.status_code == 200
        assert response.headers["x-trio-router-attempts"] == "3"
        assert providers.asked == ["y"]


@pytest.mark.parametrize("how", ["a wrong certificate", "no TLS at all"])
async def test_tls_that_fails_is_rescued(how):
    authority = trustme.CA()  # which nobody trusts
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def shake_hands(stream):
        async with stream:
            if how == "no TLS at all":
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            with trio.move_on_after(2):
                with suppress(trio.BrokenResourceError, ssl.SSLError):
                    await trio.SSLStream(stream, context, server_side=True).do_handshake()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, shake_hands, listeners)
        text = PROVIDERS.replace("http://upstream", f"https://localhost:{port}", 1)
        async with real_stack(providers=text % "retry: {attempts: 1, base: 0.02}") as stack:
            providers = Providers(stack)
            response, _ = await ask(stack)
            assert text_of(events(response.content)) == "one two three"
            assert response.headers["x-trio-router-target"] == "b/y"
            assert providers.asked == ["y"]
        nursery.cancel_scope.cancel()


class Script:
    """Answers by model; remembers who was asked, and with which key."""

    def __init__(self, stack, **answers):
        self.asked = []
        self._answers = answers
        stack.upstream.script = self.answer

    def answer(self, request):
        model, key = request.json["model"], request.headers.get("authorization")
        self.asked.append((model, key))
        answer = self._answers[model]
        return answer(key) if callable(answer) else answer

    @property
    def models(self):
        return [model for model, _ in self.asked]


TOO_LONG = error_answer(400, "maximum context length is 8192 tokens", "context_length_exceeded")
FILTERED = error_answer(400, "The response was filtered", "content_filter")


async def test_too_long_a_prompt_goes_to_the_target_with_a_larger_context():
    text = PROVIDERS.replace("{model: a/x}", "{model: a/x, context: 8192}")
    text = text.replace("{model: b/y}", "{model: b/y, context: 32768}")
    async with real_stack(providers=text % QUICK) as stack:
        script = Script(stack, x=TOO_LONG, y=good("one two three"))
        response, _ = await ask(stack)
        assert events(response.content)[-1] == "[DONE]"
        assert script.models == ["x", "y"]


@pytest.mark.parametrize(("says", "models"), [("error", ["x"]), ("fallback", ["x", "y"])])
async def test_a_content_filters_refusal_is_routed_around_only_if_the_route_says_so(says, models):
    async with real_stack(providers=PROVIDERS % f"{QUICK}, content_filter: {says}") as stack:
        script = Script(stack, x=FILTERED, y=good("one two three"))
        response, _ = await ask(stack)
        assert response.status_code == (400 if says == "error" else 200)
        assert script.models == models


async def test_a_refused_key_is_given_a_rest_and_the_next_one_asks():
    def answer(key):
        return error_answer(401, "no", "invalid_api_key") if key == "Bearer key-1" else good("ok")

    text = PROVIDERS.replace("models: {x: {}}", "models: {x: {}}, api_keys: [key-1, key-2]", 1)
    async with real_stack(providers=text % QUICK) as stack:
        script = Script(stack, x=answer, y=good("other"))
        for _ in range(3):
            response, _ = await ask(stack)
            assert text_of(events(response.content)) == "ok"
        assert [key for _, key in script.asked].count("Bearer key-1") == 1
        assert script.models == ["x"] * 4


@pytest.mark.parametrize("refuses", [False, True])
async def test_prefill_goes_on_unless_the_fallback_refuses_it(refuses):
    text = PROVIDERS.replace("{model: b/y}", "{model: b/y, prefill: true}")
    refusal = error_answer(400, "last message must be from the user", "invalid")
    steps = AFTER["cut"][0].steps
    cut = Answer(headers=AFTER["cut"][0].headers, steps=[*steps[:2], Sleep(0.1), *steps[2:]])
    async with real_stack(providers=text % f"{QUICK}, midstream: prefill") as stack:
        script = Script(stack, x=cut, y=refusal if refuses else good("three"))
        response, _ = await ask(stack)
        said = events(response.content)
        assert script.models == ["x", "y"]
        assert (said[-1] == "[DONE]") is not refuses
        if refuses:
            assert said[-1]["error"]["code"] == "upstream_truncated"
            assert "b/y: 400" in said[-1]["error"]["message"]
        else:
            assert text_of(said) == "one two three"


async def test_a_race_closes_the_losers_connection_at_once():
    async with real_stack(providers=PROVIDERS % "hedge: {after: 0.1, share: 1}") as stack:
        providers = Providers(stack, Answer(headers=AFTER["cut"][0].headers, steps=[Hang()]))
        slow = good("one ")
        stack.upstream.script = lambda request: (
            Answer(headers=slow.headers, steps=[*slow.steps[:1], Sleep(0.5), *sse({"choices": []})])
            if request.json["model"] == "y"
            else providers.answer(request)
        )
        with trio.fail_after(5):
            async with stack.client.stream(
                "POST", "/v1/chat/completions", json=chat("r", stream=True)
            ) as response:
                began = time.perf_counter()
                await stack.upstream.wait_closed_early()
                assert time.perf_counter() - began < 0.4
                assert response.headers["x-trio-router-attempts"] == "2"
                await response.aread()


async def test_a_drained_upstream_ends_after_its_client_left():
    drain = "on_disconnect: {drain: {seconds: 5, max: 2}}"
    async with real_stack(providers=PROVIDERS % drain) as stack:
        steps = [*good("one ").steps[:1], Sleep(0.1), *good("two").steps]
        Providers(stack, Answer(headers=good().headers, steps=steps))
        async with stack.client.stream(
            "POST", "/v1/chat/completions", json=chat("r", stream=True)
        ) as response:
            assert response.status_code == 200
        with trio.fail_after(5):
            await stack.upstream.wait_completed()
        assert stack.upstream.closed_early == []
