"""What an answer adds to its request's record: events, faults, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.dialects.usage import Usage, usage_of
from trio_router.errors import StreamError

if TYPE_CHECKING:
    from trio_router.dialects.answer import AnswerReader
    from trio_router.observe.record import RequestRecord

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
    used = usage_of(reader.usage) if reader.usage else None
    if used is not None and (used.input is not None or used.output is not None):
        record.used = used
    elif reader.failure is not None and not reader.said:
        return  # as far as anybody knows, the model wrote nothing
    elif events := reader.events - isinstance(reader.failure, StreamError):
        record.used = Usage(asked_bytes // _BYTES_A_TOKEN, events, is_estimated=True)
