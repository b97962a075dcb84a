"""`GET /models`, as OpenAI and its cousins answer it, and as their clients ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import ListedModel
from trio_router.dialects.hub import as_dict, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence


# The names that OpenRouter, Groq, Mistral, vLLM, Together and llama.cpp have for it.
_CONTEXT = (
    *("context_length", "context_window", "max_context_length", "max_model_len"),
    *("n_ctx", "n_ctx_train"),
)
_OUTPUT = ("max_completion_tokens", "max_output_tokens")
_ABILITIES = {
    "tools": "tools",
    "function_calling": "tools",
    "image": "vision",
    "vision": "vision",
    "reasoning": "thinking",
}


class OpenAIListing:
    def path(self, mark: str | None) -> str:
        return "/models"

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        """Together gives the bare array."""
        found = page.get("data") if isinstance(page, dict) else page
        items = found if isinstance(found, list) else []
        return [_model(item) for item in items if isinstance(item, dict) and _is_named(item)], None

    def model(self, model: ListedModel) -> dict[str, Any]:
        provider, slash, _ = model.id.partition("/")
        owner = provider if slash else "trio-router"  # a route
        told = {"id": model.id, "object": "model", "created": model.created, "owned_by": owner}
        more = {
            "name": model.title,
            "context_length": model.context,
            "max_output_tokens": model.output,
            "capabilities": list(model.abilities),
        }
        return told | {name: value for name, value in more.items() if value}

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]:
        return {"object": "list", "data": [self.model(model) for model in models]}


def _is_named(item: dict[str, Any]) -> bool:
    return isinstance(item.get("id"), str) and bool(item["id"])


def _model(item: dict[str, Any]) -> ListedModel:
    created, top, meta = item.get("created"), item.get("top_provider"), item.get("meta")
    known = [item, as_dict(top), as_dict(meta)]
    return ListedModel(
        item["id"],
        int(created) if isinstance(created, int | float) else 0,
        title if isinstance(title := item.get("name") or item.get("display_name"), str) else "",
        _first(known, _CONTEXT),
        _first(known, _OUTPUT),
        _abilities(item),
    )


def _first(records: list[dict[str, Any]], names: tuple[str, ...]) -> int:
    found = (tokens(record.get(name)) for record in records for name in names)
    return next(filter(None, found), 0)


def _abilities(item: dict[str, Any]) -> tuple[str, ...]:
    """OpenRouter tells parameters and modalities, Mistral what it can in an object."""
    parameters = item.get("supported_parameters")
    modalities = as_dict(item.get("architecture")).get("input_modalities")
    words = [word for told in (parameters, modalities) if isinstance(told, list) for word in told]
    given = as_dict(item.get("capabilities"))
    words += [name for name, has in given.items() if has is True]
    return tuple(dict.fromkeys(a for word in words if (a := _ABILITIES.get(str(word)))))
