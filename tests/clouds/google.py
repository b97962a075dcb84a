"""A fake of Google's clouds: who gives tokens, and a Vertex AI that wants one that has not ended."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.clouds.aws import claude_events, claude_message, echo
from trio_router.demo import Answer, Send, sse

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.demo import SeenRequest

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass
class FakeGoogle:
    """Gives tokens at `/token` (service accounts), `/sts` (federation) and as the metadata server.

    `verify` checks a service account's signed assertion.
    """

    wall: Callable[[], float] = time.time
    seconds: int = 3600
    verify: Callable[[bytes, bytes], None] | None = None
    tokens: dict[str, float] = field(default_factory=dict)  # and when they end
    asked: list[str] = field(default_factory=list)
    seen: list[SeenRequest] = field(default_factory=list)

    def __call__(self, request: SeenRequest) -> Answer:
        if request.path in ("/token", "/sts"):
            self.asked.append(request.path)
            asked = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
            if request.path == "/token":
                self._check_assertion(asked["assertion"])
            else:
                assert asked["subject_token"] == "a-token-of-the-workload"
            return json_answer(self._token(issued_token_type="urn:ietf:params:oauth:token-type:jwt"))
        if request.path.startswith("/computeMetadata/") or request.path == "/":
            return self._metadata(request)
        return self._vertex(request)

    def _token(self, **more: Any) -> dict[str, Any]:
        token = f"ya29.token-number-{len(self.tokens)}-of-the-fake"
        self.tokens[token] = self.wall() + self.seconds
        return {"access_token": token, "expires_in": self.seconds, "token_type": "Bearer", **more}

    def _check_assertion(self, assertion: str) -> None:
        signed, _, signature = assertion.rpartition(".")
        claims = json.loads(_unpadded(signed.split(".")[1]))
        assert claims["scope"] == SCOPE
        assert abs(claims["iat"] - self.wall()) < 60
        assert self.verify is not None
        self.verify(_unpadded(signature), signed.encode())

    def _metadata(self, request: SeenRequest) -> Answer:
        flavor = ("metadata-flavor", "Google")
        if request.headers.get("metadata-flavor") != "Google":
            return Answer(403, [], [], "length")
        if request.path.endswith("/token"):
            self.asked.append("metadata")
            return json_answer(self._token(), flavor)
        if request.path.endswith("/service-accounts/default/"):
            return json_answer({"email": "a@b", "scopes": [SCOPE], "aliases": ["default"]}, flavor)
        return Answer(200, [("content-type", "text/plain"), flavor], [Send(b"project-1")], "length")

    def _vertex(self, request: SeenRequest) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0) <= self.wall():
            told = "Request had invalid authentication credentials. Expected OAuth 2 access token"
            error = {"code": 401, "message": told, "status": "UNAUTHENTICATED"}
            return json_answer({"error": error}, status=401)
        self.seen.append(request)
        verb = request.path.rpartition(":")[2]
        body = request.json
        match verb:
            case "generateContent":
                return json_answer(gemini(body))
            case "streamGenerateContent":
                return Answer(
                    200, [("content-type", "text/event-stream")], sse(gemini(body), done=False)
                )
            case "countTokens":
                return json_answer({"totalTokens": 42})
            case "predict":
                one = {"embeddings": {"values": [0.5, 1.0], "statistics": {"token_count": 3}}}
                return json_answer({"predictions": [one] * len(body["instances"])})
        return self._claude(request, body)

    def _claude(self, request: SeenRequest, body: dict[str, Any]) -> Answer:
        if request.path.endswith("/models/count-tokens:rawPredict"):
            return json_answer({"input_tokens": 42})
        if request.path.endswith(":rawPredict"):
            return json_answer(claude_message(echo(body)))
        events = b"".join(
            b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
            for event in claude_events(echo(body))
        )
        return Answer(200, [("content-type", "text/event-stream")], [Send(events)])


def gemini(body: dict[str, Any]) -> dict[str, Any]:
    text = body["contents"][-1]["parts"][-1]["text"]
    return {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12},
        "modelVersion": "gemini-2.5-flash",
    }


def json_answer(value: Any, *headers: tuple[str, str], status: int = 200) -> Answer:
    told = [("content-type", "application/json"), *headers]
    return Answer(status, told, [Send(json.dumps(value).encode())], "length")


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
