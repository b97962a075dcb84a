"""Whatever a request or a connection comes to: nothing of ours is left to the cyclic collector.

It looks seldom in a process that serves, and what it is left with is memory until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.api.uploads import FORM, form, part
from tests.chunks import SSE, delta
from tests.connections import CHAT, everything, framed, streamed, until
from tests.garbage import collected
from tests.relay.native_events import COMPLETED, CREATED, body as native_body
from tests.stack import Stack, chat, memory_stack
from trio_router.demo import Abort, Answer, Hang, Send, Sleep, json_answer, sse
from trio_router.errors import Stopped
from trio_router.observe.record import Outcome
from trio_router.server.request_body import RequestBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Scenario = Callable[[Stack], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("what_was_there_stands_aside")

SETTINGS = """
server: {max_body: 20000}
timeouts: {first_event: 5, read: 5, response: 5, total: 50, stall: 5, connect: 5, pool: 5, keepalive: 1}
routes:
  falls: {targets: [{model: nowhere/m}, {model: any/echo-r500}, {model: any/echo}], retry: {base: 0.1}}
  fails: {targets: [{model: any/echo-x0}, {model: nowhere/m}], retry: {base: 0.1}}
  waits: {targets: [{model: any/echo-h0}, {model: any/echo}], first_event: 2}
  won: {targets: [{model: any/echo-f3000}, {model: any/echo}], hedge: {after: 0.5, share: 1}}
  lost: {targets: [{model: any/echo-f900}, {model: any/echo-h0}], hedge: {after: 0.5, share: 1}}
  races: {targets: [{model: any/echo-h0}, {model: any/echo-f9000}], hedge: {after: 0.5, share: 1}}
  whole: {targets: [{model: any/echo-x2}, {model: any/echo}], commit: complete}
  replays: {targets: [{model: any/echo-x2}, {model: any/echo}], midstream: replay}
  differs: {targets: [{model: any/echo-x2}, {model: any/echo-c9}], midstream: replay}
  goes_on: {targets: [{model: any/echo-x2}, {model: any/echo, prefill: true}], midstream: prefill}
  drains: {targets: [{model: any/echo-d500-c9}], on_disconnect: {drain: {seconds: 20, max: 9}}}
  drains_not: {targets: [{model: any/echo-d5000-c9}], on_disconnect: {drain: {seconds: 3, max: 9}}}
"""
PROVIDERS = """
providers:
  any: {base_url: "http://upstream/v1"}
  ollama: {dialect: ollama, base_url: "http://upstream"}
  claude: {dialect: anthropic, base_url: "http://upstream/v1", models: {m: {}}}
  gemini: {dialect: gemini, base_url: "http://upstream/v1", api_key: k, models: {m: {}}}
  cohere: {dialect: cohere, base_url: "http://upstream/v1", models: {m: {}}}
  native: {base_url: "http://upstream/v1", responses: true}
  nowhere: {base_url: "http://nowhere/v1", models: {m: {}}}
  never: {base_url: "http://never/v1", models: {m: {}}}
  few: {base_url: "http://upstream/v1", max_in_flight: 1, max_queue: 1}
