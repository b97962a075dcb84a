"""Each step of a model's name does what the table says."""

from __future__ import annotations

import pytest
import trio

from tests.demo.client import Client, chat, contents, events, records
from trio_router.demo.script import STEPS, NoSuchModel, Script, ScriptError, parse, texts
from trio_router.demo.server import DemoUpstream

DONE = b"0\r\n\r\n"


@pytest.fixture
def upstream():
    return DemoUpstream()


@pytest.fixture
def ask(nursery, upstream):
    """Sends a request on a connection of its own and reads to the end of the answer."""

    async def ask(model, text="hello world", until=DONE, **more):
        client = Client(nursery, upstream)
        await client.send(chat(model, text, **more))
        await (client.read_until(until) if until else client.read_all())
        return client

    return ask


def test_a_plain_name_is_a_script_that_does_nothing_special():
    assert parse("echo") == parse("demo/echo") == parse("echo:latest") == Script()


def test_steps_are_read_in_any_order():
    assert parse("echo-x3-d50-crlf") == parse("echo-crlf-d50-x3") == Script(50, abort=3, crlf=True)


@pytest.mark.parametrize("name", ["echo-z1", "echo-", "echo-d", "echo-d-5", "echo-dd5", "echo-5"])
def test_an_unknown_step_is_refused_and_the_known_ones_are_named(name):
    with pytest.raises(ScriptError) as caught:
        parse(name)
    assert all(step in str(caught.value) for step in STEPS)


@pytest.mark.parametrize("name", ["echo-s0", "echo-r200", "echo-u0", "echo-c9999999", "echo-d1-d2"])
def test_a_number_out_of_range_or_a_step_said_twice_is_refused(name):
    with pytest.raises(ScriptError):
        parse(name)


def test_steps_that_contradict_each_other_or_ask_for_too_much_are_refused():
    with pytest.raises(ScriptError, match="exclude"):
        parse("echo-c1-w1")
    with pytest.raises(ScriptError, match="at most"):
        parse("echo-c1000000-b8000000")


@pytest.mark.parametrize("name", ["", "gpt-4o", "echoes", "demo/"])
def test_a_name_that_is_no_script_is_no_model(name):
    with pytest.raises(NoSuchModel):
        parse(name)


@pytest.mark.parametrize("size", range(1, 12))
def test_text_cut_by_bytes_keeps_characters_whole(size):
    text = "aé€👩‍👩‍👧 Привет"
    pieces = list(texts(Script(text_bytes=size), text))
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= max(size, 4) for piece in pieces)


async def test_echo_answers_the_last_user_message_in_the_shape_of_openai(ask, autojump_clock):
    client = await ask("echo", "héllo 👋 wörld")
    assert b"content-type: text/event-stream; charset=utf-8\r\n" in client.got
    first, *middle, last, done = events(client.body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert done == b"[DONE]"
    assert contents(client.body) == ["héll", "o 👋 ", "wörl", "d"]
    assert {e["object"] for e in (first, *middle, last)} == {"chat.completion.chunk"}
    assert len({e["id"] for e in (first, *middle, last)}) == 1
    assert "héll".encode() in client.body


async def test_parts_of_text_are_echoed_too(ask, nursery, upstream, autojump_clock):
    parts = [{"type": "text", "text": "one "}, {"type": "image_url"}, {"type": "text", "text": "two"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "no"}]
    client = await ask("echo", messages=messages)
    assert "".join(contents(client.body)) == "one two"


async def test_an_empty_message_gets_an_empty_answer_that_ends_well(ask, autojump_clock):
    client = await ask("echo", "")
    assert [e["choices"][0]["finish_reason"] for e in events(client.body)[:-1]] == [None, "stop"]
    assert events(client.body)[-1] == b"[DONE]"


async def test_half_an_emoji_is_echoed_as_an_escape(ask, autojump_clock):
    client = await ask("echo", "a\ud83d")
    assert contents(client.body) == ["a\ud83d"]


async def test_usage_comes_in_an_event_without_choices_if_it_was_asked_for(ask, autojump_clock):
    asked = await ask("echo", "one two three", stream_options={"include_usage": True})
    usage = events(asked.body)[-2]
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert b"usage" not in (await ask("echo")).body


async def test_echo_ndjson_answers_records_at_the_path_of_openai(ask, autojump_clock):
    client = await ask("echo-ndjson")
    assert b"content-type: application/x-ndjson\r\n" in client.got
    *chunks, last = records(client.body)
    assert "".join(one["message"]["content"] for one in chunks) == "hello world"
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 3)
    assert last["prompt_eval_count"] == 2


async def test_every_model_answers_records_at_the_path_of_ollama(ask, autojump_clock):
    client = await ask("echo-c2", path="/api/chat")
    assert [one["message"]["content"] for one in records(client.body)] == ["token0 ", "token1 ", ""]


async def test_d_waits_before_each_chunk(ask, autojump_clock):
    client = await ask("echo-d50-c3")
    times = [at for at, data in client.reads if b"token" in data]
    assert times == pytest.approx([0.05, 0.1, 0.15])


