"""How streams end, wherever their last bytes were cut off: once, and honestly."""

from __future__ import annotations

import pytest

from tests.relay.native_events import COMPLETED, CREATED, event
from trio_router.dialects import CLIENTS, DIALECTS
from trio_router.dialects.answer import AnswerReader, ReadingRules
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.native import NativeReader, NativeTranslator
from trio_router.dialects.translate import StreamTranslator
from trio_router.errors import Truncated

WHO = AnswerIdentity("chatcmpl-1", 1, "m")
SSE = "text/event-stream"
MESSAGE = b"".join(
    b"event: %b\ndata: %b\n\n" % (kind, data)
    for kind, data in (
        (b"message_start", b'{"type":"message_start","message":{"id":"1","usage":{"input_tokens":1}}}'),
        (
            b"content_block_start",
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        ),
        (
            b"content_block_delta",
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}',
        ),
        (b"content_block_stop", b'{"type":"content_block_stop","index":0}'),
        (b"message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}'),
        (b"message_stop", b'{"type":"message_stop"}'),
    )
)
CHAT = (
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
TEXT = event("response.output_text.delta", 2, delta="a")


def passed(path: str, body: bytes, *, is_lenient: bool = False):
    """What a client of that API gets of an upstream that speaks it too, and the failure."""
    client, rules = CLIENTS[path], ReadingRules(1 << 20, lenient_end=is_lenient)
    reader = NativeReader(client.native, WHO, SSE, rules)
    translator = NativeTranslator(client.native, reader, client.encoder(WHO, {}))
    out = translator.receive_data(body)
    if not reader.is_done and reader.failure is None:
        out += translator.receive_eof()
    return out, reader.failure


@pytest.mark.parametrize("cut", range(1, 50))
def test_a_message_has_one_end_wherever_its_last_event_was_cut(cut):
    out, failure = passed("/v1/messages", MESSAGE[:-cut])
    assert failure is None
    assert out.count(b'"message_stop"') == 1


@pytest.mark.parametrize("cut", range(13))
def test_a_chat_that_told_its_finish_is_good_wherever_its_done_was_cut(cut):
    reader = AnswerReader(DIALECTS["openai"], WHO, SSE, ReadingRules(1 << 20))
    translator = StreamTranslator(reader, with_usage=False)
    out = translator.receive_data(CHAT[: len(CHAT) - cut])
    if not reader.is_done:
        out += translator.receive_eof()
    assert reader.failure is None
    assert reader.json_errors == 0
    assert out.count(b"[DONE]") == 1


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n", b"data: [DONE]", b"data: [DO"])
def test_a_responses_stream_without_its_last_event_is_cut_whatever_comes_in_its_stead(end, is_lenient):
    out, failure = passed("/v1/responses", CREATED + TEXT + end, is_lenient=is_lenient)
    assert isinstance(failure, Truncated)
    assert TEXT in out
    assert passed("/v1/responses", CREATED + TEXT + COMPLETED + end)[1] is None


@pytest.mark.parametrize("events", range(3, 7))
@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data: [DONE]"])
def test_a_message_that_done_has_ended_is_ended_for_its_client_once(events, end):
    begun = b"".join(event + b"\n\n" for event in MESSAGE.split(b"\n\n")[:events])
    out, failure = passed("/v1/messages", begun + end)
    assert failure is None
    for kind in (b"content_block_stop", b"message_delta", b"message_stop"):
        assert out.count(b'"type":"%b"' % kind) == 1
    assert b"[DONE]" not in out
