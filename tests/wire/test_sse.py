from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, corpus, cuts, every_size, feed, raw
from trio_router.wire.lines import LineTooLongError, repair_utf8
from trio_router.wire.sse import ServerSentEvent, SSEDecoder, encode_event

LIMIT = 1 << 26
one_line = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=40)
events = st.lists(
    st.builds(
        lambda data, event, id_, retry: ServerSentEvent(
            "\n".join(data).encode(),
            event.encode() or b"message",
            b"" if id_ is None else id_.encode(),
            id_ is not None,
            retry,
        ),
        data=st.lists(one_line, min_size=1, max_size=3),
        event=one_line,
        id_=st.none() | st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=10),
        retry=st.none() | st.integers(0, 10**9),
    ),
    max_size=6,
)


def decoded(pieces) -> list[ServerSentEvent]:
    decoder = SSEDecoder(LIMIT)
    return feed(decoder.receive_data, pieces) + decoder.receive_eof()


def with_running_ids(items: list[ServerSentEvent]) -> list[ServerSentEvent]:
    """An event that names no id of its own has the last one."""
    last = b""
    for item in items:
        last = item.id if item.own_id else last
        item.id = last
    return items


@given(events, cuts())
def test_what_is_encoded_is_decoded_again_under_any_cut(items, offsets):
    data = b"".join(encode_event(item) for item in items)
    assert decoded(at_offsets(data, offsets)) == with_running_ids(items)


@given(events, st.sampled_from([b"\r", b"\r\n"]), st.booleans(), cuts())
def test_line_ends_comments_and_a_byte_order_mark_change_nothing(items, end, bom, offsets):
    plain = b"".join(b": hm\n" + encode_event(item) for item in items)
    data = (b"\xef\xbb\xbf" if bom else b"") + plain.replace(b"\n", end)
    assert decoded(at_offsets(data, offsets)) == with_running_ids(items)


@given(st.binary(max_size=300), cuts(300))
def test_arbitrary_bytes_never_raise_and_cuts_never_matter(data, offsets):
    assert decoded(at_offsets(data, offsets)) == decoded([data])


def test_data_without_the_space_is_the_same():
    assert decoded([b"data:x\n\ndata: x\n\ndata:  x\n\n"]) == [
        ServerSentEvent(b"x"),
        ServerSentEvent(b"x"),
        ServerSentEvent(b" x"),
    ]


def test_an_event_that_no_blank_line_closed_is_not_lost_at_the_end():
    decoder = SSEDecoder(LIMIT)
    assert decoder.receive_data(b"data: a\n\ndata: b") == [ServerSentEvent(b"a")]
    assert decoder.receive_eof() == [ServerSentEvent(b"b")]


def test_a_name_without_data_is_no_event():
    assert decoded([b"event: ping\n\n"]) == []


def test_comments_are_counted_not_shown():
    decoder = SSEDecoder(LIMIT)
    assert decoder.receive_data(b": one\n:two\n\n") == []
    assert decoder.comments == 2


def test_an_event_of_many_lines_is_bounded_as_a_whole():
    decoder = SSEDecoder(1000)
    with pytest.raises(LineTooLongError):
        for _ in range(20):
            decoder.receive_data(b"data: " + b"x" * 100 + b"\n")


def test_an_event_of_the_very_limit_passes():
    decoder = SSEDecoder(1006)
    assert decoder.receive_data(b"data: " + b"x" * 1000 + b"\n\n") == [ServerSentEvent(b"x" * 1000)]


BARE = b'{\n  "error": {\n    "code": 499,\n    "message": "data: cancelled"\n  }\n}'


@given(st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([0, 1, 2]), cuts(120))
def test_an_error_that_is_bare_json_among_the_events_is_one(end, blanks, offsets):
    data = b"data: 1\n\n" + BARE + b"\n" * blanks
    pieces = at_offsets(data.replace(b"\n", end), offsets)
    assert decoded(pieces) == [ServerSentEvent(b"1"), ServerSentEvent(BARE)]


def test_other_lines_that_are_no_fields_are_ignored_as_ever():
    for lines in (b'{"a": 1}', b'{"error": null}', b'{"error": 1', b'"error"', b'[{"error": 1}]'):
        assert decoded([b"data: 1\n" + lines + b"\n\ndata: 2\n\n"]) == [
            ServerSentEvent(b"1"),
            ServerSentEvent(b"2"),
        ]


def test_bare_json_without_end_is_refused():
    decoder = SSEDecoder(1000)
    decoder.receive_data(b"{\n")
    with pytest.raises(LineTooLongError):
        for _ in range(1000):
            decoder.receive_data(b'"a": 1,\n')


@pytest.mark.corpus
def test_every_recorded_sse_vector_holds_under_every_cut():
    """The standard drops a block that no blank line closed; ours comes out at the end, as it must."""
    for case in corpus("sse_vectors.jsonl"):
        data = raw(case)
        for pieces in [*every_size(data, (1, 2, 7)), at_offsets(data, case.get("chunking", ()))]:
            decoder = SSEDecoder(LIMIT)
            got = [_shown(e) for e in feed(decoder.receive_data, pieces)]
            expected = [_expected(e) for e in case["events"]]
            assert got == expected, case["name"]
            assert decoder.retry == case.get("retry"), case["name"]
            assert len(decoder.receive_eof()) <= 1


def _shown(event: ServerSentEvent) -> dict:
    shown = {
        "event": repair_utf8(event.event)[0].decode(),
        "data": repair_utf8(event.data)[0].decode(),
        "id": repair_utf8(event.id)[0].decode(),
    }
    return shown if event.retry is None else {**shown, "retry": event.retry}


def _expected(event: dict) -> dict:
    return {k: v for k, v in event.items() if k != "retry" or v is not None}
