"""Numbers in a request's body reach the upstream with their value, whatever a float can hold."""

from __future__ import annotations

import json

import pytest

from tests.api.uploads import answer, upload_stack
from trio_router.dialects.chat_request import parse_object
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import dumps

SPEECH = "/v1/audio/speech"
KEPT = [
    b"1e400",
    b"-1E+400",
    b"1e-400",
    b"1.2345678901234567890123",
    b"0.1000000000000000055511151231257827",
    b"123456789012345678901234567890",
    b"9" * 5000,
    b"-" + b"9" * 400,
    b"4.9406564584124654e-324",
    b"-0.0",
    b"1.5",
    b"18446744073709551616",
]


@pytest.mark.parametrize("text", KEPT, ids=lambda t: t[:24].decode())
@pytest.mark.parametrize("beside", [b'"a"', b'"\\ud83d"', b'"#"', b'["", "#", "\\udc00"]'])
def test_a_number_comes_out_as_it_came(text, beside):
    wire = b'{"model":"m","a":%b,"x":%b,"y":[%b]}' % (beside, text, text)
    assert dumps(parse_object(wire)) == wire.replace(b", ", b",")


@pytest.mark.parametrize("text", [b"0.69999999999999996", b"0.1", b"1e5", b"0e999", b"64.0", b"0.0000"])
def test_what_a_float_holds_is_a_float(text):
    value = parse_object(b'{"x": %b}' % text)["x"]
    assert type(value) is float
    assert value == float(text)
    assert json.loads(dumps(value)) == value


def test_a_lone_surrogate_stays_one():
    assert dumps(parse_object(rb'{"x":"\ud83d \ude00"}')) == rb'{"x":"\ud83d \ude00"}'


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"1e", b"01", b".5"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_object(b'{"x": %b}' % text)


async def test_over_http_it_reaches_the_upstream():
    async with upload_stack() as stack:
        body = b'{"model":"open/tts","input":"a","x":1e400,"y":0.12345678901234567890}'
        kind = {"content-type": "application/json"}
        assert (await stack.client.post(SPEECH, content=body, headers=kind)).status_code == 200
        assert b'"x":1e400,"y":0.12345678901234567890' in bytes(stack.peer.seen[0].body)


@pytest.mark.parametrize("status", ["099", "000", "600", "999", "1000", "2OO", "20"])
async def test_a_status_that_there_is_not_is_a_502(status):
    async with upload_stack() as stack:
        stack.peer.says = answer(b"{}").replace(b"200", status.encode(), 1)
        response = await stack.client.post(SPEECH, json={"model": "open/tts", "input": "a"})
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_status"


async def test_a_204_says_nothing_of_its_length():
    async with upload_stack() as stack:
        stack.peer.says = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"
        response = await stack.client.post(SPEECH, json={"model": "open/tts", "input": "a"})
        assert response.status_code == 204
        assert "content-length" not in response.headers
        assert "transfer-encoding" not in response.headers
