"""Going on with an answer: whatever was sent and however the other comes, the client gets it whole."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies as st

from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold
from trio_router.routing.replay import Differs, Replay, Sent

IDENTITY = AnswerIdentity("id", 1, "m")
TEXTS = st.lists(st.text("ab", max_size=4), max_size=8)


def chunk(delta, finish=None, index=0, **more):
    return {"id": "1", "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def chunks_of(texts, reasoning=(), calls=()):
    """An answer: its reasoning, its text, its tool calls, its end."""
    found = [chunk({"role": "assistant", "content": ""})]
    found += [chunk({"reasoning_content": piece}) for piece in reasoning]
    found += [chunk({"content": piece}) for piece in texts]
    for number, pieces in enumerate(calls):
        head = {"index": number, "id": f"c{number}", "type": "function"}
        head["function"] = {"name": f"f{number}", "arguments": ""}
        found.append(chunk({"tool_calls": [head]}))
        found += [
            chunk({"tool_calls": [{"index": number, "function": {"arguments": p}}]}) for p in pieces
        ]
    found.append(chunk({}, "tool_calls" if calls else "stop"))
    return found


def folded(chunks):
    fold = Fold(IDENTITY)
    for one in chunks:
        fold.add(one)
    (choice,) = fold.completion()["choices"]
    message = {k: v for k, v in choice["message"].items() if v}
    return message, choice["finish_reason"]


def cut_again(texts, cuts):
    """The same text in other pieces."""
    whole = "".join(texts)
    places = sorted({min(c, len(whole)) for c in cuts} | {0, len(whole)})
    return [whole[a:b] for a, b in itertools.pairwise(places)]


def gone_on(sent_chunks, other):
    sent = Sent()
    for one in sent_chunks:
        sent.add(one)
    replay = Replay(sent)
    new = [new for one in other if (new := replay.take(one)) is not None]
    replay.end()
    return [*sent_chunks, *new]


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=2), st.data())
def test_the_same_answer_goes_on_to_its_end_from_any_break(texts, reasoning, calls, data):
    answer = chunks_of(texts, reasoning, calls)
    broken = data.draw(st.integers(0, len(answer) - 1))
    cuts = st.lists(st.integers(0, 30), max_size=5)
    other = chunks_of(
        cut_again(texts, data.draw(cuts)),
        cut_again(reasoning, data.draw(cuts)),
        [cut_again(call, data.draw(cuts)) for call in calls],
    )
    for one in other:
        one["id"] = "2"
    got = gone_on(answer[:broken], other)
    assert folded(got) == folded(answer)
    if broken:
        assert {one["id"] for one in got} == {"1"}


@given(TEXTS, TEXTS, st.integers(0, 9))
def test_another_answer_goes_on_only_if_it_begins_with_what_was_sent(texts, others, broken):
    answer, other = chunks_of(texts)[: broken + 1], chunks_of(others)
    sent = "".join(c["choices"][0]["delta"].get("content", "") for c in answer)
    is_finished = answer[-1]["choices"][0]["finish_reason"] is not None
    whole = "".join(others)
    try:
        got = gone_on(answer, other)
    except Differs:
        assert not whole.startswith(sent) or is_finished
    else:
        assert whole.startswith(sent)
        assert (folded(got)[0].get("content") or "") == whole


@pytest.mark.parametrize(
    ("sent", "other"),
    [
        ([chunk({"content": "abc"})], [chunk({"content": "ab"}), chunk({}, "stop")]),
        ([chunk({"content": "abc"})], [chunk({"content": "ab"})]),
        ([chunk({"reasoning_content": "hm"})], [chunk({"content": "x"})]),
        ([chunk({"content": "abc"})], chunks_of([], calls=[["{}"]])),
        (chunks_of([], calls=[["{"]])[:-1], chunks_of([], calls=[["["]])),
        ([chunk({"content": [{"type": "thinking"}]})], [chunk({"content": "x"})]),
    ],
)
def test_what_cannot_be_the_same_answer_differs(sent, other):
    with pytest.raises(Differs):
        gone_on(sent, other)


def test_the_message_of_a_difference_holds_no_text():
    with pytest.raises(Differs) as caught:
        gone_on([chunk({"content": "secret one"})], [chunk({"content": "secret two"})])
    assert "secret" not in str(caught.value)


def test_usage_passes_and_several_choices_are_read_each_for_itself():
    sent = [chunk({"content": "a"}), chunk({"content": "x"}, index=1)]
    usage = {"id": "2", "choices": [], "usage": {"total_tokens": 3}}
    other = [chunk({"content": "xy"}, "stop", 1), chunk({"content": "ab"}, "stop"), usage]
    got = gone_on(sent, other)[2:]
    pieces = [(c["index"], c["delta"].get("content")) for one in got for c in one["choices"]]
    assert pieces == [(1, "y"), (0, "b")]
    assert got[-1]["usage"] == {"total_tokens": 3}


class TestPrefill:
    def sent(self, *chunks):
        sent = Sent()
        for one in chunks:
            sent.add(one)
        return sent

    def test_text_can_be_gone_on_from(self):
        assert (
            self.sent(chunk({"role": "assistant"}), chunk({"content": "ab"})).text_to_continue() == "ab"
        )

    def test_nothing_sent_is_asked_anew(self):
        assert self.sent().text_to_continue() == ""
        assert self.sent(chunk({"role": "assistant"})).text_to_continue() == ""

    @pytest.mark.parametrize(
        "chunks",
        [
            chunks_of(["a"], calls=[["{"]])[:-1],
            [chunk({"content": "a"}), chunk({"content": "b"}, index=1)],
            [chunk({"content": "a"}, "stop")],
            [chunk({"reasoning_content": "hm"})],
            [chunk({"content": [{"type": "thinking"}]})],
        ],
    )
    def test_what_is_more_than_text_cannot(self, chunks):
        assert self.sent(*chunks).text_to_continue() is None

    def test_what_comes_then_passes_as_it_is_under_the_first_name(self):
        sent = self.sent(chunk({"role": "assistant", "content": "ab"}))
        replay = Replay.continuing(sent)
        new = [replay.take({**chunk({"role": "assistant", "content": "ab"}), "id": "2"})]
        assert new[0]["id"] == "1"
        assert new[0]["choices"][0]["delta"] == {"content": "ab"}


def detailed(text):
    piece = {"type": "reasoning.text", "text": text, "index": 0}
    return {"reasoning_content": text, "reasoning_details": [piece]}


@pytest.mark.parametrize("sent", ["", "a", "ab", "abc", "abcdef"])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("is_detailed", [False, True])
def test_the_text_of_details_is_repeated_no_more_than_the_thoughts_are(sent, size, is_detailed):
    known, got = Sent(), ""
    if sent:
        known.add(chunk(detailed(sent) if is_detailed else {"reasoning_content": sent}))
    replay = Replay(known)
    for at in range(0, 6, size):
        new = replay.take(chunk(detailed("abcdef"[at : at + size]))) or {"choices": []}
        for choice in new["choices"]:
            told = "".join(one["text"] for one in choice["delta"].get("reasoning_details", ()))
            assert told == choice["delta"]["reasoning_content"]
            got += told
    replay.end()
    assert sent + got == "abcdef"


def test_a_signature_comes_when_all_thoughts_were_repeated():
    known = Sent()
    known.add(chunk({"reasoning_content": "ab"}))
    replay = Replay(known)
    signed = {"type": "reasoning.text", "text": "", "signature": "s", "index": 0}
    assert replay.take(chunk({"reasoning_details": [signed]})) is None
    assert replay.take(chunk(detailed("ab"))) is None
    new = replay.take(chunk({"reasoning_details": [signed]}))
    assert new["choices"][0]["delta"]["reasoning_details"] == [signed]
