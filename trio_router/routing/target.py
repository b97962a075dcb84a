"""Targets: what a request is sent to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.config.schema import Timeouts
    from trio_router.dialects.answer import ReadingRules
    from trio_router.dialects.base import Dialect


@dataclass(frozen=True, slots=True)
class Target:
    """One model of one provider, with all its settings."""

    provider: str
    model: str
    upstream_model: str
    base_url: str
    dialect: Dialect
    headers: Mapping[str, str]  # the provider's own and its key's: secret
    timeouts: Timeouts
    rules: ReadingRules
    ask_usage: bool
    drop_unsupported: bool
    query: Mapping[str, str]  # added to the URL of each request
    native: Mapping[str, str]  # clients' APIs that the provider speaks itself -> their paths
    defaults: Mapping[str, Any]
    options: Mapping[str, Any]
    is_listed: bool  # named in the configuration, not just passed through
    has_own_first_event: bool  # its model or provider sets `first_event`
    betas: frozenset[str] | None = None  # of `anthropic-beta`, that it takes; None: any
    has_tokenize: bool = False  # it has vLLM's and llama.cpp's /tokenize, or may have it
    keyed: tuple[Target, ...] = ()  # this target with each key of its provider, if there are several

    @property
    def name(self) -> str:
        """The name that clients ask for; only the provider's if there is no model."""
        return f"{self.provider}/{self.model}" if self.model else self.provider

    def is_asked_like(self, other: Target) -> bool:
        """Whether both are the same model at the same place, asked with the same key."""
        return (
            self.base_url == other.base_url
            and self.upstream_model == other.upstream_model
            and self.dialect is other.dialect
            and self.headers == other.headers
            and self.query == other.query
        )

    def with_timeouts(self, timeouts: Timeouts) -> Target:
        return self._with(timeouts=timeouts)

    def without_native(self) -> Target:
        """The same target, always reached through the hub, whatever the client's API is."""
        return self._with(native={})

    def _with(self, **changes: Any) -> Target:
        each = tuple(replace(target, **changes) for target in self.keyed)
        return replace(self, keyed=each, **changes)

    def body_for(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The client's request, with the configured `defaults` under it and `options` over it."""
        body = deep_merged({**self.defaults, **request}, self.options)
        body["model"] = self.upstream_model
        # Only the client chooses whether it gets a stream.
        if "stream" in request:
            body["stream"] = request["stream"]
        else:
            body.pop("stream", None)
        return body


def deep_merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping: `over` wins; mappings that both have are merged in the same way."""
    merged = dict(under)
    for name, value in over.items():
        held = merged.get(name)
        if isinstance(held, dict) and isinstance(value, dict):
            merged[name] = deep_merged(held, value)
        else:
            merged[name] = value
    return merged
