"""Names that are none: refused where they enter, and harmless wherever they are written down."""

from __future__ import annotations

import json
import logging
import os
from urllib.parse import quote

import pytest
import trio
from _pytest.logging import LogCaptureHandler

from tests.stack import PROVIDERS, chat, memory_stack
from trio_router.config.file import ConfigError, parse_config
from trio_router.demo import json_answer
from trio_router.dialects import DIALECTS
from trio_router.errors import InvalidRequest
from trio_router.observe.log import ConsoleFormatter, LogSettings, log_request, logger, logging_to
from trio_router.observe.metrics import Metrics
from trio_router.observe.record import Outcome, RequestRecord
from trio_router.observe.tracing import _attributes
from trio_router.wire.names import escaped, name_complaint, path_segment

UNSEEN = [
    "\ud800",
    "x\udfffy",
    "a\r\nx-evil: 1",
    "a\nb",
    "\x00",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\u202e",
]
CLIMBING = ["..", ".", "../x", "x/..", "x/../y", "./x", "/x", "x//y", "x/"]
BAD = UNSEEN + CLIMBING
GOOD = ["gpt-4o", "meta-llama/Llama-3:free", "модель", "👋🏽", "a b", "...", "v1.2", "x%2F..", "a..b/c"]


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_what_is_no_name(name):
    assert name_complaint(f"p/{name}")


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_what_is_a_name(name):
    assert name_complaint(f"p/{name}") == ""
    assert escaped(name) == name


@pytest.mark.parametrize("name", BAD, ids=ascii)
@pytest.mark.parametrize("provider", ["any", "ollama", "azure", "gemini"])
async def test_a_client_that_makes_one_up_is_told_and_nobody_is_asked(provider, name):
    more = """
  azure: {dialect: azure, base_url: "http://upstream"}
  gemini: {dialect: gemini, base_url: "http://upstream"}
"""
    async with memory_stack(providers=PROVIDERS + more) as stack:
        for path in ("chat/completions", "messages", "responses", "completions", "embeddings"):
            body = {**chat(f"{provider}/{name}"), "input": "x", "prompt": "x", "max_tokens": 1}
            response = await stack.client.post(f"/v1/{path}", content=json.dumps(body))
            assert response.status_code == 400
            assert "name" in response.text
        for path in ("audio/speech", "images/generations", "rerank", "messages/count_tokens"):
            body = {"model": f"{provider}/{name}"}
            response = await stack.client.post(f"/v1/{path}", content=json.dumps(body))
            assert response.status_code == 400
        assert not stack.upstream.requests
        assert (await stack.client.get("/metrics")).status_code == 200


@pytest.mark.parametrize("name", UNSEEN[2:], ids=ascii)
async def test_none_is_told_of_at_the_models_endpoint(name):
    async with memory_stack() as stack:
        response = await stack.client.get(f"/v1/models/any/{quote(name)}")
        assert response.status_code in (400, 404)  # 404: no path holds a line end
        assert "evil" not in response.headers


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_one_in_the_configuration_is_complained_of(name):
    model = f'providers: {{p: {{base_url: "http://h", models: {{{json.dumps(name)}: {{}}}}}}}}'
    with pytest.raises(ConfigError):
        parse_config(model, {})


@pytest.mark.parametrize("name", ["..", ".", "a\x1bb", "a\u202eb", "\ud800"], ids=ascii)
def test_so_are_a_providers_and_a_routes(name):
    provider = {"base_url": "http://h"}
    route = {"targets": [{"model": "p/x"}]}
    for text in (
        {"providers": {name: provider}},
        {"providers": {"p": provider}, "routes": {name: route}},
        {"providers": {"p": {**provider, "models": {"m": {"upstream_model": "a\x1b"}}}}},
    ):
        with pytest.raises(ConfigError):
            parse_config(json.dumps(text), {})


