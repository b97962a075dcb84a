"""Responses from bytes, and request heads as bytes."""

from __future__ import annotations

import gc
import weakref

import httpx
import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts
from trio_router.transport.http1 import HEAD_LIMIT, OutgoingHead, ResponseParser, chunk

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Name: v\r\n\r\n"

# name: (bytes, status, body, may be reused)
RESPONSES = {
    "chunked": (CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 200, b"hello!", True),
    "extensions and trailers": (
        CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;last\r\nX-T: v\r\nX-U: w\r\n\r\n',
        200,
        b"hello",
        True,
    ),
    "length": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", 404, b"abc", True),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "until the end": (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\none\r\n\r\ntwo", 200, b"one\r\n\r\ntwo", False),
    "informational before": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 200 Fine Now\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
        True,
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    "closing": (
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na",
        200,
        b"a",
        False,
    ),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
    "old, kept": (
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\na",
        200,
        b"a",
        True,
    ),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", 200, b"a", True),
    "gzip, chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        200,
        b"a",
        True,
    ),
}


def parsed(pieces, **options):
    parser = ResponseParser(**options)
    body = b"".join([parser.receive_data(piece) for piece in pieces if piece])
    may_reuse = parser.keep_alive
    parser.receive_eof()
    return parser, body, may_reuse


@pytest.mark.parametrize("name", RESPONSES)
def test_each_kind_of_response_is_read_and_known_as_reusable_or_not(name):
    data, status, body, may_reuse = RESPONSES[name]
    parser, got, reusable = parsed([data])
    assert (parser.status, got, reusable) == (status, body, may_reuse)
    assert (parser.done, parser.fault, parser.excess) == (True, None, False)


@given(name=st.sampled_from(sorted(RESPONSES)), offsets=cuts())
def test_any_cut_gives_the_same_response(name, offsets):
    data = RESPONSES[name][0]
    whole, body, reusable = parsed([data])
    cut, cut_body, cut_reusable = parsed(at_offsets(data, offsets))
    assert (cut_body, cut_reusable) == (body, reusable)
    for field in ("status", "reason", "headers", "http_version", "done", "fault"):
        assert getattr(cut, field) == getattr(whole, field)


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=50), max_size=8),
    offsets=cuts(),
)
def test_chunked_bodies_come_back_as_they_were(bodies, offsets):
    data = CHUNKED + b"".join(map(chunk, bodies)) + chunk(b"")
    parser, body, reusable = parsed(at_offsets(data, offsets))
    assert (body, parser.done, reusable) == (b"".join(bodies), True, True)


@given(name=st.sampled_from(sorted(RESPONSES)), at=st.floats(0, 0.999))
def test_no_response_cut_short_passes_for_a_whole_one(name, at):
    data, _, whole, _ = RESPONSES[name]
    end = int(len(data) * at)
    parser, body, reusable = parsed([data[:end]])
    assert whole.startswith(body)
    if name == "until the end" and parser.head_complete:
        assert parser.done
    else:
        assert not parser.done
        assert "closed" in parser.fault
    assert not reusable


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_response_to_head_ends_with_its_head(head, size):
    pieces = [head[i : i + size] for i in range(0, len(head), size)]
    parser, body, _ = parsed(pieces, bodyless=True)
    assert (parser.done, parser.fault, body) == (True, None, b"")


def test_nothing_of_an_informational_response_stays():
    parser, _, _ = parsed([RESPONSES["informational before"][0]])
    assert (parser.reason, parser.headers) == (b"Fine Now", [(b"Content-Length", b"2")])


def test_a_response_to_head_leaves_the_connection_usable_and_a_body_after_it_does_not():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert parsed([head], bodyless=True)[2]
    for rest in (b"hello", b"h", b"\r\n"):
        assert not parsed([head + rest], bodyless=True)[2]
        assert not parsed([head, rest], bodyless=True)[2]


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"\0"])
@pytest.mark.parametrize("name", ["chunked", "length", "no content", "closing"])
def test_bytes_after_the_end_are_no_part_of_the_response_and_spoil_the_connection(name, extra):
    data, status, body, _ = RESPONSES[name]
    for pieces in ([data + extra], [data, extra]):
        parser, got, reusable = parsed(pieces)
        assert (parser.status, got, parser.fault) == (status, body, None)
        assert parser.excess
        assert not reusable


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name\r\n\r\n",
    ],
)
def test_what_is_no_response_is_a_fault(data):
    parser = ResponseParser()
    parser.receive_data(data)
    assert parser.fault
    assert not parser.head_complete