async def test_f_waits_before_the_headers(ask, autojump_clock):
    client = await ask("echo-f2000")
    assert client.reads[0][0] == pytest.approx(2)


async def test_c_says_that_many_chunks(ask, autojump_clock):
    client = await ask("echo-c200")
    assert contents(client.body) == [f"token{n} " for n in range(200)]


async def test_b_sets_the_bytes_of_text_in_a_chunk(ask, autojump_clock):
    assert contents((await ask("echo-b5")).body) == ["hello", " worl", "d"]
    assert [len(one) for one in contents((await ask("echo-c3-b40")).body)] == [40, 40, 40]


async def test_w_says_that_many_words_without_a_line_break(ask, autojump_clock):
    client = await ask("echo-w5000-b1000")
    text = "".join(contents(client.body))
    assert len(text.split(" ")) == 5000
    assert "\n" not in text


@pytest.mark.parametrize("size", [1, 3, 7, 500])
async def test_s_cuts_the_body_into_writes_of_that_size_and_loses_nothing(ask, size, autojump_clock):
    client = await ask(f"echo-s{size}", "héllo 👋")
    whole = await ask("echo", "héllo 👋")
    assert "".join(contents(client.body)) == "".join(contents(whole.body)) == "héllo 👋"
    framed = client.got.partition(b"\r\n\r\n")[2]
    assert framed.startswith(b"%x\r\n" % size)


async def test_x_resets_the_connection_after_that_many_chunks(ask, upstream, autojump_clock):
    client = await ask("echo-x2", until=None)
    assert len(contents(client.body)) == 2
    assert DONE not in client.got
    assert (upstream.completed, upstream.broken_off, upstream.closed_early) == (0, 1, [])


async def test_x0_resets_the_connection_after_the_headers(ask, autojump_clock):
    client = await ask("echo-x0", until=None)
    assert client.got.startswith(b"HTTP/1.1 200 OK")
    assert client.body == b""


async def test_e_sends_an_error_and_ends(ask, autojump_clock):
    error = events((await ask("echo-e1")).body)[-1]["error"]
    assert (error["type"], error["code"]) == ("api_error", "scripted")
    assert records((await ask("echo-ndjson-e1")).body)[-1] == {"error": "the script says: an error"}


async def test_h_hangs_after_that_many_chunks(ask, upstream, autojump_clock):
    client = await ask("echo-h2", until=b"o wo")
    with trio.move_on_after(100_000) as patience:
        await client.read()
    assert patience.cancelled_caught
    assert upstream.open_streams == 1
    await client.leave()
    await upstream.wait_closed_early()
    assert upstream.open_streams == 0


async def test_m_sends_what_is_not_json_and_goes_on(ask, autojump_clock):
    found = events((await ask("echo-m1")).body)
    assert isinstance(found[2], bytes)
    assert found[-1] == b"[DONE]"


async def test_u_spoils_the_text_of_one_chunk(ask, autojump_clock):
    client = await ask("echo-u2")
    good, bad = client.body.split(b"\n\n")[1:3]
    assert good.decode()
    assert bad.decode("utf-8", "replace").count("�") == 2


async def test_t_ends_cleanly_but_too_soon(ask, autojump_clock):
    client = await ask("echo-t1")
    assert contents(client.body) == ["hell"]
    assert b"[DONE]" not in client.body
    assert b'"stop"' not in client.body


async def test_r_answers_that_status_in_the_shape_of_the_path(ask, autojump_clock):
    client = await ask("echo-r429", until=b"}}")
    assert client.got.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"retry-after: 1\r\n" in client.got
    assert b'"type":"rate_limit_error"' in client.got
    ollama = await ask("echo-r503", path="/api/chat", until=b"}")
    assert ollama.got.endswith(b'{"error":"the script says: status 503"}')


async def test_p_sends_a_comment_before_each_nth_chunk(ask, autojump_clock):
    body = (await ask("echo-c4-p2")).body
    kinds = ["comment" if part.startswith(b":") else "event" for part in body.split(b"\n\n") if part]
    assert kinds == ["event", "event", "comment", "event", "event", "comment", *["event"] * 3]


async def test_nodone_leaves_out_the_last_event(ask, autojump_clock):
    body = (await ask("echo-nodone")).body
    assert events(body)[-1]["choices"][0]["finish_reason"] == "stop"


async def test_crlf_ends_every_line_so(ask, autojump_clock):
    sse, lines = (await ask("echo-crlf")).body, (await ask("echo-ndjson-crlf")).body
    assert sse.count(b"\n") == sse.count(b"\r\n") > 0
    assert lines.count(b"\n") == lines.count(b"\r\n") > 0


async def test_a_fault_may_lie_right_behind_the_last_chunk_but_no_further(ask, autojump_clock):
    assert events((await ask("echo-c2-e2")).body)[-1]["error"]
    assert events((await ask("echo-c2-e3")).body)[-1] == b"[DONE]"