async def test_one_in_a_providers_own_list_is_left_out():
    async with memory_stack() as stack:
        listed = {"data": [{"id": name} for name in [*BAD, "good"]]}

        def answer(request):
            return json_answer(listed)

        stack.upstream.script = answer
        async with trio.open_nursery() as nursery:
            await nursery.start(stack.router.catalog.run)
            found = (await stack.client.get("/v1/models")).json()["data"]
            nursery.cancel_scope.cancel()
        assert [one["id"] for one in found if one["id"].startswith("any/")] == ["any/good"]


# Every sink writes them down safely, whoever let them in.


def record_of(name, *, is_listed=True):
    record = RequestRecord("req_1", 0.0, provider="p", model=name, is_listed=is_listed)
    record.ended_at, record.first_event_at, record.attempts = 1.0, 0.5, 1
    record.outcome = Outcome.COMPLETED
    return record


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_metrics_are_told_all_the_same(name, is_listed):
    metrics = Metrics()
    metrics.ended(record_of("good"))
    metrics.ended(record_of(name, is_listed=is_listed))
    metrics.target_state.labels("p", name).set(1)
    text = metrics.text().decode()
    assert 'trio_router_requests_total{model="good",outcome="completed",provider="p"} 1.0' in text
    lines = [line for line in text.split("\n") if line.startswith("trio_router_requests_total{")]
    assert len(lines) == 2
    assert not any("x-evil" in line and not line.startswith("trio") for line in text.split("\n"))


@pytest.fixture
def uncaptured():
    """The log is not captured: what cannot be encoded could not be told to the process that reports."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, LogCaptureHandler)]
    for handler in handlers:
        handler.addFilter(_nothing)
    yield
    for handler in handlers:
        handler.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


@pytest.mark.usefixtures("uncaptured")
@pytest.mark.parametrize("kind", ["console", "json"])
@pytest.mark.parametrize("name", UNSEEN, ids=ascii)
def test_the_log_has_one_line_each_and_goes_on(kind, name):
    reading, writing = os.pipe()
    with logging_to(writing, LogSettings(format=kind)):
        log_request(record_of(name))
        logger.info("hello %s", name)
        logger.info("unwritable", extra={"fields": {"duration_ms": name}})
        log_request(record_of("good"))
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    assert len(text.splitlines()) == 4
    assert "good" in text.splitlines()[-1]
    assert all(line.isprintable() for line in text.split("\n"))
    if kind == "json":
        assert json.loads(text.splitlines()[0])["model"] == name


def test_a_fault_in_the_console_log_keeps_its_lines():
    try:
        raise ValueError("bad \x1b[2J\ud800")
    except ValueError as fault:
        info = (type(fault), fault, fault.__traceback__)
    record = logging.LogRecord("trio_router", logging.ERROR, "", 0, "it failed", (), info)
    text = ConsoleFormatter().format(record)
    assert "\\x1b[2J\\ud800" in text
    assert len(text.split("\n")) > 2
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("name", UNSEEN, ids=ascii)
def test_traces_can_be_encoded(name):
    assert _attributes(record_of(name), "")["gen_ai.request.model"].isprintable()


@pytest.mark.parametrize("name", ["..", "."])
def test_no_path_climbs(name):
    body = {"model": name, "messages": [], "input": "x"}
    tuned = {**body, "model": f"tunedModels/{name}"}
    for refused in (
        lambda: DIALECTS["azure"].build_request(body, ask_usage=False),
        lambda: DIALECTS["gemini"].build_request(body, ask_usage=False),
        lambda: DIALECTS["gemini"].build_request(tuned, ask_usage=False),
        lambda: DIALECTS["gemini"].embeddings.request(body, drop_unsupported=False),
        lambda: DIALECTS["azure"].embeddings.request(body, drop_unsupported=False),
        lambda: DIALECTS["azure"].passing.passing_path("/audio/speech", name),
        lambda: path_segment(name),
    ):
        with pytest.raises(InvalidRequest):
            refused()


@pytest.mark.parametrize("name", UNSEEN, ids=ascii)
def test_a_path_holds_every_name_in_one_segment(name):
    path = path_segment(f"a/{name}")
    assert "/" not in path
    assert path.isascii()
    assert path.isprintable()
