"""What bytes mean.  Sans-IO.  This file is the only place that knows all dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.ollama import OllamaDialect
from trio_router.dialects.openai import OpenAIDialect

if TYPE_CHECKING:
    from trio_router.dialects.base import Dialect

DIALECTS: dict[str, Dialect] = {d.name: d for d in (OpenAIDialect(), OllamaDialect())}


def recognise(record: dict[str, Any], configured: Dialect) -> Dialect:
    """The dialect that a record of an answer is in, by its shape; if no one knows it, `configured`."""
    if configured.recognises(record):
        return configured
    return next((d for d in DIALECTS.values() if d.recognises(record)), configured)
