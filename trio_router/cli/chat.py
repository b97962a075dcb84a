"""A small client of a running router, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from trio_router.dialects.provider_error import error_message
from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 64 * 1024 * 1024  # bytes of one event


class ChatFailed(Exception):
    """The router could not be reached, or answered with an error, or the stream broke."""


def stream_answer(url: str, text: str, *, model: str | None, key: str | None) -> Iterator[str]:
    """The pieces of one answer's text as they come.  Raises ChatFailed."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    base = url.rstrip("/").removesuffix("/v1") + "/v1"
    try:
        with httpx.Client(
            headers=headers, timeout=httpx.Timeout(10, read=None), trust_env=False
        ) as client:
            model = model or _first_model(client, base)
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
            with client.stream("POST", f"{base}/chat/completions", json=body) as response:
                _check(response)
                yield from _pieces(response)
    except httpx.HTTPError as fault:
        raise ChatFailed(f"{base}: {fault}") from None


def _first_model(client: httpx.Client, base: str) -> str:
    response = client.get(f"{base}/models")
    _check(response)
    names = [item["id"] for item in response.json()["data"]]
    if not names:
        raise ChatFailed("the router lists no model: name one with -m PROVIDER/MODEL")
    return str(next((n for n in names if n.endswith("/smollm2")), names[0]))


def _pieces(response: httpx.Response) -> Iterator[str]:
    decoder = SSEDecoder(_LIMIT)
    for data in response.iter_raw():
        for event in decoder.receive_data(data):
            if event.data == b"[DONE]":
                return
            chunk = loads(event.data)
            if chunk.get("error"):
                raise ChatFailed(error_message(chunk) or "the stream failed")
            yield from _texts(chunk)
    raise ChatFailed("the stream ended without its end")


def _texts(chunk: dict[str, Any]) -> Iterator[str]:
    for choice in chunk.get("choices") or ():
        content = (choice.get("delta") or {}).get("content")
        if isinstance(content, str):
            yield content


def _check(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    body = response.read()
    try:
        message = error_message(loads(body))
    except JSONError:
        message = None
    raise ChatFailed(f"{response.status_code}: {message or body[:200].decode(errors='replace')}")
