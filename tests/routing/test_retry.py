from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given, strategies as st

from trio_router.config.routes import RetryConfig
from trio_router.dialects.answer import stream_error
from trio_router.dialects.translate import status_error
from trio_router.errors import (
    Diverged,
    EventTooLarge,
    InvalidRequest,
    MalformedJSON,
    NetworkError,
    Overloaded,
    ProviderAuthError,
    Truncated,
    UpstreamTimeout,
)
from trio_router.routing.retry import Budget, Verdict, backoff, is_blamed, retry_after, verdict
from trio_router.wire.jsoncodec import dumps


def status(code, message="no", reason="x", **more):
    return status_error("p", code, dumps({"error": {"message": message, "code": reason, **more}}), None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NetworkError("lost"), Verdict.AGAIN),
        (Truncated("cut"), Verdict.AGAIN),
        (MalformedJSON("{"), Verdict.AGAIN),
        (EventTooLarge("big"), Verdict.AGAIN),
        (UpstreamTimeout("p", "first_event", 1), Verdict.NEXT),
        (UpstreamTimeout("p", "pool", 1), Verdict.NEXT),
        (ProviderAuthError("who"), Verdict.NEXT),
        (Overloaded("full"), Verdict.NEXT),
        (InvalidRequest("not with this one"), Verdict.NEXT),
        *[(status(s), Verdict.AGAIN) for s in (408, 409, 425, 429, 500, 502, 503, 504, 529)],
        *[(status(s), Verdict.NEXT) for s in (402, 404, 413, 501)],
        *[(status(s), Verdict.CLIENT) for s in (400, 415, 422, 451)],
        (status(429, reason="insufficient_quota"), Verdict.NEXT),
        (status(400, reason="unsupported_parameter"), Verdict.NEXT),
        (stream_error({"error": {"message": "busy"}}), Verdict.AGAIN),
        (stream_error({"error": {"message": "busy", "code": 502}}), Verdict.AGAIN),
        (stream_error({"error": {"message": "bad", "code": 400}}), Verdict.CLIENT),
        (stream_error({"error": {"message": "x", "code": "context_length_exceeded"}}), Verdict.LARGER),
        (stream_error({"error": {"message": "x", "code": "content_filter"}}), Verdict.FILTERED),
    ],
    ids=str,
)
def test_what_a_failure_is_worth(error, expected):
    assert verdict(error) is expected


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "the request exceeds the available context size. try increasing the context size",
        "Please reduce the length: input is too long for requested model.",
    ],
)
def test_too_long_a_prompt_is_known_by_the_words_of_many_providers(message):
    assert verdict(status(400, message)) is Verdict.LARGER


@pytest.mark.parametrize(
    "error",
    [
        status(400, "The response was filtered", "content_filter"),
        status(400, "Your request was rejected", "content_policy_violation"),
        status(400, "Content Exists Risk", "invalid_request_error"),
        status(400, "triggered Azure OpenAI's content management policy", "x"),
    ],
)
def test_a_refused_content_is_known(error):
    assert verdict(error) is Verdict.FILTERED


def test_what_speaks_against_a_target_and_what_does_not():
    assert is_blamed(NetworkError("lost"))
    assert is_blamed(status(503))
    assert is_blamed(UpstreamTimeout("p", "first_event", 1))
    assert not is_blamed(UpstreamTimeout("p", "pool", 1))
    assert not is_blamed(status(400))
    assert not is_blamed(status(400, reason="context_length_exceeded"))
    assert not is_blamed(Overloaded("full"))
    assert not is_blamed(Diverged("other"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("0", 0),
        ("17", 17),
        (" 1.5 ", 1.5),
        (formatdate(1_000_020, usegmt=True), 20),
        (formatdate(999_000, usegmt=True), 0),
        ("Wed, 99 Foo 2026 10:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value, expected):
    assert retry_after(value, 1_000_000) == expected


@given(st.text(max_size=40))
def test_retry_after_never_fails(text):
    found = retry_after(text, 1_000_000)
    assert found is None or found >= 0


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.floats(0.001, 10), st.floats(10, 100))
def test_backoff_is_any_part_of_a_doubling_time_up_to_the_most(tries, dice, base, most):
    config = RetryConfig(base=base, max=most)
    delay = backoff(tries, config, lambda: dice)
    assert 0 <= delay <= min(most, base * 2.0 ** (tries - 1))
    assert backoff(tries, config, lambda: 0.999) >= delay * 0.99 or dice > 0.999


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=400))
def test_retries_stay_within_their_share(share, wants):
    budget = Budget()
    taken = 0
    for wants_retry in wants:
        budget.deposit(share)
        taken += wants_retry and budget.take(0.0)
    assert taken <= share * len(wants) + 10


def test_a_spent_budget_grows_back_slowly():
    budget = Budget()
    while budget.take(0.0):
        pass
    assert not budget.take(5.0)
    assert budget.take(20.0)
