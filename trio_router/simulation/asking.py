"""What clients send: the bytes of a request, in the API that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from trio_router.simulation.plan import Ask

GOOD_KEY = "client-key-0123456789abcdef"
BAD_KEY = "client-key-that-nobody-knows"
ADMIN_KEY = "admin-key-0123456789abcdef"
PATHS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
# What is asked for by GET, and nothing is sent.
GETS = {
    "models": "/v1/models",
    "health": "/healthz",
    "ready": "/readyz",
    "metrics": "/metrics",
    "dashboard": "/dashboard",
}


def body_of(ask: Ask) -> bytes:
    """The body; the prompt tells everybody whose request it is."""
    text = f"sim-{ask.id}- {ask.prompt}"
    told: dict[str, Any] = {"model": ask.model}
    match ask.api:
        case "chat":
            told["messages"] = [{"role": "user", "content": text}]
            if ask.is_stream and ask.with_usage:
                told["stream_options"] = {"include_usage": True}
        case "messages":
            told |= {"max_tokens": 512, "messages": [{"role": "user", "content": text}]}
        case "responses" | "embeddings":
            told["input"] = text
        case "completions":
            told["prompt"] = text
    if ask.is_stream:
        told["stream"] = True
    told |= ask.extra
    match ask.nonsense:
        case "bad_json":
            return b'{"model": "sim-%d-' % ask.id
        case "no_model":
            del told["model"]
        case "wrong_type":
            told["model"] = 7
        case "too_large":
            told["pad"] = "x" * 300_000
    return msgspec.json.encode(told)


def request_of(ask: Ask) -> tuple[bytes, bytes]:
    """Head and body."""
    if ask.nonsense == "garbage":
        return b"\x16\x03\x01\x02\x00\x01\x00sim\r\n\r\n", b""
    if ask.nonsense == "large_head":
        return b"GET / HTTP/1.1\r\nhost: r\r\nx-pad: " + b"x" * 70_000 + b"\r\n\r\n", b""
    method, path = "POST", PATHS.get(ask.api, "")
    if ask.api in GETS:
        method, path = "GET", GETS[ask.api]
    if ask.nonsense == "path":
        path = "/v1/nowhere"
    elif ask.nonsense == "method":
        method = "DELETE"
    body = body_of(ask) if method == "POST" else b""
    fields = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"x-request-id: r{ask.id}"]
    match ask.auth:
        case "good":
            fields.append(f"authorization: Bearer {GOOD_KEY}")
        case "bad":
            fields.append(f"authorization: Bearer {BAD_KEY}")
        case "header":
            fields.append(f"x-api-key: {GOOD_KEY}")
        case "admin":
            fields.append(f"authorization: Bearer {ADMIN_KEY}")
    if method == "POST":
        fields.append("content-type: application/json")
        if ask.framing == "chunked":
            fields.append("transfer-encoding: chunked")
            body = _chunked(body)
        else:
            fields.append(f"content-length: {len(body)}")
            if ask.framing == "expect":
                fields.append("expect: 100-continue")
    return "\r\n".join([*fields, "", ""]).encode(), body


def _chunked(body: bytes) -> bytes:
    step = max(1, len(body) // 3)
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    return b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in parts]) + b"0\r\n\r\n"
