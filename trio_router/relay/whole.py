"""An attempt whose answer comes without streaming."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trio_router.dialects.provider_error import own_status
from trio_router.errors import StreamError
from trio_router.relay.call import OpenedAnswer
from trio_router.relay.tally import book_answer
from trio_router.wire.jsoncodec import is_heavy

if TYPE_CHECKING:
    from trio_router.relay.attempt import Attempt
    from trio_router.relay.call import WholeCall
    from trio_router.relay.client import UpstreamAnswer


async def whole_answer(attempt: Attempt, call: WholeCall) -> bytes:
    """The client's JSON.  Raises RouterError."""
    answer = b""
    attempt.watchdog.first("response", attempt.limits.response)
    with attempt, await attempt.ask(call) as response:
        await attempt.check_status(response)
        limit = call.max_answer or attempt.target.rules.max_event
        raw = await attempt.read(response, limit, strict=True)
        translate = partial(_translate, attempt, call, response, raw)
        try:
            answer = await attempt.aside(translate) if is_heavy(raw) else translate()
        except StreamError as fault:
            retry_after = response.header(b"retry-after") or None
            raise own_status(fault, attempt.target.provider, retry_after) from None
    return answer


def _translate(attempt: Attempt, call: WholeCall, response: UpstreamAnswer, raw: bytes) -> bytes:
    content_type = response.header(b"content-type")
    whole = call.whole(OpenedAnswer(attempt.target, attempt.identity, content_type))
    try:
        return whole.translate(raw)
    finally:
        book_answer(whole.reader, attempt.record, attempt.asked_bytes)
