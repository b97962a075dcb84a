"""What the client's side takes, refuses and answers, through Hypercorn's protocol in memory."""

from __future__ import annotations

import json

import pytest
import trio

from tests.connections import everything, post, until
from tests.stack import Stack, chat, config, events, memory_stack, text_of
from trio_router.errors import Draining
from trio_router.observe.record import Outcome
from trio_router.runtime.router import RouterState

KEYS = 'auth: {keys: [{name: web, key: sk-web}, "sk-plain"]}'
URL = "/v1/chat/completions"


async def error_for(content: bytes, settings: str = "", **headers: str):
    async with memory_stack(settings) as stack:
        response = await stack.client.post(URL, content=content, headers=headers)
        assert stack.upstream.requests == []
    assert set(response.json()["error"]) == {"message", "type", "code", "param"}
    return response.status_code, response.json()["error"]


class TestBadInput:
    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"nonsense", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000],
    )
    async def test_what_is_no_json_is_told_so(self, content, autojump_clock):
        status, error = await error_for(content)
        assert (status, error["code"], error["type"]) == (400, "invalid_json", "invalid_request_error")

    @pytest.mark.parametrize("content", [b"[]", b'"x"', b"null", b"7"])
    async def test_json_that_is_no_object_is_told_so(self, content, autojump_clock):
        status, error = await error_for(content)
        assert (status, error["code"]) == (400, "invalid_request")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"model": 7}, "model"),
            ({"model": ""}, "model"),
            ({"messages": "hi"}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": ["hi"]}, "messages[0]"),
            ({"messages": [{"role": 1}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
            ({"stream": "yes"}, "stream"),
            ({"stream_options": []}, "stream_options"),
            ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
            ({"temperature": "hot"}, "temperature"),
            ({"temperature": True}, "temperature"),
            ({"max_tokens": 1.5}, "max_tokens"),
            ({"n": "2"}, "n"),
            ({"stop": 3}, "stop"),
            ({"tools": {}}, "tools"),
        ],
    )
    async def test_a_field_of_the_wrong_type_is_named(self, fields, param, autojump_clock):
        status, error = await error_for(json.dumps({**chat("any/m"), **fields}).encode())
        assert (status, error["code"], error["param"]) == (400, "invalid_request", param)

    async def test_null_fields_are_fields_left_out(self, autojump_clock):
        nothing = dict.fromkeys(("stream", "temperature", "stop", "tools", "stream_options"))
        async with memory_stack() as stack:
            assert (await stack.ask(chat("any/echo", **nothing))).status_code == 200

    @pytest.mark.parametrize(
        ("model", "hint"),
        [
            ("deepseek/chta", "deepseek/chat"),
            ("depseek/chat", "deepseek/chat"),
            ("olama/llama3", "ollama/..."),
            ("nothing-like-it", ""),
            ("any/", ""),
        ],
    )
    async def test_an_unknown_model_is_told_what_is_near(self, model, hint, autojump_clock):
        status, error = await error_for(json.dumps(chat(model)).encode())
        assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert hint in error["message"]

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_body_over_the_limit_is_refused_and_the_connection_stays(
        self, chunked, autojump_clock
    ):
        async def pieces():
            for _ in range(100):
                yield b"x" * 1000

        async with memory_stack("server: {max_body: 5000}") as stack:
            body = pieces() if chunked else b"x" * 100_000
            response = await stack.client.post(URL, content=body)
            assert response.status_code == 413
            assert response.json()["error"]["code"] == "request_too_large"
            assert (await stack.ask(chat("any/echo"))).status_code == 200

    async def test_a_body_larger_than_quarts_own_limit_passes(self, autojump_clock):
        async with memory_stack() as stack:
            response = await stack.ask(chat("any/echo-c1", "x" * 17_000_000))
            assert response.status_code == 200
            assert len(stack.upstream.requests[0].body) > 17_000_000

    async def test_an_unknown_path_and_a_wrong_method_are_told_apart(self, autojump_clock):
        async with memory_stack() as stack:
            unknown = await stack.client.get("/v2/nothing")
            wrong = await stack.client.get(URL)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
        assert "POST" in wrong.headers["allow"]


class TestKeys:
    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer ", "Bearer nope", "Basic sk-web", "sk-web"]
    )
    async def test_without_a_good_key_nothing_is_asked(self, header, autojump_clock):
        headers = {} if header is None else {"authorization": header}
        status, error = await error_for(json.dumps(chat("any/echo")).encode(), KEYS, **headers)
        assert (status, error["code"], error["type"]) == (
            401,
            "invalid_api_key",
            "authentication_error",
        )

    @pytest.mark.parametrize(("key", "name"), [("sk-web", "web"), ("sk-plain", "key-2")])
    async def test_a_good_key_is_known_by_its_name(self, key, name, autojump_clock):
        async with memory_stack(KEYS) as stack:
            booked = []
            stack.router.engine.consumers = [booked.append]
            response = await stack.ask(chat("any/echo"), authorization=f"Bearer {key}")
            assert response.status_code == 200
            await trio.testing.wait_all_tasks_blocked()
        assert booked[0].key == name

    async def test_the_clients_key_never_reaches_the_upstream(self, autojump_clock):
        async with memory_stack(KEYS) as stack:
            await stack.ask(chat("any/echo"), authorization="Bearer sk-web")
            assert "authorization" not in stack.upstream.requests[0].headers

    async def test_with_no_keys_any_bearer_is_taken(self, autojump_clock):
        async with memory_stack() as stack:
            assert (await stack.ask(chat("any/echo"), authorization="Bearer dummy")).status_code == 200

    async def test_with_no_keys_another_address_than_loopback_is_refused(self, autojump_clock):
        async with memory_stack() as stack:
            stack.host = "192.0.2.7"
            assert (await stack.ask(chat("any/echo"))).status_code == 401


class TestConnections:
    async def test_one_connection_serves_many_requests(self, autojump_clock):
        async with memory_stack() as stack:
            connection = await stack.connect()
            for _ in range(3):
                await connection.send_all(post(chat("any/echo")))
                assert b"200" in await until(connection, b'"total_tokens"')

    async def test_an_answer_before_the_body_has_come_leaves_the_connection_good(self, autojump_clock):
        """Head and body in separate packets: quart-trio alone leaves a dead connection behind."""
        async with memory_stack(KEYS) as stack:
            connection = await stack.connect()
            request = post(chat("any/echo"))
            head, body = request[: request.index(b"{")], request[request.index(b"{") :]
            for _ in range(2):
                await connection.send_all(head)
                await trio.sleep(0.02)
                await connection.send_all(body)
                assert b" 401 " in await until(connection, b"}}")
            assert stack.upstream.requests == []

    async def test_a_body_that_never_comes_costs_an_early_answer_its_connection(self, autojump_clock):
        async with memory_stack(KEYS) as stack:
            connection = await stack.connect()
            await connection.send_all(
                b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n" % URL.encode()
            )
            answer = await everything(connection)
            assert b" 401 " in answer
            assert b"connection: close" in answer.lower()

    async def test_an_idle_connection_is_closed_in_time(self, autojump_clock):
        async with memory_stack() as stack:
            connection = await stack.connect()
            await connection.send_all(post(chat("any/echo")))
            await until(connection, b'"total_tokens"')
            began = trio.current_time()
            assert await everything(connection, within=100) is not None
            assert trio.current_time() - began == pytest.approx(75, abs=0.1)

    async def test_two_requests_sent_at_once_are_answered_in_turn(self, autojump_clock):
        async with memory_stack() as stack:
            connection = await stack.connect()
            await connection.send_all(post(chat("any/echo", "one")) + post(chat("any/echo", "two")))
            first = await until(connection, b'"total_tokens"')
            rest = (
                first
                if first.count(b"total_tokens") == 2
                else first + await until(connection, b'"total_tokens"')
            )
            assert rest.index(b"one") < rest.index(b"two")


class TestEndpoints:
    async def test_models_are_what_the_configuration_names(self, autojump_clock):
        async with memory_stack() as stack:
            listed = (await stack.client.get("/v1/models")).json()
            one = await stack.client.get("/v1/models/deepseek/chat")
            passed = await stack.client.get("/v1/models/ollama/library/llama3.2")
            unknown = await stack.client.get("/v1/models/nope")
        assert listed["object"] == "list"
        assert listed["data"][0]["id"] == "deepseek/chat"  # and then what providers list
        assert one.json() == listed["data"][0]
        assert one.json()["object"] == "model"
        assert passed.json()["id"] == "ollama/library/llama3.2"
        assert unknown.status_code == 404

    async def test_models_need_a_key_where_there_are_keys(self, autojump_clock):
        async with memory_stack(KEYS) as stack:
            assert (await stack.client.get("/v1/models")).status_code == 401
            assert (await stack.client.get("/healthz")).status_code == 200

    async def test_readiness_says_starting_ready_and_draining(self, autojump_clock):
        async with memory_stack() as stack:
            stack.router.state = RouterState.STARTING
            assert (await stack.client.get("/readyz")).status_code == 503
            stack.router.state = RouterState.READY
            assert (await stack.client.get("/readyz")).status_code == 200
            stack.router.state = RouterState.DRAINING
            assert (await stack.client.get("/readyz")).status_code == 503
            assert (await stack.client.get("/healthz")).status_code == 200
            refused = await stack.ask(chat("any/echo"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"]

    async def test_metrics_have_the_promised_names(self, autojump_clock):
        async with memory_stack() as stack:
            async with stack.stream(chat("deepseek/chat")) as response:
                await response.aread()
            text = (await stack.client.get("/metrics")).text
        for name in (
            'requests_total{model="chat",outcome="completed",provider="deepseek"} 1.0',
            'streams_open{model="chat",provider="deepseek"} 0.0',
            'upstreams_open{model="chat",provider="deepseek"} 0.0',
            'first_event_seconds_count{model="chat",provider="deepseek"} 1.0',
            'event_gap_seconds_count{model="chat",provider="deepseek"}',
            'stream_seconds_count{model="chat",outcome="completed",provider="deepseek"} 1.0',
            'chunks_processed_total{model="chat",provider="deepseek"}',
            'chunks_failed_total{model="chat",provider="deepseek"} 0.0',
            'bytes_received_total{model="chat",provider="deepseek"}',
            'unicode_errors_total{model="chat",provider="deepseek"} 0.0',
            'json_errors_total{model="chat",provider="deepseek"} 0.0',
            'tokens_total{direction="output",model="chat",provider="deepseek"}',
            'backpressure_seconds_total{model="chat",provider="deepseek"}',
        ):
            assert f"trio_router_{name}" in text, name

    async def test_model_names_that_clients_make_up_create_no_series(self, autojump_clock):
        async with memory_stack() as stack:
            for number in range(5):
                await stack.ask(chat(f"any/invented{number}"))
                await stack.ask(chat(f"nowhere{number}/x"))
            text = (await stack.client.get("/metrics")).text
        assert "invented" not in text
        assert "nowhere" not in text

    @pytest.mark.parametrize(
        ("given", "kept"), [("abc-1.2:3_4", True), ("a b", False), ("x" * 129, False), ("é", False)]
    )
    async def test_a_sane_request_id_is_kept_and_another_replaced(self, given, kept, autojump_clock):
        async with memory_stack() as stack:
            response = await stack.client.post(
                URL, json=chat("any/echo"), headers={"x-request-id": given.encode("latin-1")}
            )
            sent = stack.upstream.requests[0].headers["x-request-id"]
        assert (response.headers["x-request-id"] == given) is kept
        assert response.headers["x-request-id"] == sent

    async def test_errors_carry_a_request_id_too(self, autojump_clock):
        async with memory_stack() as stack:
            assert (await stack.client.get("/nope")).headers["x-request-id"].startswith("req_")

    async def test_our_own_fault_is_told_without_detail(self, autojump_clock, caplog):
        async with memory_stack() as stack:

            def broken(name):
                raise ZeroDivisionError("secret detail")

            stack.router.generation.table.resolve = broken
            response = await stack.ask(chat("any/echo"))
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (500, "internal_error")
        assert response.headers["x-request-id"] in error["message"]
        assert "secret" not in response.text
        assert "secret detail" in caplog.text


class TestWhole:
    async def test_the_json_passes_byte_for_byte(self, autojump_clock):
        from trio_router.demo import Answer, Send

        choice = b'{"message":{"content":"\\u00e9"},"index":0}'
        body = b'{ "choices":[%b] ,"new":[1.10,18446744073709551617]}' % choice
        async with memory_stack() as stack:
            stack.upstream.script = lambda _: Answer(steps=[Send(body)])
            response = await stack.ask(chat("any/m"))
        assert response.content == body
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-trio-router-target"] == "any/m"

    async def test_an_upstream_that_streams_all_the_same_is_folded(self, autojump_clock):
        async with memory_stack() as stack:
            streamed = await stack.ask(chat("ollama/echo", "Hello there", stream=True))
            body = streamed.content
            from trio_router.demo import Answer, Send

            stack.upstream.script = lambda _: Answer(steps=[Send(body)])
            folded = (await stack.ask(chat("any/m"))).json()
        assert folded["object"] == "chat.completion"
        assert folded["choices"][0]["message"]["content"] == "Hello there"
        assert folded["choices"][0]["finish_reason"] == "stop"
        assert text_of(events(body)) == "Hello there"

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "upstream_truncated"),
            (b"{", "upstream_truncated"),
            (b"{]", "malformed_json"),
            (b"<html>", "malformed_json"),
            (b'{"a":1}', "malformed_json"),
        ],
    )
    async def test_what_is_no_answer_is_told_so(self, body, code, autojump_clock):
        from trio_router.demo import Answer, Send

        async with memory_stack() as stack:
            stack.upstream.script = lambda _: Answer(steps=[Send(body)] if body else [])
            response = await stack.ask(chat("any/m"))
        assert (response.status_code, response.json()["error"]["code"]) == (502, code)


