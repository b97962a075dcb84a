"""Azure's paths for OpenAI's API: which endpoint, and which model, they stand for.

`/openai/deployments/{model}/chat/completions?api-version=...` asks what `/v1/chat/completions` asks
with that model, whatever the body names; `/openai/v1/responses` and `/openai/responses` are
`/v1/responses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Container

    from trio_router.server.link import Link

AZURE = "/openai/"
_DEPLOYMENTS = "deployments"
_ENDPOINTS = frozenset(
    {
        *("chat/completions", "completions", "embeddings", "responses"),
        *("audio/speech", "audio/transcriptions", "audio/translations"),
        *("images/generations", "images/edits", "images/variations"),
    }
)


def azure_path(link: Link, providers: Container[str]) -> tuple[str, str | None]:
    """The path that the one of `link` stands for, and the model that it names.

    A model's name may hold slashes, as they are or percent-encoded.  A provider's name alone is no
    model: `deepseek/chat/completions` are the text completions of `deepseek/chat`.
    """
    raw = link.raw_path.decode("latin-1").removeprefix(AZURE)
    first, *rest = [unquote(part) for part in raw.split("/")]
    if first != _DEPLOYMENTS:
        return f"/v1/{link.path.removeprefix(AZURE).removeprefix('v1/')}", None
    for length in range(1, len(rest)):
        model, endpoint = "/".join(rest[:length]), "/".join(rest[length:])
        if endpoint in _ENDPOINTS and model not in providers:
            return f"/v1/{endpoint}", model
    return link.path, None
