"""Traces, received by a real OTLP/HTTP receiver."""

from __future__ import annotations

import logging
import time

import pytest
import trio

from tests.observe.otlp import attributes, otlp_receiver
from tests.serve.command import CLEAN, ask, served
from tests.stack import chat, memory_stack, real_stack
from trio_router.dialects.usage import Usage
from trio_router.observe.tracing import passed_on, tracing_from
from trio_router.testing import json_answer

pytest.importorskip("opentelemetry.sdk")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
CLIENT, INTERNAL, ERROR = 3, 1, 2  # as OTLP numbers them


def labels(record) -> tuple[str, str]:
    return record.provider, record.model


@pytest.fixture
def receiver(monkeypatch):
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        yield receiver


async def traced(body, **headers):
    """What the upstream saw, and how the client was answered."""
    async with real_stack() as stack:
        answer = await stack.client.post("/v1/chat/completions", json=body, headers=headers)
        return stack.upstream.requests[-1], answer


def seen(request, name: str) -> str | None:
    found = [value for key, value in request.headers.items() if key == name]
    return found[0] if found else None


async def test_a_stream_is_a_span_with_three_children(receiver):
    request, answer = await traced(
        chat("any/echo-c3", stream=True), traceparent=PARENT, tracestate="a=1"
    )
    spans = receiver.wait(4)
    root = next(span for span in spans if span.kind == CLIENT)
    children = [span for span in spans if span is not root]
    assert root.name == "chat echo-c3"
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, SPAN)
    assert root.trace_state == "a=1"
    assert [span.name for span in children] == ["connect", "first event", "stream"]
    assert {span.parent_span_id for span in children} == {root.span_id}
    assert {span.trace_id for span in children} == {root.trace_id}
    assert {span.kind for span in children} == {INTERNAL}
    assert seen(request, "traceparent") == f"00-{TRACE}-{root.span_id.hex()}-01"
    assert seen(request, "tracestate") == "a=1"
    times = [root.start_time_unix_nano]
    for span in children:
        assert span.start_time_unix_nano >= times[-1] - 1000
        times.append(span.end_time_unix_nano)
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert times[-1] <= root.end_time_unix_nano
    assert abs(root.end_time_unix_nano / 1e9 - time.time()) < 60
    assert answer.status_code == 200


async def test_a_spans_attributes_are_those_of_the_conventions(receiver):
    request, _ = await traced(chat("any/echo-c3", stream=True))
    root = next(span for span in receiver.wait(4) if span.kind == CLIENT)
    found = attributes(root)
    port = int(seen(request, "host").rpartition(":")[2])
    assert found["gen_ai.response.time_to_first_chunk"] > 0
    assert found["trio_router.chunks"] == 6
    assert {
        name: found[name] for name in found if not name.startswith(("trio", "gen_ai.response"))
    } == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "any",
        "gen_ai.request.model": "echo-c3",
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": found["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": 3,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    resource = receiver.resources[0]
    assert resource["service.name"] == "trio-router"
    assert resource["deployment.environment.name"] == "test"


def test_the_names_are_those_of_the_package_of_conventions():
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI")}
    from trio_router.config.kinds import KINDS
    from trio_router.observe import tracing
    from trio_router.observe.record import RequestRecord

    record = RequestRecord("r", 0.0, first_event_at=1.0, used=Usage(1, 1))
    ours = {name for name in tracing._attributes(record, "") if name.startswith("gen_ai.")}
    assert ours <= known
    providers = {value.value for value in gen_ai_attributes.GenAiProviderNameValues}
    assert {kind.traced_as for kind in KINDS} - {""} <= providers


@pytest.mark.parametrize(
    ("model", "names", "kind"),
    [
        ("echo-r500", ["connect", "first event"], "http_500"),
        ("echo-c9-x3", ["connect", "first event", "stream"], "upstream_truncated"),
    ],
)
async def test_a_failure_is_told_where_it_happened(receiver, model, names, kind):
    await traced(chat(f"any/{model}", stream=True))
    spans = receiver.wait(len(names) + 1)
    root = next(span for span in spans if span.kind == CLIENT)
    children = [span for span in spans if span is not root]
    assert [span.name for span in children] == names
    assert (root.status.code, attributes(root)["error.type"]) == (ERROR, kind)
    assert (children[-1].status.code, attributes(children[-1])["error.type"]) == (ERROR, kind)
    assert all(span.status.code == 0 for span in children[:-1])