def test_body_before_a_fault_in_the_same_read_is_given_out():
    parser = ResponseParser()
    assert parser.receive_data(CHUNKED + b"5\r\nhello\r\nzz\r\n") == b"hello"
    assert "chunk size" in parser.fault
    assert not parser.keep_alive


def test_a_head_over_the_limit_is_a_fault_however_it_is_made():
    many = b"".join(b"X-%d: %s\r\n" % (i, b"v" * 90) for i in range(800))
    one = b"X: " + b"v" * (HEAD_LIMIT + 10)
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2500
    for head in (many, one, hints):
        data = b"HTTP/1.1 200 OK\r\n" + head if head is not hints else hints
        for size in (1000, len(data)):
            parser = ResponseParser()
            for start in range(0, len(data), size):
                parser.receive_data(data[start : start + size])
            assert "65536" in parser.fault


def test_framing_that_never_gives_body_is_a_fault():
    for filler in (b"X-T: " + b"v" * 100_000, b"5;" + b"e" * 100_000):
        parser = ResponseParser()
        data = CHUNKED + (b"0\r\n" if filler[0:1] == b"X" else b"") + filler
        for start in range(0, len(data), 5000):
            parser.receive_data(data[start : start + 5000])
        assert "body framing" in parser.fault


def test_long_streams_of_small_chunks_are_no_fault():
    parser = ResponseParser()
    parser.receive_data(CHUNKED)
    for _ in range(30_000):
        parser.receive_data(b"1\r\n")
        assert parser.receive_data(b"x\r\n") == b"x"
    assert parser.fault is None


def test_a_finished_parser_is_freed_without_the_collector():
    gc.disable()
    try:
        parser = ResponseParser()
        parser.receive_data(RESPONSES["chunked"][0])
        gone = weakref.ref(parser.on_header.__self__)
        del parser
        assert gone() is None
    finally:
        gc.enable()


def test_a_request_head_holds_what_it_was_given():
    head = OutgoingHead(b"POST", b"/v1?x=1", [(b"Host", b"h"), (b"Content-Length", b"3")], b"abc")
    assert head.data == b"POST /v1?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
    assert (head.length, head.chunked, head.keep_alive) == (3, False, True)


def test_a_body_without_framing_gets_it():
    assert b"Content-Length: 3\r\n" in OutgoingHead(b"POST", b"/", [], b"abc").data
    assert b"Transfer-Encoding: chunked\r\n" in OutgoingHead(b"POST", b"/", [], None).data
    assert OutgoingHead(b"GET", b"/", [], b"").data == b"GET / HTTP/1.1\r\n\r\n"


def test_never_both_framings_are_sent():
    fields = [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")]
    head = OutgoingHead(b"POST", b"/", fields, b"abc")
    assert b"Content-Length" not in head.data
    assert head.chunked


@pytest.mark.parametrize(
    ("method", "target", "field"),
    [
        (b"GET /x HTTP/1.1\r\nA: b\r\n\r\nGET", b"/", (b"A", b"b")),
        (b"GET", b"/ HTTP/1.1\r\nA: b", (b"A", b"b")),
        (b"GET", b"/a b", (b"A", b"b")),
        (b"GET", b"/", (b"A", b"b\r\nC: d")),
        (b"GET", b"/", (b"A", b"b\n")),
        (b"GET", b"/", (b"A\r\nB", b"b")),
        (b"GET", b"/", (b"A b", b"b")),
        (b"GET", b"/", (b"", b"b")),
        (b"GET", b"/", (b"A", b"\0")),
        (b"GET", b"/", (b"Content-Length", b"-1")),
        (b"GET", b"/", (b"Transfer-Encoding", b"gzip")),
    ],
)
def test_nothing_can_be_smuggled_into_a_head(method, target, field):
    with pytest.raises(httpx.LocalProtocolError):
        OutgoingHead(method, target, [field], b"")