"""
WHOLE = {"messages": [{"role": "user", "content": "Hello, world!"}], "max_tokens": 9}


class Never:
    """Hosts that answer no connection."""

    def __init__(self, stack: Stack) -> None:
        self._connect = stack._to_upstream

    async def __call__(self, host: str, port: int) -> trio.abc.Stream:
        if host == "never":
            await trio.sleep_forever()
        return await self._connect(host, port)


def asks(*requests: bytes, expect: bytes = b"") -> Scenario:
    """Each request on a connection of its own, answered in full; `expect` is in every answer."""

    async def scenario(stack: Stack) -> None:
        for request in requests:
            connection = await stack.connect()
            await connection.send_all(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
            got = await everything(connection, within=100)
            assert expect in got, got
            await connection.aclose()

    return scenario


def model(*names: str, expect: bytes = b"", path: str = CHAT, **fields: Any) -> Scenario:
    """Whole and streamed answers of models."""
    return asks(
        *[
            framed(path, {**WHOLE, "model": name, "stream": stream, **fields})
            for name in names
            for stream in (False, True)
        ],
        expect=expect,
    )


def scripted(answer: Callable[[], Answer], scenario: Scenario) -> Scenario:
    async def run(stack: Stack) -> None:
        stack.upstream.script = lambda _: answer()
        await scenario(stack)
        stack.upstream.script = None

    return run


def leaves(request: bytes, seen: bytes = b"", after: float = 0.2) -> Scenario:
    """A client that leaves `after` seconds, having read up to `seen`."""

    async def scenario(stack: Stack) -> None:
        connection = await stack.connect()
        await connection.send_all(request)
        if seen:
            await until(connection, seen)
        await trio.sleep(after)
        await connection.aclose()
        while stack.router.engine.running:  # noqa: ASYNC110  nothing tells
            await trio.sleep(1)

    return scenario


async def keeps_the_connection(stack: Stack) -> None:
    connection = await stack.connect()
    for _ in range(3):
        await connection.send_all(streamed("any/echo"))
        await until(connection, b"0\r\n\r\n")
    await trio.sleep(100)  # it is closed when it has been idle for so long
    assert not await connection.receive_some()
    await connection.aclose()


async def sends_ahead(stack: Stack) -> None:
    connection = await stack.connect()
    await connection.send_all(streamed("any/echo") * 3)
    got = await until(connection, b"0\r\n\r\n")
    while got.count(b"0\r\n\r\n") < 3:
        got += await connection.receive_some()
    await connection.aclose()


async def stops(stack: Stack) -> None:
    """An operator ends a stream, and a request that waits."""
    for is_stream in (True, False):
        connection = await stack.connect()
        await connection.send_all(framed(CHAT, chat("any/echo-h1", stream=is_stream)))
        await trio.testing.wait_all_tasks_blocked()
        for exchange in list(stack.router.engine.running):
            exchange.abort(Stopped("enough"), Outcome.STOPPED)
        await until(connection, b"stopped")
        await connection.aclose()


async def waits_for_a_slot(stack: Stack) -> None:
    """One has the slot, one waits in vain, one leaves while waiting, and some find the queue full."""
    connections = [await stack.connect() for _ in range(4)]
    for connection in connections:
        await connection.send_all(streamed("few/echo-h1"))
        await trio.testing.wait_all_tasks_blocked()
    await until(connections[2], b"overloaded")
    await connections[1].aclose()
    await connections[3].send_all(streamed("few/echo-h1"))
    await until(connections[3], b"provider_timeout")
    for connection in connections:
        await connection.aclose()


async def uses_a_connection_that_has_died(stack: Stack) -> None:
    stack.upstream.script = lambda _: Answer(
        headers=[("content-type", "application/json"), ("content-length", "2")],
        steps=[Send(b"{}"), Sleep(1), Abort()],
    )
    for _ in range(2):
        await asks(framed(CHAT, chat("any/m")))(stack)
    stack.upstream.script = None
    await trio.sleep(2)
    await model("any/echo")(stack)


async def never_sends_its_body(stack: Stack) -> None:
    connection = await stack.connect()
    await connection.send_all(streamed("any/echo")[:-5])
    await until(connection, b"request_timeout", within=100)
    await connection.aclose()


async def watches_the_dashboard(stack: Stack) -> None:
    connection = await stack.connect()
    await connection.send_all(framed("/dashboard/events", b"", method="GET"))
    await until(connection, b"\n\n")
    await trio.sleep(5)
    await connection.aclose()


async def is_told_to_send(stack: Stack) -> None:
    connection = await stack.connect()
    head, _, data = framed(CHAT, chat("any/echo"), "expect: 100-continue").partition(b"\r\n\r\n")
    await connection.send_all(head + b"\r\n\r\n")
    await until(connection, b"100 Continue\r\n\r\n")
    await connection.send_all(data)
    await until(connection, b"total_tokens")
    await connection.aclose()


SPEECH = Answer(headers=[("content-type", "audio/mpeg")], steps=[Send(b"x" * 9000)] * 3)
TEXT = json_answer({"text": "hello"})
UPLOAD = form(part("file", b"RIFF" * 4000, "a.wav"), part("model", b"any/whisper"))
AUDIO = framed("/v1/audio/transcriptions", UPLOAD, f"content-type: {FORM}")
SPEAK = framed("/v1/audio/speech", {"model": "any/tts", "input": "hello", "voice": "x"})
MINE = {"model": "native/m", "input": "?", "stream": True}
FILE = framed("/v1/files?provider=any", UPLOAD, f"content-type: {FORM}")
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message",'
    b'"role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"hi"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)

SCENARIOS: dict[str, Scenario] = {
    "answers": model("any/echo", "ollama/echo"),
    "answers with usage": asks(streamed("any/echo", stream_options={"include_usage": True})),
    "a long answer": model("any/echo-c300"),
    "a kept connection": keeps_the_connection,
    "requests sent ahead": sends_ahead,
    "a body that is asked for": is_told_to_send,
    "other APIs of the client": model("any/echo", "ollama/echo", path="/v1/messages"),
    "responses": asks(
        *[
            framed("/v1/responses", {"model": name, "input": "hello", "stream": is_stream})
            for name in ("any/echo", "any/echo-x2", "ollama/echo")
            for is_stream in (False, True)
        ]
    ),
    "completions": asks(
        *[
            framed("/v1/completions", {"model": name, "prompt": "hello", "stream": is_stream})
            for name in ("any/echo", "ollama/echo", "any/echo-r500")
            for is_stream in (False, True)
        ]
    ),
    "native responses": scripted(
        lambda: native_body(CREATED + COMPLETED), asks(framed("/v1/responses", MINE))
    ),
    "native responses that break off": scripted(
        lambda: native_body(CREATED), asks(framed("/v1/responses", MINE))
    ),
    "anthropic": scripted(
        lambda: Answer(headers=SSE, steps=[Send(ANTHROPIC)]),
        asks(
            streamed("claude/m"),
            framed("/v1/messages", {**WHOLE, "model": "claude/m", "stream": True}),
            framed("/v1/messages", {**WHOLE, "model": "claude/m"}),
            framed("/v1/messages/count_tokens", {**WHOLE, "model": "claude/m"}),
        ),
    ),
    "answers that are none": scripted(
        lambda: Answer(headers=SSE, steps=[Send(b"data: {}\n\n")]),
        model("claude/m", "gemini/m", "cohere/m", "ollama/m"),
    ),
    "embeddings": asks(framed("/v1/embeddings", {"model": "any/echo", "input": "hello"})),
    "listings and probes": asks(
        *[
            framed(path, b"", method="GET")
            for path in ("/v1/models", "/v1/models/any/m", "/healthz", "/readyz", "/metrics")
        ]
    ),
    "the dashboard": asks(
        *[framed(path, b"", method="GET") for path in ("/dashboard", "/dashboard/app.js")]
    ),
    "a watched dashboard": watches_the_dashboard,
    "unknown paths and methods": asks(
        framed("/nothing", b""),
        framed("/v1/models", b""),
        framed("/v1/models/x/y", b"", method="GET"),
    ),
    "refused requests": asks(
        framed(CHAT, b"{"),
        framed(CHAT, {"model": 1}),
        framed(CHAT, chat("nothing/m")),
        framed(CHAT, chat("any/echo", "x" * 30_000)),
        framed(CHAT, chat("any/echo", n="x")),
        framed("/v1/messages", {"model": "any/m"}),
        framed("/v1/responses", {"model": "any/m", "input": "?", "background": True}),
        framed(CHAT, chat("any/echo"), "transfer-encoding: chunked"),
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000 + b"\r\n\r\n",
    ),
    "bodies that do not come": never_sends_its_body,
    "errors of the upstream": model(
        *[f"any/echo-{step}" for step in ("r400", "r401", "r403", "r429", "r500", "r302")]
    ),
    "broken answers": model(
        *[
            f"any/echo-{step}"
            for step in ("x0", "x2", "m0", "m2", "u2", "t0", "t2", "e0", "e2", "nodone")
        ]
    ),
    "silence of the upstream": model("any/echo-h0", "any/echo-h2", "any/echo-f9000", "any/echo-d9000"),
    "silence that is bridged": model("any/echo-d2500-c3"),
    "upstreams out of reach": model("nowhere/m", "never/m"),
    "slots": waits_for_a_slot,
    "dead upstream connections": uses_a_connection_that_has_died,
    "routes that rescue": model("falls", "waits"),
    "routes that fail": model("fails"),
    "hedges": model("won", "lost"),
    "held answers": model("whole"),
    "resumed answers": model("replays", "differs", "goes_on"),
    "an operator's stop": stops,
    "passages": asks(
        AUDIO,
        FILE,
        SPEAK,
        framed("/v1/files?provider=any", b"", method="GET"),
        framed("/v1/rerank", b"x"),
    ),
    "answered passages": scripted(lambda: TEXT, asks(AUDIO, FILE)),
    "audio": scripted(lambda: SPEECH, asks(SPEAK)),
    "audio that breaks off": scripted(
        lambda: Answer(headers=SPEECH.headers, steps=[Send(b"x" * 9000), Abort()]), asks(SPEAK)
    ),
    "broken forms": asks(
        framed("/v1/audio/transcriptions", UPLOAD, "content-type: multipart/form-data; boundary=no"),
        framed("/v1/audio/transcriptions", UPLOAD[:-300], f"content-type: {FORM}"),
    ),
    "leaving in the head": leaves(streamed("any/echo")[:40]),
    "leaving in the body": leaves(streamed("any/echo")[:-5]),
    "leaving in an upload": leaves(AUDIO[:-5]),
    "leaving while connecting": leaves(streamed("never/m")),
    "leaving before the first event": leaves(streamed("any/echo-h0")),
    "leaving an answer without streaming": leaves(framed(CHAT, chat("any/echo-h0"))),
    "leaving a stream": leaves(streamed("any/echo-h1"), b"\n\n\r\n"),
    "leaving a stream that goes on": leaves(streamed("any/echo-d100-c300"), b"\n\n\r\n"),
    "leaving in another API": leaves(
        framed("/v1/messages", {**WHOLE, "model": "any/echo-h1", "stream": True}), b"\n\n\r\n"
    ),
    "leaving responses": leaves(
        framed("/v1/responses", {"model": "ollama/echo-h1", "input": "x", "stream": True}),
        b"\n\n\r\n",
    ),
    "leaving with requests ahead": leaves(streamed("any/echo-h1") * 3, b"\n\n\r\n"),
    "leaving a route": leaves(streamed("waits")),
    "leaving between two targets": leaves(streamed("falls"), after=0.05),
    "leaving a race": leaves(streamed("races"), after=0.8),
    "leaving a resumed answer": leaves(streamed("replays"), b"\n\n\r\n", after=0),
    "leaving a drain": leaves(streamed("drains"), b"\n\n\r\n", after=1),
    "leaving a drain that is cut": leaves(streamed("drains_not"), b"\n\n\r\n", after=1),
    "leaving before a passage's answer": scripted(lambda: Answer(steps=[Hang()]), leaves(SPEAK)),
    "leaving audio": scripted(
        lambda: Answer(headers=SPEECH.headers, steps=[Send(b"x" * 9000), Hang()]), leaves(SPEAK, b"xx")
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_nothing_of_ours_is_left_to_the_collector_by(name, autojump_clock):
    async with memory_stack(SETTINGS, PROVIDERS) as stack:
        stack._to_upstream = Never(stack)
        await SCENARIOS[name](stack)  # what is made once, at the first request
        await trio.testing.wait_all_tasks_blocked()
        stack.upstream.requests.clear()
        with collected() as garbage:
            for _ in range(2):
                await SCENARIOS[name](stack)
            await trio.sleep(40)
            await trio.testing.wait_all_tasks_blocked()
    assert not garbage.ours, str(garbage)


@pytest.mark.parametrize("how", ["leaves", "stays"])
@pytest.mark.parametrize("path", [CHAT, "/v1/audio/speech"])
async def test_nothing_of_ours_is_left_to_the_collector_by_a_client_that_takes_nothing_and(
    how, path, autojump_clock
):
    chunk = sse(delta("x" * 100), done=False)[0]

    def endless():
        while True:
            yield chunk

    async with memory_stack(SETTINGS, PROVIDERS, tight=True) as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())

        async def scenario() -> None:
            connection = await stack.connect()
            await connection.send_all(framed(path, chat("any/m", stream=True)))
            await connection.receive_some(1000)
            await trio.sleep(1)
            if how == "stays":
                while stack.router.engine.running:  # noqa: ASYNC110  nothing tells
                    await trio.sleep(1)
            await connection.aclose()

        await scenario()
        with collected() as garbage:
            await scenario()
            await trio.sleep(40)
            await trio.testing.wait_all_tasks_blocked()
    assert not garbage.ours, str(garbage)


def test_the_tool_finds_a_cycle_of_ours():
    with collected() as garbage:
        body = RequestBody(1, None)
        body.on_wanted = body.read
        del body
    assert garbage.ours == {"RequestBody": 1, "method RequestBody.read": 1}
    assert garbage.cycles == ["RequestBody -> method RequestBody.read -> RequestBody"]