async def test_a_request_without_a_parent_begins_a_trace(receiver):
    request, _ = await traced(chat("any/echo"), traceparent="00-rubbish")
    root = next(span for span in receiver.wait(4) if span.kind == CLIENT)
    assert root.parent_span_id == b""
    sent = seen(request, "traceparent")
    assert sent.startswith(f"00-{root.trace_id.hex()}-{root.span_id.hex()}-")
    assert int(sent[-2:], 16) & 1  # sampled


async def test_what_is_not_sampled_is_passed_on_and_not_sent(receiver):
    request, _ = await traced(chat("any/echo"), traceparent=PARENT[:-1] + "0")
    assert seen(request, "traceparent").startswith(f"00-{TRACE}-")
    assert seen(request, "traceparent").endswith("-00")
    await traced(chat("any/echo"))
    assert len({span.trace_id for span in receiver.wait(4)}) == 1


async def test_a_receiver_that_hangs_stops_no_stream_and_no_shutdown(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    receiver.hang.set()
    with trio.fail_after(20):
        async with real_stack() as stack:
            for _ in range(30):
                answer = await stack.client.post("/v1/chat/completions", json=chat("any/echo"))
                assert answer.status_code == 200
            began = trio.current_time()
            stack.stop.set()
            await stack.stopped.wait()
            assert trio.current_time() - began < 2


async def test_without_tracing_a_clients_context_reaches_the_upstream(autojump_clock):
    async with memory_stack() as stack:
        await stack.ask(chat("any/echo"), traceparent=PARENT, tracestate="vendor=1")
        assert seen(stack.upstream.requests[-1], "traceparent") == PARENT
        assert seen(stack.upstream.requests[-1], "tracestate") == "vendor=1"
        await stack.ask(chat("any/echo"))
        assert seen(stack.upstream.requests[-1], "traceparent") is None


@pytest.mark.parametrize("path", ["embeddings", "moderations", "images/generations"])
async def test_a_clients_context_reaches_the_upstream_of_other_endpoints(autojump_clock, path):
    async with memory_stack() as stack:
        stack.upstream.script = lambda _: json_answer({"data": [], "object": "list"})
        body = {"model": "any/m", "input": "x", "prompt": "x"}
        await stack.client.post(f"/v1/{path}", json=body, headers={"traceparent": PARENT})
        assert seen(stack.upstream.requests[-1], "traceparent") == PARENT
        await trio.sleep(1)  # it is booked once the upstream is closed
        assert stack.router.observation.history.recent[-1][2].tries[0].first_event_at is not None


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"00",
        b"ff-" + PARENT[3:].encode(),
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"x" * 9999,
    ],
)
def test_no_context_is_made_up_of_rubbish(parent):
    assert passed_on(parent, b"a=1") == b""


@pytest.mark.parametrize("state", [b"a=\r\nx: y", b"\xff", b"a" * 513, b""])
def test_a_broken_state_is_left_out(state):
    assert passed_on(PARENT.encode(), state) == b"traceparent: %b\r\n" % PARENT.encode()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_SERVICE_NAME": "me"},
    ],
)
def test_there_is_no_tracing_unless_it_is_asked_for(environ):
    assert tracing_from(environ, labels, time.time) is None


def test_every_worker_sends_its_spans(receiver, monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_BSP_SCHEDULE_DELAY"):
        monkeypatch.setitem(CLEAN, name, receiver.url if "ENDPOINT" in name else "50")
    import httpx

    with served("--workers", "2") as router:
        for _ in range(6):
            with httpx.Client(base_url=router.url, trust_env=False) as client:
                answer = client.post("/v1/chat/completions", json=ask("demo/echo"))
                assert answer.status_code == 200
        spans = receiver.wait(4 * 6)
    assert len({span.trace_id for span in spans}) == 6
    assert len({span.span_id for span in spans}) == 24
