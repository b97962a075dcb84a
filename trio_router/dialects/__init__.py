"""What bytes mean.  Sans-IO.  This file is the only place that knows all dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic import AnthropicDialect, MessagesClient
from trio_router.dialects.cohere import CohereDialect
from trio_router.dialects.completions import CompletionsClient
from trio_router.dialects.gemini import GeminiDialect
from trio_router.dialects.ollama import OllamaDialect
from trio_router.dialects.openai import AzureDialect, OpenAIDialect
from trio_router.dialects.responses import ResponsesClient

if TYPE_CHECKING:
    from trio_router.dialects.base import ClientDialect, Dialect

# Of upstreams.
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OpenAIDialect(),
        AzureDialect(),
        AnthropicDialect(),
        GeminiDialect(),
        CohereDialect(),
        OllamaDialect(),
    )
}
# Of clients of other APIs than the hub's, by the path that they ask.
CLIENTS: dict[str, ClientDialect] = {
    "/v1/messages": MessagesClient(),
    "/v1/completions": CompletionsClient(),
    "/v1/responses": ResponsesClient(),
}


def recognise(record: dict[str, Any], configured: Dialect) -> Dialect:
    """The dialect that a record of an answer is in, by its shape; if no one knows it, `configured`."""
    if configured.recognises(record):
        return configured
    return next((d for d in DIALECTS.values() if d.recognises(record)), configured)
