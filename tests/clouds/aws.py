"""A fake of Bedrock that verifies who asks, and answers as AWS does.

It is a script of `DemoUpstream`.  Signatures are computed anew from the request as it came.
"""

from __future__ import annotations

import calendar
import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.clouds import sigv4
from tests.clouds.events import chunk, exception, said
from trio_router.demo import Answer, Send

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.demo import SeenRequest

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
EVENTS = "application/vnd.amazon.eventstream"
_SKEW = 300  # s


@dataclass
class Keys:
    secret: str
    token: str = ""
    end: float = float("inf")  # in AWS's time


@dataclass
class FakeBedrock:
    """`wall` is AWS's clock.  `throttled` requests are refused; `answers` come before the usual."""

    wall: Callable[[], float] = time.time
    region: str = "us-east-1"
    service: str = "bedrock"
    keys: dict[str, Keys] = field(default_factory=lambda: {KEY: Keys(SECRET)})
    bearers: set[str] = field(default_factory=set)
    throttled: int = 0
    answers: list[Answer] = field(default_factory=list)
    seen: list[SeenRequest] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __call__(self, request: SeenRequest) -> Answer:
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused.append(refusal[1])
            return self._error(*refusal)
        self.seen.append(request)
        if self.throttled:
            self.throttled -= 1
            told = "Too many requests, please wait before trying again."
            return self._error(429, "ThrottlingException", told)
        return self.answers.pop(0) if self.answers else self._answer(request)

    # -- who asks

    def _refusal(self, request: SeenRequest) -> tuple[int, str, str] | None:
        told = request.headers.get("authorization", "")
        if told.startswith("Bearer "):
            if told.removeprefix("Bearer ") in self.bearers:
                return None
            return 403, "AccessDeniedException", "Authentication failed: the API Key is not valid"
        found = sigv4.parsed(told)
        if found is None:
            return 403, "MissingAuthenticationTokenException", "Missing Authentication Token"
        key, date, region, service, signed, signature = found
        keys, at = self.keys.get(key), request.headers.get("x-amz-date", "")
        if keys is None or keys.token != request.headers.get("x-amz-security-token", ""):
            why = "The security token included in the request is invalid."
            return 403, "UnrecognizedClientException", why
        if keys.end <= self.wall():
            why = "The security token included in the request is expired"
            return 403, "ExpiredTokenException", why
        if (region, service, date) != (self.region, self.service, at[:8]):
            why = "Credential should be scoped to a valid region."
            return 403, "InvalidSignatureException", why
        if abs(calendar.timegm(time.strptime(at, "%Y%m%dT%H%M%SZ")) - self.wall()) > _SKEW:
            why = f"Signature expired: {at} is now earlier than {at} ({at} - 5 min.)"
            return 403, "InvalidSignatureException", why
        if not {"host", "x-amz-date"} <= set(signed) or (keys.token and _TOKEN not in signed):
            return 403, "InvalidSignatureException", "a header that must be signed is not signed"
        return self._wrong_signature(request, keys, signed, (date, region, service, at), signature)

    def _wrong_signature(self, request, keys, signed, scope, signature):
        canonical = sigv4.canonical_request(
            request.method, request.path, request.query, request.headers, signed, request.body
        )
        if sigv4.signature(keys.secret, *scope, canonical) == signature:
            return None
        why = (
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details.\n\n"
            f"The Canonical String for this request should have been\n'{canonical}'"
        )
        return 403, "InvalidSignatureException", why

    def _error(self, status: int, kind: str, message: str) -> Answer:
        body = json.dumps({"message": message}).encode()
        headers = [
            ("content-type", "application/json"),
            ("x-amzn-errortype", f"{kind}:http://internal.amazon.com/"),
            ("date", formatdate(self.wall(), usegmt=True)),
        ]
        return Answer(status, headers, [Send(body)], "length")

    # -- what is answered

    def _answer(self, request: SeenRequest) -> Answer:
        """The last text of the conversation, said back."""
        if request.path in _LISTS:
            return _json(_LISTS[request.path])
        _, model, verb = request.path.removeprefix("/").split("/")
        if "unknown" in unquote(model):
            return self._error(400, "ValidationException", "The provided model identifier is invalid.")
        match verb:
            case "converse":
                return _json(whole(echo(request.json)))
            case "converse-stream":
                text = echo(request.json)
                return Answer(200, [("content-type", EVENTS)], [Send(said(*cut(text)))])
            case "invoke":
                return _json(claude_message(echo(request.json)))
            case "invoke-with-response-stream":
                body = b"".join(map(chunk, claude_events(echo(request.json))))
                return Answer(200, [("content-type", EVENTS)], [Send(body)])
            case "count-tokens":
                return _json({"inputTokens": 42})
        return self._error(404, "UnknownOperationException", "unknown operation")


_TOKEN = "x-amz-security-token"
_LISTS = {
    "/foundation-models": {
        "modelSummaries": [
            {
                "modelId": "amazon.nova-lite-v1:0",
                "modelName": "Nova Lite",
                "inputModalities": ["TEXT", "IMAGE"],
            }
        ]
    },
    "/inference-profiles": {
        "inferenceProfileSummaries": [
            {
                "inferenceProfileId": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "inferenceProfileName": "US Claude",
            }
        ]
    },
}


def echo(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return next((one["text"] for one in reversed(content) if "text" in one), "no text")


def cut(text: str) -> list[str]:
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def whole(text: str) -> dict[str, Any]:
    return {
        "metrics": {"latencyMs": 3},
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12},
    }


def claude_message(text: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_bdrk_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 5},
        **fields,
    }


def claude_events(text: str) -> list[dict[str, Any]]:
    start = claude_message("", content=[], stop_reason=None)
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in cut(text)
    ]
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    metrics = {"inputTokenCount": 7, "outputTokenCount": 5, "invocationLatency": 3}
    return [
        {"type": "message_start", "message": start},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics},
    ]


def broken(kind: str, text: str, *words: str) -> Answer:
    """An answer that says `words` and then an exception."""
    whole_answer = said(*words)
    end = whole_answer.index(b"contentBlockStop") - 25
    body = whole_answer[:end] if words else b""
    return Answer(200, [("content-type", EVENTS)], [Send(body + exception(kind, text))])


def _json(value: Any) -> Answer:
    body = json.dumps(value).encode()
    return Answer(200, [("content-type", "application/json")], [Send(body)], "length")
