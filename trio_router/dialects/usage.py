"""What an answer used, as its provider tells it: one value for all APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

# The hub's names first, then those of Responses and of OpenAI's audio and images.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
# Where usage tells what came from a cache: OpenAI's two APIs; DeepSeek, Anthropic, Kimi.
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
# What was written to a cache: OpenAI and OpenRouter, the hub, Anthropic.
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_TOO_MANY = 1 << 53  # no provider counts so far, and a counter could not
_NANO = 1_000_000_000
_PLAIN = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Counts of tokens, if nothing else is said.  None: it was not told; zero was told.

    `input` is the whole prompt: what is cached, written and heard of it is a part of it.  `output` is
    all that was written: what was thought and said aloud is a part of it.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None  # read from the provider's cache
    written: int | None = None  # to a cache, for 5 minutes or whatever is usual
    written_1h: int | None = None  # to a cache for an hour
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    images: int | None = None  # that were made: a number of pictures
    searches: int | None = None  # of the web by the provider's own tool, or of documents in a rerank
    told_cost: int | None = None  # nano-dollars that the provider says it takes
    is_estimated: bool = False  # guessed from sizes: the provider told nothing

    def __add__(self, other: Usage) -> Usage:
        sums: dict[str, Any] = {n: _sum(getattr(self, n), getattr(other, n)) for n in _COUNTS}
        return Usage(**sums, is_estimated=self.is_estimated or other.is_estimated)


_COUNTS = Usage.__struct_fields__[:-1]


def usage_of(told: Mapping[str, Any]) -> Usage:
    """What `told` says, in the hub's shape or in that of another API whose answer passes through."""
    if told.keys() <= _PLAIN:  # what most usages say
        return Usage(tokens(told, "prompt_tokens"), tokens(told, "completion_tokens"))
    of_input, of_output = _details(told, _INPUT_DETAILS), _details(told, _OUTPUT_DETAILS)
    hour = tokens(_inside(told, "cache_creation"), "ephemeral_1h_input_tokens")
    written = _most(tokens(of_input, *_WRITTEN), tokens(told, *_WRITTEN))
    if hour is not None:
        written = max(0, (written or 0) - hour)
    reasoning = _most(tokens(of_output, "reasoning_tokens"), tokens(told, "reasoning_tokens"))
    return Usage(
        _input(told),
        _output(told, reasoning),
        _most(_cached(told), _cached(of_input)),
        written,
        hour,
        reasoning,
        tokens(of_input, "audio_tokens"),
        tokens(of_output, "audio_tokens"),
        tokens(of_input, "image_tokens"),
        None,
        tokens(_inside(told, "server_tool_use"), "web_search_requests"),
        _told_cost(told.get("cost")),
    )


def passing_usage(answer: Mapping[str, Any]) -> Usage | None:
    """What an answer that passes through says it used (images, sound, rerank); None if nothing."""
    usage, meta = _inside(answer, "usage"), _inside(answer, "meta")
    billed = _inside(meta, "billed_units")
    if billed or "tokens" in meta:
        counts = _inside(meta, "tokens") or billed
        return Usage(
            tokens(counts, "input_tokens"),
            tokens(counts, "output_tokens"),
            images=tokens(billed, "images"),
            searches=tokens(billed, "search_units"),
        )
    found = usage_of(usage) if usage else Usage()
    made = answer.get("data")
    if isinstance(made, list) and (pictures := sum(map(_is_picture, made))):
        found = msgspec.structs.replace(found, images=pictures)
    return None if found == Usage() else found


def _is_picture(made: Any) -> bool:
    return isinstance(made, dict) and not made.keys().isdisjoint({"url", "b64_json"})


def cached_tokens(usage: Mapping[str, Any]) -> int | None:
    """How many of the prompt's tokens a provider read from its cache; None if it does not say."""
    return usage_of(usage).cached


def tokens(usage: Mapping[str, Any], *names: str) -> int | None:
    """The first of the fields `names` that is a number of tokens."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # Cohere counts so
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_MANY:
            return value
    return None


def _input(told: Mapping[str, Any]) -> int | None:
    return tokens(told, *_INPUT)


def _output(told: Mapping[str, Any], reasoning: int | None) -> int | None:
    """xAI counts what was thought beside `completion_tokens`: then only the sum tells it."""
    said, asked = tokens(told, *_OUTPUT), tokens(told, *_INPUT)
    if reasoning and said is not None and asked is not None:
        return said + reasoning if tokens(told, "total_tokens") == asked + said + reasoning else said
    return said


def _cached(place: Mapping[str, Any]) -> int | None:
    most: int | None = None
    if not place.keys().isdisjoint(_CACHED):
        for name in _CACHED:
            most = _most(most, tokens(place, name))
    return most


def _told_cost(cost: Any) -> int | None:
    """OpenRouter tells a number of dollars, Perplexity an object with the sum."""
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < 1_000_000:
        return None
    return round(cost * _NANO)


def _details(told: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    for name in names:
        if isinstance(found := told.get(name), dict):
            return found
    return {}


def _inside(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
