"""What stands between an answer's reader and the client's encoder."""

from __future__ import annotations

import json

import pytest

from trio_router.dialects import DIALECTS
from trio_router.dialects.answer import AnswerReader, ReadingRules
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.taps import tapped
from trio_router.dialects.translate import StreamTranslator
from trio_router.errors import Diverged


def reader() -> AnswerReader:
    identity = AnswerIdentity("chatcmpl-1", 1, "m")
    return AnswerReader(DIALECTS["openai"], identity, "text/event-stream", ReadingRules(1 << 20))


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


class Noting:
    def __init__(self) -> None:
        self.seen = []

    def take(self, items, reader, *, at_end):
        self.seen.append(([i.chunk["choices"][0]["delta"]["content"] for i in items], at_end))
        return items


class Dropping:
    def take(self, items, reader, *, at_end):
        return [item for item in items if item.chunk["choices"][0]["delta"]["content"] != "no"]


class Refusing:
    def take(self, items, reader, *, at_end):
        reader.refuse(Diverged("not this"))
        return items[:1]


def test_without_taps_the_reader_itself_is_read():
    one = reader()
    assert tapped(one, ()) is one


def test_a_tap_sees_every_item_once_and_is_told_of_the_end():
    tap = Noting()
    translator = StreamTranslator(reader(), [tap], with_usage=False)
    translator.receive_data(event("a") + event("b"))
    translator.receive_data(b"")
    translator.receive_data(event("c", "stop") + b"data: [DONE]\n\n")
    assert tap.seen == [(["a", "b"], False), ([], False), (["c"], True)]


@pytest.mark.parametrize("clean", [True, False])
def test_a_tap_is_told_of_an_end_that_is_good_without_a_word(clean):
    tap = Noting()
    translator = StreamTranslator(reader(), [tap], with_usage=False)
    translator.receive_data(event("a", "stop"))
    translator.receive_eof(clean=clean)
    assert tap.seen[-1] == ([], True)


def test_the_end_of_an_answer_that_was_cut_off_is_no_end_to_a_tap():
    tap = Noting()
    translator = StreamTranslator(reader(), [tap], with_usage=False)
    translator.receive_data(event("a"))
    translator.receive_eof()
    assert tap.seen[-1] == ([], False)


def test_taps_stand_one_behind_the_other():
    tap = Noting()
    translator = StreamTranslator(reader(), [Dropping(), tap], with_usage=False)
    frames = translator.receive_data(event("yes") + event("no"))
    assert tap.seen == [(["yes"], False)]
    assert b"yes" in frames
    assert b"no" not in frames


def test_a_tap_that_refuses_an_answer_ends_it_behind_what_was_good():
    translator = StreamTranslator(reader(), [Refusing()], with_usage=False)
    frames = translator.receive_data(event("a") + event("b", "stop") + b"data: [DONE]\n\n")
    assert frames == event("a")
    assert isinstance(translator.reader.failure, Diverged)
    assert not translator.reader.is_done
    assert b"[DONE]" not in frames
