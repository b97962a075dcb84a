"""Behind the last request that a client wants, or that is taken, nothing counts."""

from __future__ import annotations

import pytest

from trio_router.server.request_body import RequestBody
from trio_router.server.request_parser import HEAD_LIMIT, RequestParser

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Content-Length: 2\r\n\r\nok"
)
LONG_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEAD_LIMIT


@pytest.mark.parametrize("behind", [b"GET / HT", b"garbage\r\n\r\n", LONG_HEAD, b"\r\n" + REQUEST])
@pytest.mark.parametrize("first", [UPGRADE, REQUEST + REQUEST])
def test_what_follows_the_last_request_is_neither_a_head_nor_a_fault(first, behind):
    begun = []

    def begin(head):
        begun.append(head)
        return RequestBody(100, None) if len(begun) < 2 else None

    parser = RequestParser(begin)
    parser.receive_data(first + behind)
    assert not parser.is_in_head
    assert parser.fault is None
    assert len(begun) == (1 if first is UPGRADE else 2)