class TestMerging:
    async def test_defaults_stand_under_and_options_over_the_request(self, autojump_clock):
        text = """
providers:
  p:
    base_url: http://upstream/v1
    headers: {x-team: search}
    models:
      m:
        upstream_model: echo
        defaults: {temperature: 0.2, seed: 7}
        options: {provider: {order: [a]}, top_p: 0.5}
"""
        async with trio.open_nursery() as nursery:
            stack = Stack(nursery, config("", text))
            asked = chat(
                "p/m", temperature=0.9, top_p=0.1, provider={"order": ["b"], "keep": 1}, new_field=[1]
            )
            await stack.ask(asked)
            seen = stack.upstream.requests[0]
            nursery.cancel_scope.cancel()
        assert seen.json["model"] == "echo"
        assert (seen.json["temperature"], seen.json["seed"], seen.json["top_p"]) == (0.9, 7, 0.5)
        assert seen.json["provider"] == {"order": ["a"], "keep": 1}
        assert seen.json["new_field"] == [1]
        assert "stream_options" not in seen.json
        assert seen.headers["x-team"] == "search"

    async def test_in_flight_requests_are_bounded_and_wait_no_longer_than_pool(self, autojump_clock):
        text = """
timeouts: {pool: 4, first_event: 100}
providers: {p: {base_url: "http://upstream/v1", max_in_flight: 1}}
"""
        async with trio.open_nursery() as nursery:
            stack = Stack(nursery, config("", text))
            nursery.start_soon(stack.ask, chat("p/echo-h0", stream=True))
            await stack.upstream.wait_open(1)
            response = await stack.ask(chat("p/echo"))
            nursery.cancel_scope.cancel()
        assert response.status_code == 504
        assert "pool" in response.json()["error"]["message"]


