"""What records mean: requests and answers of every provider, and of every client's API.  Sans-IO.

What flows through.  All dialects meet in the hub, OpenAI's chat JSON as plain dictionaries.  A client's
request becomes a chat request of the hub, then the upstream's request; the upstream's records become
chunks of the hub, then the client's frames.  Where both sides speak the same API, both pass through.

    base                    the protocols that a dialect implements
    openai, anthropic, gemini, cohere, ollama
                            upstreams (`DIALECTS`; Azure is in `openai`), their embeddings and lists
    anthropic, responses, completions, gemini, ollama
                            clients' APIs other than chat (`APIS`)
    answer, translate       an upstream's answer to chunks, and to what the client gets
    native                  an answer that passes through, read along the way
    chat_request, chat_messages, embedding
                            checks of clients' requests
    chat_shapes, chat_freeform
                            chat requests in the shapes of other APIs, as some agents send them
    conversations           which conversation a client's request is part of
    hub, fold, media,
    chat_fields             readers and helpers of the hub's shape
    freeform                tools whose input is free-form text
    provider_error          what a provider's error means

Invariants.
- A dialect knows the hub and itself, no other dialect.  This file alone knows all of them.
- A request that a dialect cannot express is a 400 that names the field, or the field is dropped if the
  provider's configuration says so.  Nothing is dropped silently.
- Unknown fields are kept, and an answer in the hub's own shape stays byte for byte.
- Bad input from an upstream is a fault in `failure` or an UpstreamError, never another exception.

What it may not know: IO, time, configuration files, routes, who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic import AnthropicDialect, MessagesClient
from trio_router.dialects.cohere import CohereDialect
from trio_router.dialects.completions import CompletionsClient
from trio_router.dialects.gemini import GeminiClient, GeminiDialect
from trio_router.dialects.ollama.client import OllamaClient
from trio_router.dialects.ollama.dialect import OllamaDialect
from trio_router.dialects.openai.dialect import AzureDialect, OpenAIDialect
from trio_router.dialects.openai.listing import OpenAIListing
from trio_router.dialects.responses import ResponsesClient

if TYPE_CHECKING:
    from trio_router.dialects.base import ClientDialect, Dialect, ModelTeller

# Of upstreams, by name.
_UPSTREAMS: tuple[Dialect, ...] = (
    OpenAIDialect(),
    AzureDialect(),
    AnthropicDialect(),
    GeminiDialect(),
    CohereDialect(),
    OllamaDialect(),
)
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _UPSTREAMS}

# Of clients of other APIs than the hub's, by the path that they ask.
_CLIENTS: tuple[ClientDialect, ...] = (MessagesClient(), CompletionsClient(), ResponsesClient())
OLLAMA_CLIENTS: dict[str, OllamaClient] = {
    client.path: client for client in (OllamaClient(is_chat=True), OllamaClient(is_chat=False))
}
CLIENTS: dict[str, ClientDialect] = {**{client.path: client for client in _CLIENTS}, **OLLAMA_CLIENTS}
# Gemini's has the model in its paths; what is streamed without `alt=sse` is an array.
GEMINI, GEMINI_ARRAY = GeminiClient(), GeminiClient(is_array=True)
APIS: tuple[ClientDialect, ...] = (*_CLIENTS, GEMINI, *OLLAMA_CLIENTS.values())

# How clients are told of models: those of other APIs than OpenAI's by a header that they send.
MODELS: ModelTeller = OpenAIListing()
MODELS_BY_HEADER: dict[bytes, ModelTeller] = {
    client.header: client.models
    for client in APIS
    if client.header is not None and client.models is not None
}


def recognise(record: dict[str, Any], configured: Dialect) -> Dialect:
    """The dialect that a record of an answer is in, by its shape; if no one knows it, `configured`."""
    if configured.recognises(record):
        return configured
    return next((d for d in DIALECTS.values() if d.recognises(record)), configured)
