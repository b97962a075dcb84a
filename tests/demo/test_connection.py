"""HTTP as the demo upstream speaks it: requests, framing, keep-alive, answers made by hand."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from tests.demo.client import Client, chat
from trio_router.demo import (
    Abort,
    Answer,
    Close,
    DemoUpstream,
    Send,
    Sleep,
    WaitFor,
    cut,
    ndjson,
    sse,
)

GET = b"GET %s HTTP/1.1\r\nhost: demo\r\n\r\n"


@pytest.fixture
def upstream():
    return DemoUpstream()


@pytest.fixture
def client(nursery, upstream):
    return Client(nursery, upstream)


def body_of(client: Client) -> bytes:
    return client.got.partition(b"\r\n\r\n")[2]


async def test_a_connection_serves_request_after_request(client, upstream, autojump_clock):
    for number in range(3):
        client.reads.clear()
        await client.send(chat("echo", f"number {number}"))
        await client.read_until(b"0\r\n\r\n")
    assert upstream.completed == 3
    assert [one.json["messages"][0]["content"][-1] for one in upstream.requests] == ["0", "1", "2"]


async def test_requests_sent_at_once_are_answered_in_turn(client, upstream, autojump_clock):
    await client.send(chat("echo-c1") + chat("echo-c2"))
    while client.got.count(b"[DONE]") < 2:
        await client.read()
    assert upstream.completed == 2


async def test_a_request_may_come_byte_by_byte_and_in_chunks(client, upstream, autojump_clock):
    head = (
        b"POST /v1/chat/completions?a=b HTTP/1.1\r\nX-Some: Thing\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for byte in head + b'5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n':
        await client.send(bytes([byte]))
        await trio.testing.wait_all_tasks_blocked()
    await client.read()
    (seen,) = upstream.requests
    assert (seen.method, seen.path, seen.query) == ("POST", "/v1/chat/completions", "a=b")
    assert (seen.headers["x-some"], seen.body, seen.json) == ("Thing", b'{"a":1}', {"a": 1})


async def test_connection_close_is_honoured(client, autojump_clock):
    await client.send(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") % b"/v1/models")
    assert b"connection: close\r\n" in await client.read_all()


async def test_an_old_client_gets_a_body_that_ends_with_the_connection(client, autojump_clock):
    await client.send(chat("echo").replace(b"HTTP/1.1", b"HTTP/1.0"))
    got = await client.read_all()
    assert b"chunked" not in got
    assert got.endswith(b"data: [DONE]\n\n")


async def test_what_is_not_http_gets_400_and_the_end(client, autojump_clock):
    await client.send(b"EHLO demo\r\n")
    assert (await client.read_all()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_body_too_large_gets_413(client, monkeypatch, autojump_clock):
    monkeypatch.setattr("trio_router.demo.connection.MAX_BODY", 10)
    await client.send(chat("echo"))
    assert (await client.read_all()).startswith(b"HTTP/1.1 413 ")


async def test_a_peer_that_pipelines_without_end_is_cut_off(client, upstream, autojump_clock):
    await client.send(chat("echo-h0") + GET % b"/" * 200)
    await upstream.wait_closed_early()


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 4\r\n\r\n{no}", 400, "invalid_json"),
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]", 400, "invalid_json"),
        (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}", 400, "invalid_request"),
        (chat("echo", messages=[]), 400, "invalid_request"),
        (chat("echo-z1"), 400, "invalid_request"),
        (chat("gpt-4o"), 404, "model_not_found"),
        (chat("echo", path="/v1/nothing"), 404, "not_found"),
        (GET % b"/nothing", 404, "not_found"),
    ],
)
async def test_what_cannot_be_answered_gets_an_error_in_the_shape_of_openai(
    client, request_, status, code, autojump_clock
):
    await client.send(request_)
    await client.read_until(b"}}")
    assert client.got.startswith(b"HTTP/1.1 %d " % status)
    error = json.loads(body_of(client))["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "code", "param"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/v1/models", {"echo", "echo-ndjson"}),
        (b"/api/tags", {"echo", "echo-ndjson"}),
        (b"/v1/models/echo", {"echo"}),
    ],
)
async def test_the_models_are_listed(client, path, found, autojump_clock):
    await client.send(GET % path)
    await client.read()
    await client.read()
    value = json.loads(body_of(client))
    listed = value.get("data") or value.get("models") or [value]
    assert {one.get("id") or one["name"] for one in listed} == found


async def test_a_head_request_gets_no_body(client, autojump_clock):
    await client.send((GET % b"/").replace(b"GET", b"HEAD") + GET % b"/api/version")
    await client.read_until(b'"}')
    assert client.got.count(b"HTTP/1.1 200 OK") == 2
    assert b"running" not in client.got


async def test_a_script_answers_any_request(client, upstream, autojump_clock):
    upstream.script = lambda request: Answer(
        418, [("x-path", request.path)], [Send(b"short"), Send(b" and stout")], "length"
    )
    await client.send(GET % b"/tea")
    await client.read_until(b"stout")
    assert client.got.startswith(b"HTTP/1.1 418 I'm a Teapot\r\nx-path: /tea\r\ncontent-length: 15\r\n")


async def test_a_script_that_returns_none_leaves_it_to_the_name(client, upstream, autojump_clock):
    upstream.script = lambda request: None
    await client.send(chat("echo"))
    await client.read_until(b"[DONE]")


async def test_what_a_script_raises_comes_out(upstream, autojump_clock):
    def script(request):
        raise LookupError("a fault of the test's own")

    upstream.script = script
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await Client(nursery, upstream).send(GET % b"/")


async def test_each_send_is_a_write_and_a_sleep_lies_between(client, upstream, autojump_clock):
    event = trio.Event()
    steps = [
        *cut("é".encode(), 1),
        Sleep(3),
        Send(b""),
        Send(b"two"),
        WaitFor(event),
        *ndjson({"a": 1}),
    ]
    upstream.script = lambda request: Answer(steps=steps, head_delay=1)
    await client.send(GET % b"/")
    await client.read_until(b"two")
    event.set()
    await client.read_until(b"0\r\n\r\n")
    assert client.body == b'\xc3\xa9two{"a":1}\n'
    assert b"1\r\n\xc3\r\n" in client.got
    assert [at for at, data in client.reads if b"HTTP" in data or b"two" in data] == [1, 4]


@pytest.mark.parametrize("last", [Close(), Abort()])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_close_and_abort_end_the_connection_there(
    client, upstream, last, framing, autojump_clock
):
    upstream.script = lambda request: Answer(
        steps=[Send(b"some"), last, Send(b"more")], framing=framing
    )
    await client.send(GET % b"/")
    got = await client.read_all()
    assert b"some" in got
    assert b"more" not in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_close_framing_ends_well_with_the_connection(client, upstream, autojump_clock):
    upstream.script = lambda request: Answer(steps=sse({"a": 1}, "two"), framing="close")
    await client.send(chat("m"))
    assert (await client.read_all()).endswith(b'\r\n\r\ndata: {"a":1}\n\ndata: two\n\ndata: [DONE]\n\n')
    assert upstream.completed == 1


async def test_an_iterator_with_a_length_must_say_which(upstream, autojump_clock):
    upstream.script = lambda request: Answer(steps=iter(cut(b"abc", 1)), framing="length")
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await Client(nursery, upstream).send(GET % b"/")


def test_cut_takes_a_size_or_offsets():
    assert [one.data for one in cut(b"abcdefg", 3)] == [b"abc", b"def", b"g"]
    assert [one.data for one in cut(b"abcdefg", [5, 1])] == [b"a", b"bcde", b"fg"]
    assert cut(b"", 3) == []
    with pytest.raises(ValueError, match="at least one"):
        cut(b"abc", 0)


def test_sse_may_leave_out_the_end():
    assert [one.data for one in sse("x", b"y", done=False)] == [b"data: x\n\n", b"data: y\n\n"]


@pytest.mark.parametrize(
    ("model", "status", "check"),
    [
        (
            "echo",
            200,
            lambda body: json.loads(body)["choices"][0]["message"]["content"] == "hello world",
        ),
        ("echo-ndjson", 200, lambda body: json.loads(body)["message"]["content"] == "hello world"),
        ("echo-s3", 200, lambda body: json.loads(body)["usage"]["completion_tokens"] == 3),
        ("echo-m0", 200, lambda body: body == b'{"choices":[oops'),
        ("echo-u1", 200, lambda body: b"\xe2\x82\xffhello" in body),
        ("echo-e0", 500, lambda body: json.loads(body)["error"]["type"] == "api_error"),
    ],
)
async def test_a_whole_answer_meets_its_script_too(client, model, status, check, autojump_clock):
    await client.send(chat(model, stream=False))
    await client.read_until(b"\r\n\r\n")
    length = int(client.got.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body_of(client)) < length:
        await client.read()
    assert client.got.startswith(b"HTTP/1.1 %d " % status)
    assert check(body_of(client))


@pytest.mark.parametrize("step", ["x0", "t2"])
async def test_a_whole_answer_breaks_off_half_way(client, upstream, step, autojump_clock):
    await client.send(chat(f"echo-{step}", stream=False))
    await client.read_all()
    assert body_of(client).startswith(b'{"id":')
    assert not body_of(client).endswith(b"}")
    assert upstream.broken_off == 1


async def test_a_whole_answer_takes_the_time_of_all_its_chunks(client, autojump_clock):
    await client.send(chat("echo-c4-d500-f1000", stream=False))
    await client.read()
    assert client.reads[0][0] == 3