class TestDrain:
    async def test_running_streams_may_finish(self, autojump_clock):
        async with memory_stack() as stack:
            async with stack.stream(chat("any/echo-d2000", "0123456789abcdef")) as response:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stack.router.drain, 30)
                    body = await response.aread()
        assert events(body)[-1] == "[DONE]"

    @pytest.mark.parametrize("stage", ["streaming", "waiting"])
    async def test_the_rest_end_with_an_error(self, stage, autojump_clock):
        async with memory_stack() as stack:
            booked = []
            stack.router.engine.consumers = [booked.append]
            got = []

            async def ask() -> None:
                got.append(await stack.ask(chat(f"any/echo-h{int(stage == 'streaming')}", stream=True)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await stack.upstream.wait_open(1)
                await trio.testing.wait_all_tasks_blocked()
                began = trio.current_time()
                await stack.router.drain(5)
                assert trio.current_time() - began == pytest.approx(5, abs=0.1)
            await stack.upstream.wait_open(0)
        if stage == "streaming":
            assert events(got[0].content)[-1]["error"]["code"] == Draining.code
        else:
            assert (got[0].status_code, got[0].json()["error"]["code"]) == (503, "draining")
        assert booked[0].outcome == Outcome.SHUTDOWN

    async def test_a_client_that_has_stopped_reading_does_not_hold_the_drain(self, autojump_clock):
        async with memory_stack("timeouts: {stall: null}", tight=True) as stack:
            connection = await stack.connect()
            await connection.send_all(post(chat("any/echo-c100000", stream=True)))
            await connection.receive_some(100)
            began = trio.current_time()
            await stack.router.drain(3)
            assert trio.current_time() - began < 4
            await stack.upstream.wait_open(0)

    async def test_a_drain_in_a_hurry_waits_for_nothing(self, autojump_clock):
        async with memory_stack() as stack, stack.stream(chat("any/echo-h1")) as response:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stack.router.drain, 1000)
                await trio.testing.wait_all_tasks_blocked()
                began = trio.current_time()
                stack.router.hurry()
                await response.aread()
            assert trio.current_time() - began < 1
