"""HTTP/1.1 from clients, without sockets: any cut gives the same requests, and the same refusals."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, strategies as st

from trio_router.errors import InvalidRequest, RequestTooLarge
from trio_router.server.request_body import RequestBody
from trio_router.server.request_parser import HEAD_LIMIT, RequestParser, chunk, response_head


class Taken:
    """Everything a parser made of what it was fed."""

    def __init__(self) -> None:
        self.requests = []
        self.parser = RequestParser(self._begin)

    def _begin(self, head):
        body = RequestBody(1 << 20, None)
        self.requests.append((head, body))
        return body

    def feed(self, *pieces: bytes) -> Taken:
        for piece in pieces:
            self.parser.receive_data(piece)
        return self

    def told(self):
        return [
            (h.method, h.path, h.query, h.headers, h.keep_alive, bytes(b._data), b.is_complete)
            for h, b in self.requests
        ]


POST = b"POST /v1/chat?x=%20 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
CHUNKED = (
    b"POST /a%20b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\ntrailer: t\r\n\r\n"
)
GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def test_a_request_is_read():
    ((method, path, query, headers, keep_alive, body, is_complete),) = Taken().feed(POST).told()
    assert (method, path, query) == ("POST", "/v1/chat", b"x=%20")
    assert headers == [(b"host", b"h"), (b"content-length", b"5"), (b"x-a", b"b")]
    assert (keep_alive, body, is_complete) == (True, b"hello", True)


def test_a_chunked_body_is_put_together_and_trailers_are_no_headers():
    ((_, path, _, headers, _, body, is_complete),) = Taken().feed(CHUNKED).told()
    assert (path, body, is_complete) == ("/a b", b"abcde", True)
    assert (b"trailer", b"t") not in headers


@given(
    st.lists(st.sampled_from([POST, CHUNKED, GET]), min_size=1, max_size=4),
    st.booleans(),
    st.data(),
)
def test_any_cut_gives_the_same_requests(requests, closes, data):
    wire = b"".join(requests) + (LAST if closes else b"")
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8).map(sorted))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) if a < b]
    taken = Taken().feed(*pieces)
    assert taken.told() == Taken().feed(wire).told()
    assert len(taken.requests) == len(requests) + closes
    assert taken.parser.fault is None


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bytewise_is_as_good_as_whole(size):
    wire = POST + CHUNKED + GET
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    assert Taken().feed(*pieces).told() == Taken().feed(wire).told()


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET / HTTP/1.1\r\nhost: h\r\nhost: g\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nhost: h\r\nhost: g\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: h\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),  # HTTP/0.9
        (b"GET / HTTP/1.1\r\nhost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nhost: h\n\n", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS hello
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"a" * 2 * HEAD_LIMIT, 431),
        (b"GET /" + b"a" * HEAD_LIMIT, 431),
        (b"GET / HTTP/1.1\r\nhost: h\r\n" + b"x: y\r\n" * 20_000, 431),
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_what_is_no_request_is_refused(wire, status, size):
    if size == 1 and len(wire) > 1000:
        size = 100
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    taken = Taken().feed(*pieces)
    assert taken.parser.fault == status
    assert not [body for _, body in taken.requests if body.is_complete and not body.is_torn]


async def test_a_body_whose_framing_breaks_is_no_body():
    head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    taken = Taken().feed(head + b"3\r\nabc\r\n", b"zz\r\n")
    assert taken.parser.fault == 400
    with pytest.raises(InvalidRequest):
        await taken.requests[0][1].read()


CHUNKED_HEAD = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("before", [b"", b"3\r\nabc\r\n"])
@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"0\r\n" + b"x: y\r\n" * 10_000, b"5;x="])
def test_what_frames_a_body_is_limited_like_a_head(before, endless):
    taken = Taken().feed(CHUNKED_HEAD + before, endless)
    for _ in range(100):
        taken.feed(b"x: y\r\n" * 1000 if endless.endswith(b"\n") else b"a" * 6000)
    assert taken.parser.fault == 431
    assert taken.requests[0][1].is_torn


def test_no_number_of_small_pieces_makes_a_body_too_long_for_its_framing():
    taken = Taken().feed(CHUNKED_HEAD, *[b"2;x=yz\r\nab\r\n"] * 20_000, b"0\r\nx: y\r\n\r\n", GET)
    assert taken.parser.fault is None
    assert [len(bytes(b._data)) for _, b in taken.requests] == [40_000, 0]


def test_a_body_takes_no_more_memory_for_being_cut_small():
    body = RequestBody(1 << 20, None)
    tracemalloc.start()
    try:
        for number in range(100_000):
            body.feed(b"%02d" % (number % 100))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_after_a_request_that_is_not_taken_none_is():
    taken = Taken()
    taken.parser = RequestParser(lambda head: None if taken.requests else taken._begin(head))
    taken.feed(POST + POST + GET, POST)
    assert len(taken.requests) == 1
    assert taken.parser.fault is None


def test_nothing_is_read_after_a_last_request():
    taken = Taken().feed(LAST, GET)
    assert len(taken.requests) == 1
    assert not taken.requests[0][0].keep_alive


def test_an_offer_to_upgrade_is_a_plain_request_after_which_the_connection_ends():
    offer = b"GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    taken = Taken().feed(offer, GET)
    ((method, path, _, _, keep_alive, _, is_complete),) = taken.told()
    assert (method, path, keep_alive, is_complete) == ("GET", "/x", False, True)


@pytest.mark.parametrize("cut", range(0, 140, 7))
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_to_upgrade_keeps_the_requests_body(framing, cut):
    offer = b"Upgrade: h2c\r\nConnection: Upgrade\r\n"
    plain = POST if framing == "length" else CHUNKED
    wire = plain.replace(b"\r\n", b"\r\n" + offer, 1)
    taken = Taken().feed(*[piece for piece in (wire[:cut], wire[cut:], GET) if piece])
    ((_, _, _, _, keep_alive, body, is_complete),) = taken.told()
    assert (keep_alive, body, is_complete) == (False, b"hello" if plain is POST else b"abcde", True)


def test_http_1_0_ends_unless_it_asks_to_stay():
    old = b"GET / HTTP/1.0\r\n\r\n"
    stays = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert [Taken().feed(wire).requests[0][0].keep_alive for wire in (old, stays)] == [False, True]
    assert Taken().feed(old).requests[0][0].is_old


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://host:80/a/b?c=d", "/a/b", b"c=d"),
        (b"http://host", "/", b""),
        (b"/a//b", "/a//b", b""),
        (b"/%E2%82%AC", "/€", b""),
        (b"*", "*", b""),
    ],
)
def test_targets_have_a_path_and_a_query(target, path, query):
    method = b"OPTIONS" if target == b"*" else b"GET"
    head, _ = Taken().feed(b"%b %b HTTP/1.1\r\nhost: h\r\n\r\n" % (method, target)).requests[0]
    assert (head.path, head.query) == (path, query)


async def test_a_body_over_the_limit_is_refused_and_not_kept():
    body = RequestBody(10, None)
    body.feed(b"x" * 8)
    body.feed(b"x" * 8)
    with pytest.raises(RequestTooLarge):
        await body.read()
    assert body._data == b""
    assert not body.is_complete


def test_a_head_is_written():
    head = response_head(200, [(b"content-type", b"text/plain")])
    assert head == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
    assert response_head(599, []) == b"HTTP/1.1 599 \r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\ny", b"a\ry"])
def test_no_value_breaks_out_of_its_line(value):
    with pytest.raises(ValueError, match="line end"):
        response_head(200, [(b"x", value)])


def test_chunks_are_framed():
    assert chunk(b"hello") == b"5\r\nhello\r\n"
    assert chunk(b"") == b"0\r\n\r\n"
