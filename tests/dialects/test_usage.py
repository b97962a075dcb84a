"""What each provider tells of a usage, as one value."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_router.dialects.anthropic.words import usage_to_hub as of_anthropic
from trio_router.dialects.cohere.words import usage_to_hub as of_cohere
from trio_router.dialects.gemini.words import usage_to_hub as of_gemini
from trio_router.dialects.responses.response import usage_to_hub as of_responses
from trio_router.dialects.usage import Usage, passing_usage, usage_of

TOLD = {
    "OpenAI chat": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 5},
        },
        Usage(100, 50, cached=60, reasoning=20, audio_in=10, audio_out=5),
    ),
    "plain": ({"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}, Usage(3, 0)),
    "embeddings": ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, None)),
    "DeepSeek": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        Usage(100, 5, cached=64),
    ),
    "xAI, which counts what was thought beside the answer": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(32, 103, reasoning=94),
    ),
    "OpenRouter": (
        {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "cost": 0.00014},
        Usage(9, 2, told_cost=140_000),
    ),
    "Perplexity": (
        {"prompt_tokens": 9, "completion_tokens": 2, "cost": {"total_cost": 0.006}},
        Usage(9, 2, told_cost=6_000_000),
    ),
    "Messages": (
        of_anthropic(
            {
                "input_tokens": 10,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 2},
            }
        ),
        Usage(100, 7, cached=60, written=20, written_1h=10, reasoning=4, searches=2),
    ),
    "Messages that wrote nothing": (
        of_anthropic({"input_tokens": 10, "output_tokens": 7}),
        Usage(10, 7, cached=0, written=0),
    ),
    "Responses": (
        of_responses(
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 20},
                "total_tokens": 150,
            }
        ),
        Usage(100, 50, cached=60, written=10, reasoning=20),
    ),
    "Gemini": (
        of_gemini(
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "candidatesTokenCount": 30,
                "thoughtsTokenCount": 20,
                "toolUsePromptTokenCount": 5,
                "totalTokenCount": 155,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 60},
                    {"modality": "AUDIO", "tokenCount": 30},
                    {"modality": "IMAGE", "tokenCount": 10},
                ],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
            }
        ),
        Usage(105, 50, cached=60, reasoning=20, audio_in=30, audio_out=8, image_in=10),
    ),
    "Cohere": (
        of_cohere({"tokens": {"input_tokens": 100.0, "output_tokens": 5.0}, "cached_tokens": 60}),
        Usage(100, 5, cached=60),
    ),
}


@pytest.mark.parametrize("who", TOLD)
def test_each_providers_words_come_to_one_value(who):
    told, usage = TOLD[who]
    assert usage_of(told) == usage


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (
            {"usage": {"input_tokens": 50, "output_tokens": 900,
                       "input_tokens_details": {"image_tokens": 40}},
             "data": [{"b64_json": "x"}, {"b64_json": "y"}]},
            Usage(50, 900, image_in=40, images=2),
        ),
        ({"data": [{"url": "http://x"}]}, Usage(images=1)),
        (
            {"text": "hi", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4,
                                     "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}},
            Usage(14, 4, audio_in=14),
        ),
        ({"results": [], "meta": {"billed_units": {"search_units": 1}}}, Usage(searches=1)),
        ({"results": [], "meta": {"tokens": {"input_tokens": 12}}}, Usage(12)),
        ({"results": []}, None),
        ({"usage": {"type": "duration", "seconds": 9}}, None),
        ({"usage": None, "data": "x", "meta": 3}, None),
    ],
)  # fmt: skip
def test_answers_that_pass_through_tell_theirs(answer, usage):
    assert passing_usage(answer) == usage


@pytest.mark.parametrize("cost", [True, -1, "1", None, float("nan"), float("inf"), {"total": 1}, 1e9])
def test_a_cost_that_is_none_is_not_taken(cost):
    assert usage_of({"prompt_tokens": 1, "cost": cost}).told_cost is None


FIELDS = "prompt_tokens input_tokens completion_tokens total_tokens cached_tokens cache_creation cost"
FIELDS += " prompt_tokens_details completion_tokens_details server_tool_use"
INNER = ["cached_tokens", "reasoning_tokens", "audio_tokens", "total_cost", "web_search_requests"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(INNER), inner),
)


@given(st.dictionaries(st.sampled_from(FIELDS.split()), ANYTHING))
def test_whatever_is_told_no_count_is_negative(told):
    usage = usage_of(told)
    assert all(getattr(usage, name) is None or getattr(usage, name) >= 0
               for name in usage.__struct_fields__)  # fmt: skip


def test_what_was_not_told_stays_untold_in_a_sum():
    assert Usage(1, 0) + Usage(2, None, cached=3) == Usage(3, 0, cached=3)
    assert (Usage(1, 1) + Usage(1, 1, is_estimated=True)).is_estimated
