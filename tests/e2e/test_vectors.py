"""Other projects' test vectors for streams, sent through the running router.

The vectors say what an SSE parser or an OpenAI client makes of some bytes; here the bytes come from an
upstream, and the router's client reads what becomes of them.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.reading import read_stream
from tests.e2e.replay import answer, random_cuts, replayer, tiny, whole
from tests.helpers import at_offsets, corpus, raw

pytestmark = [pytest.mark.corpus, pytest.mark.slow]
CUTS = pytest.mark.parametrize("cut", [whole, tiny, random_cuts])

# Where the contract says otherwise than a vector: the vector's name, and why.
CONTRACT_WINS = {
    "rejects trailing tab after the completion marker": (
        "real streams say '[DONE] ' with white space after it: a clean end, and no broken JSON"
    ),
}


def contract_wins(name: str) -> bool:
    return name.endswith(tuple(CONTRACT_WINS))


def vectors(*groups: str) -> list[dict]:
    return [v for v in corpus("sse_vectors.jsonl") if v["group"] in groups]


def pieces_of(vector: dict, cut) -> list[bytes]:
    data = raw(vector)
    if cut is whole and vector.get("chunking"):
        return at_offsets(data, vector["chunking"])
    return cut(data, len(data))


def expected_error(vector: dict) -> tuple[str, str | None]:
    """The code that the contract gives it, and its message."""
    if "SyntaxError" in vector["openai"]["error"]:
        return "malformed_json", None
    for event in vector["events"]:
        value = json.loads(event["data"])
        if isinstance(value, str):
            return "provider_stream_error", value
        if event["event"] == "error" or "error" in value:
            return "provider_stream_error", value.get("error", value)["message"]
    raise AssertionError(vector["name"])


@CUTS
async def test_streams_mean_to_our_client_what_they_mean_to_openais(cut):
    chosen = [v for v in vectors("openai-semantics", "provider-semantics") if "openai" in v]
    assert len(chosen) >= 8
    wrong = []
    async with replayer() as router:
        for vector in chosen:
            told = answer(200, "text/event-stream", pieces_of(vector, cut))
            response = await router.ask("openai", told, stream=True)
            try:
                check_vector(vector, response)
            except (AssertionError, ValueError, TypeError, LookupError) as fault:
                wrong.append(f"{vector['name']}: {fault!r}\n  {response.content!r}")
    assert not wrong, "\n".join(wrong)


def check_vector(vector: dict, response) -> None:
    expected = vector["openai"]
    if not expected["items"] and ("error" not in expected or contract_wins(vector["name"])):
        # OpenAI's client takes it for a good answer that says nothing.
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_empty"
        return
    if "error" in expected and not expected["items"]:
        assert response.status_code == 502
        check_fault(vector, response.json()["error"])
        return
    assert response.status_code == 200
    got = read_stream(response.content)
    assert [json.loads(text) for text in got.texts] == expected["items"]
    if "error" in expected:
        assert got.done == 0
        check_fault(vector, got.error)
    else:
        assert (got.done, got.failed) == (1, False)


def check_fault(vector: dict, error: dict) -> None:
    code, message = expected_error(vector)
    assert error["code"] == code
    if message is not None:
        assert error["message"] == message
    assert "secret" not in json.dumps(error)


@CUTS
async def test_an_error_of_anthropics_in_the_stream_keeps_its_message(cut):
    (vector,) = [v for v in vectors("provider-semantics") if "error" in json.dumps(v["events"])][:1]
    async with replayer() as router:
        told = answer(200, "text/event-stream", pieces_of(vector, cut))
        response = await router.ask("openai", told, stream=True)
    assert response.status_code == 502
    error = response.json()["error"]
    assert error["code"] == "provider_stream_error"
    assert error["message"] == json.loads(vector["events"][0]["data"])["error"]["message"]


STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def in_json(vector: dict) -> bytes | None:
    """The vector's bytes as the text of a chunk; None if they cannot stand in a JSON string."""
    data = raw(vector)
    if not (data.startswith(b"data: ") and data.endswith(b"\n\n")):
        return None
    text = data[6:-2]
    if len(vector["events"]) != 1 or any(byte < 32 or byte in b'"\\' for byte in text):
        return None
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + text + b'"}}]}\n\n'


def utf8_vectors() -> list[tuple[str, bytes, str]]:
    """Name, event and text of those that fit into JSON."""
    found = [(v["name"], in_json(v), v["events"]) for v in vectors("utf8")]
    return [(name, event, events[0]["data"]) for name, event, events in found if event is not None]


@CUTS
async def test_bytes_that_are_not_utf8_are_replaced_as_browsers_do(cut):
    chosen = utf8_vectors()
    assert len(chosen) >= 60
    wrong = []
    async with replayer() as router:
        for name, event, text in chosen:
            told = answer(200, "text/event-stream", cut(event + STOP + b"data: [DONE]\n\n", len(event)))
            response = await router.ask("openai", told, stream=True)
            got = read_stream(response.content)
            if (got.said.text.get(0, ""), got.done) != (text, 1):
                wrong.append(f"{name}: {text!r}, but got {response.content!r}")
    assert not wrong, "\n".join(wrong)


async def test_bytes_that_are_not_utf8_are_replaced_in_an_answer_without_streaming():
    wrong = []
    async with replayer() as router:
        for name, event, text in utf8_vectors():
            body = event.removeprefix(b"data: ").rstrip().replace(b'"delta"', b'"message"')
            told = answer(200, "application/json", tiny(body, 0))
            response = await router.ask("openai", told)
            if response.json()["choices"][0]["message"]["content"] != text:
                wrong.append(f"{name}: {text!r}, but got {response.content!r}")
    assert not wrong, "\n".join(wrong)


@CUTS
async def test_bytes_that_are_not_utf8_end_the_stream_where_the_configuration_says_so(cut):
    chosen = [(n, e, t) for n, e, t in utf8_vectors() if "\ufffd" in t and b"\xef\xbf\xbd" not in e]
    assert len(chosen) >= 30
    wrong = []
    async with replayer("stream: {invalid_utf8: error}") as router:
        for name, event, _ in chosen:
            told = answer(200, "text/event-stream", cut(STOP + event + b"data: [DONE]\n\n", 1))
            got = read_stream((await router.ask("openai", told, stream=True)).content)
            if (got.done, (got.error or {}).get("code")) != (0, "malformed_utf8"):
                wrong.append(f"{name}: {got}")
    assert not wrong, "\n".join(wrong)
