"""What an upstream says is the same in all five APIs: text, thoughts, calls and the end."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.clients.saying import Say, said
from tests.e2e.five_apis import APIS, CHAT, TARGETS, differences, streamed, whole, without_reason
from tests.e2e.replay import Record, body_of, random_cuts, recordings, tiny, whole as in_one
from trio_router.demo import Send

if TYPE_CHECKING:
    from collections.abc import Callable

DIALECTS = sorted(TARGETS)
ALL_DIALECTS = pytest.mark.parametrize("dialect", DIALECTS)
CUTS = pytest.mark.parametrize("cut", [in_one, random_cuts, pytest.param(tiny, marks=pytest.mark.slow)])
ENDS = 8  # places at which a recording is cut off


@cache
def recorded(dialect: str) -> list[Record]:
    found = [record for kind in ("stream", "json") for record in recordings(kind, dialect)]
    return found or pytest.skip(f"there is no recording of {dialect}")


def content_type(record: Record) -> str:
    return (record["response"].get("headers") or {}).get("content-type") or ""


def all_wrong(dialect: str, tell: Callable[[Record, str], object]) -> list[str]:
    """What clients of some API are told otherwise, of each recording of `dialect`."""
    wrong = []
    for record in recorded(dialect):
        told = {path: tell(record, path) for path in APIS}
        wrong += [f"{record['id']} {what}" for what in differences(without_reason(dialect, told))]
    return wrong


@pytest.mark.corpus
@CUTS
@ALL_DIALECTS
def test_every_recording_says_the_same_in_each_api_when_it_is_streamed(dialect, cut):
    def tell(record, path):
        return streamed(path, dialect, content_type(record), cut(body_of(record), 1))

    assert not (wrong := all_wrong(dialect, tell)), "\n".join(wrong)


@pytest.mark.corpus
@ALL_DIALECTS
def test_every_recording_says_the_same_in_each_api_when_it_is_whole(dialect):
    def tell(record, path):
        return whole(path, dialect, content_type(record), body_of(record))

    assert not (wrong := all_wrong(dialect, tell)), "\n".join(wrong)


@pytest.mark.corpus
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, ENDS))]
)
@ALL_DIALECTS
def test_every_recording_that_is_cut_off_says_the_same_in_each_api(dialect, seed):
    def tell(record, path):
        body = body_of(record)
        end = random.Random(f"{seed} {record['id']}").randrange(len(body))
        return streamed(path, dialect, content_type(record), [body[:end]])

    assert not (wrong := all_wrong(dialect, tell)), "\n".join(wrong)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
CALLS = st.tuples(
    st.from_regex("[a-z_]{1,12}", fullmatch=True), st.dictionaries(TEXTS, VALUES, max_size=3)
)
SAYINGS = st.builds(
    Say, TEXTS, TEXTS, st.lists(CALLS, max_size=3).map(tuple), st.sampled_from(["", "", "error"])
).filter(lambda say: say.text.strip() or (say.calls and not say.then))


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "ollama", "openai"])
@given(say=SAYINGS, seed=st.integers(0, 1000), is_whole=st.booleans())
def test_whatever_is_said_is_the_same_in_each_api(dialect, say, seed, is_whole):
    answer = said(dialect, say)
    body = b"".join(step.data for step in answer.steps if isinstance(step, Send))
    kind = dict(answer.headers)["content-type"]
    told = {
        path: whole(path, dialect, kind, body)
        if is_whole
        else streamed(path, dialect, kind, random_cuts(body, seed))
        for path in APIS
    }
    assert not (wrong := differences(told)), "\n".join(wrong)
    chat = told[CHAT].gist
    if say.then:
        assert chat.failed
        return
    assert (chat.text, chat.reasoning, chat.calls) == (say.text, say.thinking, list(say.calls))
    assert chat.finish == ("tool_calls" if say.calls else "stop")
