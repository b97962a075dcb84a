"""What an answer adds to its request's record: events, faults, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_router.dialects.answer import AnswerReader
    from trio_router.observe.record import RequestRecord

# Where usage tells what came from a cache: OpenAI's two APIs; DeepSeek, Anthropic, Kimi.
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
_TOO_MANY = 1 << 53  # no provider counts so far, and a counter could not
_BYTES_A_TOKEN = 4  # of a request: a rough guess, for upstreams that report no usage


def book_answer(reader: AnswerReader, record: RequestRecord, asked_bytes: int) -> None:
    """Adds what `reader` has read.  `asked_bytes` is the size of the request, to guess its tokens."""
    record.progress = None
    record.format = reader.format or record.format
    record.chunks_processed += reader.events
    record.chunks_failed += reader.events_failed
    record.unicode_errors += reader.unicode_errors
    record.json_errors += reader.json_errors
    record.response_id = reader.response_id
    if reader.usage:
        record.cached_tokens = cached_tokens(reader.usage)
        record.prompt_tokens = tokens(reader.usage, "prompt_tokens")
        record.completion_tokens = tokens(reader.usage, "completion_tokens")
    elif reader.failure is not None and not reader.said:
        return  # as far as anybody knows, the model wrote nothing
    elif events := reader.events - isinstance(reader.failure, StreamError):
        record.prompt_tokens = asked_bytes // _BYTES_A_TOKEN
        record.completion_tokens = events
        record.is_estimated = True


def cached_tokens(usage: Mapping[str, object]) -> int | None:
    """How many of the prompt's tokens a provider read from its cache; None if it does not say.

    `usage` is in the hub's shape, or in that of another API whose answer passes through.
    """
    most: int | None = None
    for place in (usage, *map(usage.get, _DETAILS)):
        if not isinstance(place, dict) or place.keys().isdisjoint(_CACHED):
            continue  # what most usages say
        for name in _CACHED:
            count = tokens(place, name)
            if count is not None and (most is None or count > most):
                most = count
    return most


def tokens(usage: Mapping[str, object], *names: str) -> int | None:
    """The first of the fields `names` that is a number of tokens."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_MANY:
            return value
    return None
