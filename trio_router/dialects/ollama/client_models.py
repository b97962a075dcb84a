"""Models as clients of Ollama's API are told of them: `/api/tags`, `/api/show`.

What only a file on a disk has (size, format, quantisation) is empty.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from trio_router.dialects.ollama.client_answer import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.base import ListedModel

# The version of the API that is spoken here: clients refuse older ones than what they need.
API_VERSION = "0.12.11"
_ARCHITECTURE = "trio-router"
# What a model of which nothing is known can be asked for; whether it calls tools is its own affair.
_ABILITIES = ("tools",)


class OllamaTeller:
    """See ModelTeller."""

    def model(self, model: ListedModel) -> dict[str, Any]:
        return {
            "name": model.id,
            "model": model.id,
            "modified_at": timestamp(model.created),
            "size": 0,
            # Clients take models with one digest for one model, and keep what they know by it.
            "digest": hashlib.sha256(repr(model).encode()).hexdigest(),
            "details": _details(model.id),
        }

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]:
        return {"models": [self.model(model) for model in models]}

    def show(self, model: ListedModel) -> dict[str, Any]:
        """What is known of a model that no Ollama has."""
        info: dict[str, Any] = {
            "general.architecture": _ARCHITECTURE,
            "general.basename": model.title or model.id,
        }
        if model.context:
            info[f"{_ARCHITECTURE}.context_length"] = model.context
        return {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(model.id),
            "model_info": info,
            "capabilities": ["completion", *(model.abilities or _ABILITIES)],
            "modified_at": timestamp(model.created),
        }


def _details(name: str) -> dict[str, Any]:
    family = name.partition("/")[0]
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }
