"""opencode, aider and llm, unmodified, through a running router to upstreams of each dialect."""

from __future__ import annotations

import json

import pytest

from tests.clients.agents import agents, program
from tests.clients.speech import DIALECTS, Call, Fail, script

pytestmark = pytest.mark.slow

ALL_DIALECTS = pytest.mark.parametrize("dialect", DIALECTS)
TEXT = "Fine: 世界 👋🏽."


class TestOpencode:
    @pytest.fixture(autouse=True)
    def _is_installed(self):
        program("opencode")

    async def run(self, there, dialect, package="@ai-sdk/openai-compatible"):
        options = {"baseURL": f"{there.url}/v1", "apiKey": "sk-x"}
        provider = {"npm": package, "options": options, "models": {f"{dialect}/m": {"name": "m"}}}
        config = {
            "provider": {"router": provider},
            "model": f"router/{dialect}/m",
            "small_model": f"router/{dialect}/m",
            "autoupdate": False,
            "share": "disabled",
            "permission": {"edit": "allow", "bash": "allow"},
        }
        (there.work / "opencode.json").write_text(json.dumps(config))
        quiet = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
        return await there.run(program("opencode"), "run", "Please write the notes.", **quiet)

    @pytest.mark.parametrize("package", ["@ai-sdk/openai-compatible", "@ai-sdk/openai"])
    @ALL_DIALECTS
    async def test_it_edits_a_file_and_says_a_text(self, tmp_path, dialect, package):
        async with agents(tmp_path) as there:
            notes = there.work / "notes.txt"
            write = Call("write", {"filePath": str(notes), "content": "Grüße, 世界\n"})
            there.upstream.script = script([write, TEXT])
            done = await self.run(there, dialect, package)
            assert notes.is_file(), done.stderr.decode()
            assert notes.read_text() == "Grüße, 世界\n"
        assert done.returncode == 0
        assert TEXT in done.stdout.decode()

    async def test_an_error_is_told(self, tmp_path):
        async with agents(tmp_path) as there:
            there.upstream.script = script([Fail(400)])
            done = await self.run(there, "openai")
        assert b"the upstream has no more of it" in done.stdout + done.stderr


class TestAider:
    @pytest.fixture(autouse=True)
    def _is_installed(self):
        program("aider")

    @ALL_DIALECTS
    async def test_it_edits_a_file(self, tmp_path, dialect):
        said = "notes.txt\n```\nGrüße, 世界\n```\n"
        # LiteLLM takes `responses/` in a name for an API.
        fast = f"routes: {{fast: {{targets: [{{model: {dialect}/m}}]}}}}"
        async with agents(tmp_path, routes=fast) as there:
            there.upstream.script = script([said], otherwise=said)
            flags = [
                "--yes-always",
                "--no-git",
                "--no-check-update",
                "--analytics-disable",
                "--no-show-model-warnings",
                "--no-pretty",
                "--edit-format=whole",
                "--model=openai/fast",
            ]
            asked = ["--message", "Please write the notes.", "notes.txt"]
            env = {"OPENAI_API_BASE": f"{there.url}/v1", "OPENAI_API_KEY": "sk-x"}
            done = await there.run(program("aider"), *flags, *asked, **env)
            assert done.returncode == 0, done.stderr.decode()
            assert (there.work / "notes.txt").read_text() == "Grüße, 世界\n", done.stdout.decode()


class TestLlm:
    @pytest.fixture(autouse=True)
    def _is_installed(self):
        program("llm")

    async def run(self, there, dialect, *flags):
        folder = there.home / "llm"
        folder.mkdir()
        model = {"model_id": "there", "model_name": f"{dialect}/m", "api_base": f"{there.url}/v1"}
        (folder / "extra-openai-models.yaml").write_text(json.dumps([model | {"api_key_name": "r"}]))
        (folder / "keys.json").write_text(json.dumps({"r": "sk-x"}))
        asked = [program("llm"), "-m", "there", *flags, "Hello"]
        return await there.run(*asked, LLM_USER_PATH=str(folder))

    @pytest.mark.parametrize("flags", [[], ["--no-stream"]])
    @ALL_DIALECTS
    async def test_it_says_a_text(self, tmp_path, dialect, flags):
        async with agents(tmp_path) as there:
            there.upstream.script = script([TEXT], otherwise=TEXT)
            done = await self.run(there, dialect, *flags)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == TEXT

    async def test_an_error_is_told(self, tmp_path):
        async with agents(tmp_path) as there:
            there.upstream.script = lambda _: script([Fail(429)])(_tools(_))
            done = await self.run(there, "openai")
        assert done.returncode != 0
        assert b"the upstream has no more of it" in done.stderr


def _tools(request):
    """A request as if it had tools: what the script says first."""
    request.json["tools"] = [{}]
    return request
