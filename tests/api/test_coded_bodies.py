"""Requests whose bodies are compressed."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from tests.api.uploads import FORM, form, part, upload_stack
from tests.stack import chat, memory_stack
from trio_router.wire import unzstd

zstandard = pytest.importorskip("zstandard")

CHAT = "/v1/chat/completions"
PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": bytes,
    "identity, gzip": gzip.compress,
}
KINDS = ["gzip", "deflate", "zstd"]
JSON = {"content-type": "application/json"}


async def ask(stack, body: bytes, coding: str, path: str = CHAT):
    return await stack.client.post(path, content=body, headers={**JSON, "content-encoding": coding})


@pytest.mark.parametrize("coding", PACKERS)
async def test_a_compressed_request_is_read(coding, autojump_clock):
    text = "Съешь же ещё этих мягких французских булок. " * 50
    async with memory_stack() as stack:
        packed = PACKERS[coding](json.dumps(chat("any/echo", text)).encode())
        response = await ask(stack, packed, coding)
        sent = stack.upstream.requests[0]
    assert response.json()["choices"][0]["message"]["content"] == text
    assert "content-encoding" not in sent.headers


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/embeddings", CHAT])
async def test_every_api_reads_it(path, autojump_clock):
    async with memory_stack() as stack:
        response = await ask(stack, gzip.compress(b'{"model": 1}'), "gzip", path)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(("model", "max_tokens"))  # so it was read


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "aes128gcm", "zstd, gzip"])
async def test_another_coding_is_415(coding, autojump_clock):
    async with memory_stack() as stack:
        response = await ask(stack, b"x" * 100_000, coding)
        assert (response.status_code, response.json()["error"]["code"]) == (
            415,
            "unsupported_media_type",
        )
        assert "gzip, deflate, zstd" in response.json()["error"]["message"]
        messages = await ask(stack, b"x", coding, "/v1/messages")
        assert (messages.status_code, messages.json()["type"]) == (415, "error")


async def test_who_sends_another_coding_is_told_before_the_body_has_come(autojump_clock):
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 99\r\n\r\n"
    )
    async with memory_stack() as stack:
        connection = await stack.connect()
        await connection.send_all(head.encode())
        assert (await connection.receive_some()).startswith(b"HTTP/1.1 415 ")


async def test_zstd_without_its_package_is_415_that_says_so(monkeypatch, autojump_clock):
    monkeypatch.setattr(unzstd, "IS_THERE", False)
    async with memory_stack() as stack:
        response = await ask(stack, PACKERS["zstd"](b"{}"), "zstd")
    assert response.status_code == 415
    assert "trio-router[zstd]" in response.json()["error"]["message"]


@pytest.mark.parametrize("coding", KINDS)
async def test_a_bomb_is_413_as_soon_as_it_is_too_large(coding, autojump_clock):
    async with memory_stack("server: {max_body: 200000}") as stack:
        response = await ask(stack, PACKERS[coding](bytes(100_000_000)), coding)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
        fits = json.dumps(chat("any/echo", "a" * 190_000)).encode()
        assert (await ask(stack, PACKERS[coding](fits), coding)).status_code == 200


@pytest.mark.parametrize("coding", KINDS)
@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b[:-1], lambda b: b"{}" * 9])
async def test_a_broken_body_is_400(coding, spoil, autojump_clock):
    async with memory_stack() as stack:
        packed = PACKERS[coding](json.dumps(chat("any/echo", "hello " * 99)).encode())
        response = await ask(stack, spoil(packed), coding)
        assert response.status_code == 400
        assert stack.upstream.requests == []


async def test_no_body_is_undone_without_a_key(monkeypatch, autojump_clock):
    async with memory_stack("auth: {keys: [sk-good]}") as stack:
        for coding in (*KINDS, "br"):
            assert (await ask(stack, b"x", coding)).status_code == 401


@pytest.mark.parametrize("coding", [*KINDS, "br"])
async def test_an_upload_is_not_taken_compressed(coding):
    async with upload_stack() as stack:
        head = {"content-type": FORM, "content-encoding": coding}
        body = form(part("model", b"open/whisper"), part("file", b"abc", "a.wav"))
        response = await stack.client.post("/v1/audio/transcriptions", content=body, headers=head)
    assert response.status_code == 415
