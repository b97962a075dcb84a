"""Amazon Bedrock: Converse for every model, and Claude's own Messages by InvokeModel.

Field names and rules are from the API reference of the Bedrock Runtime and from the user guide
(docs.aws.amazon.com/bedrock).  Models are asked for by their ids, by the ids of inference profiles
(`us.anthropic.claude-...`) or by ARNs, which stand in the path as one segment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import (
    AnswerIdentity,
    Completion,
    Dialect,
    Unsupported,
    UpstreamRequest,
)
from trio_router.dialects.bedrock.invoked import is_invoked
from trio_router.dialects.bedrock.listing import BedrockCounter, BedrockListing
from trio_router.dialects.bedrock.native import invoked_body
from trio_router.dialects.bedrock.reasoning import is_claude
from trio_router.dialects.bedrock.request import build_body
from trio_router.dialects.bedrock.stream import EVENTS, ConverseDecoder, is_whole
from trio_router.dialects.fold import Fold
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.names import path_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.dialects.base import ChunkDecoder

__all__ = ["BedrockDialect"]


class BedrockDialect(Dialect):
    name = "bedrock"
    trims_beginning = True
    headers: Mapping[str, str] = {"accept": "application/json"}  # of what is in the binary stream
    kin = frozenset({"anthropic"})
    counts_natively = False
    listing = BedrockListing()
    counter = BedrockCounter()

    def build_request(
        self, body: dict[str, Any], *, ask_usage: bool, drop_unsupported: bool = False
    ) -> UpstreamRequest:
        """Usage always comes, asked for or not."""
        told = build_body(body, Unsupported("Bedrock", drop=drop_unsupported))
        verb = "converse-stream" if body.get("stream") else "converse"
        return UpstreamRequest(f"{_model(str(body.get('model')))}/{verb}", dumps(told))

    def recognises(self, record: dict[str, Any]) -> bool:
        if is_whole(record) or is_invoked(record):
            return True
        return len(record) == 1 and not record.keys().isdisjoint(EVENTS)

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return ConverseDecoder(identity)

    def completion(self, record: dict[str, Any], identity: AnswerIdentity) -> Completion | None:
        """The same as its stream, folded: there is one reading of blocks, not two."""
        decoder, fold = ConverseDecoder(identity), Fold(identity)
        for chunk in decoder.decode(record) + decoder.end(is_whole=True):
            fold.add(chunk)
        return fold.completion()

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"}

    def native_paths(self, model: str, query: Mapping[str, str]) -> dict[str, str]:
        """The model's; the verb comes behind it.  Where a name does not tell, Converse is asked."""
        return {"messages": _model(model)} if is_claude(model) else {}

    def native_request(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> UpstreamRequest:
        verb = "invoke-with-response-stream" if body.get("stream") else "invoke"
        return UpstreamRequest(f"{path}/{verb}", dumps(invoked_body(body, headers)))

    def listing_base(self, base_url: str) -> str:
        return base_url.replace("://bedrock-runtime", "://bedrock", 1)


def _model(name: str) -> str:
    return f"/model/{path_segment(name)}"
