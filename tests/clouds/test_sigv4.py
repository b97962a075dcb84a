"""The fake's signatures are AWS's, as its published test vectors say; the router's are the fake's."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.clouds import sigv4
from tests.clouds.aws import KEY, SECRET

AT = "20150830T123600Z"
TYPE = "application/x-www-form-urlencoded"
# From AWS's Signature Version 4 test suite.
VECTORS = {
    "get-vanilla": (
        "GET",
        "/",
        "",
        {},
        b"",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": (
        "POST",
        "/",
        "",
        {},
        b"",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-vanilla-query-order-key-case": (
        "GET",
        "/",
        "Param2=value2&Param1=value1",
        {},
        b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-header-key-sort": (
        "POST",
        "/",
        "",
        {"my-header1": "value1"},
        b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-x-www-form-urlencoded": (
        "POST",
        "/",
        "",
        {"content-type": TYPE},
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}


@pytest.mark.parametrize("name", list(VECTORS))
def test_the_published_vectors_have_the_published_signatures(name):
    method, path, query, headers, body, expected = VECTORS[name]
    headers = {"host": "example.amazonaws.com", "x-amz-date": AT, **headers}
    canonical = sigv4.canonical_request(method, path, query, headers, sorted(headers), body)
    got = sigv4.signature(SECRET, AT[:8], "us-east-1", "service", AT, canonical)
    assert got == expected


URLS = [
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse",
    "http://127.0.0.1:8080/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/invoke",
    "https://bedrock.us-east-1.amazonaws.com/inference-profiles?nextToken=a%2Fb%3D%3D&maxResults=10",
    "https://upstream/openai/v1/chat/completions",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("token", ["", "IQoJb3JpZ2luX2VjEXAMPLE=="])
@pytest.mark.parametrize("body", [b"", b'{"a": "\xc3\xa9"}'])
def test_the_routers_signature_is_what_the_algorithm_says(url, token, body):
    credentials = pytest.importorskip("botocore.credentials")
    from trio_router.transport.aws import AwsSignature, _Skew

    keys = credentials.ReadOnlyCredentials(KEY, SECRET, token or None)
    now = 1_440_938_160.0  # the vectors' time
    made = AwsSignature(keys, "bedrock", "us-east-1", _Skew(lambda: now))
    parsed = httpx.URL(url)
    lines = made.lines("POST", parsed, body).decode().split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name
    }
    assert headers["x-amz-date"] == AT == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    assert headers.get("x-amz-security-token", "") == token
    found = sigv4.parsed(headers["authorization"])
    assert found is not None
    key, date, region, service, signed, signature = found
    assert (key, date, region, service) == (KEY, AT[:8], "us-east-1", "bedrock")
    assert signed == ["host", "x-amz-date", *(["x-amz-security-token"] if token else [])]
    sent = {**headers, "host": parsed.netloc.decode()}
    path, _, query = parsed.raw_path.decode().partition("?")
    canonical = sigv4.canonical_request("POST", path, query, sent, signed, body)
    assert signature == sigv4.signature(SECRET, date, region, service, AT, canonical)


def test_a_wrong_clock_is_learned_from_a_refusal_once():
    pytest.importorskip("botocore.credentials")
    from trio_router.transport.aws import _Skew

    skew = _Skew(lambda: 1_000_000_000.0)
    assert not skew.learn("")
    assert not skew.learn("no date")
    assert not skew.learn("Sun, 09 Sep 2001 01:46:30 GMT")  # 10 s: no reason for a refusal
    assert skew.learn("Sun, 09 Sep 2001 02:46:40 GMT")
    assert skew.now() == 1_000_003_600.0
    assert not skew.learn("Sun, 09 Sep 2001 02:46:41 GMT")
