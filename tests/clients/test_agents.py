"""opencode, aider and llm, unmodified, through a running router to upstreams of each dialect."""

from __future__ import annotations

import base64
import json

import pytest

from tests.clients.agents import agents, program
from tests.clients.speech import DIALECTS, PICTURE, Break, Call, Fail, Stay, has_tools, script

pytestmark = pytest.mark.slow

ALL_DIALECTS = pytest.mark.parametrize("dialect", DIALECTS)
TEXT = "Fine: 世界 👋🏽."
TURNS = 50
SAD = "the upstream broke in the middle"
PACKAGES = [
    "@ai-sdk/openai-compatible",
    pytest.param("@ai-sdk/openai", marks=pytest.mark.client(api="Responses")),
]


@pytest.mark.client("npm:opencode-ai", name="opencode", api="Chat")
class TestOpencode:
    @pytest.fixture(autouse=True)
    def _is_installed(self):
        program("opencode")

    async def run(self, there, dialect, package="@ai-sdk/openai-compatible"):
        words, env = self.words(there, dialect, package)
        return await there.run(*words, **env)

    def words(self, there, dialect, package="@ai-sdk/openai-compatible"):
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
        return [program("opencode"), "run", "Please write the notes."], quiet

    @pytest.mark.client(shows="streaming, text, tools")
    @pytest.mark.parametrize("package", PACKAGES)
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

    @pytest.mark.client(shows="errors")
    @ALL_DIALECTS
    async def test_an_error_is_told(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([Fail(400)])
            done = await self.run(there, dialect)
        assert b"the upstream has no more of it" in done.stdout + done.stderr

    @pytest.mark.client(shows="errors in the stream")
    @ALL_DIALECTS
    async def test_an_error_in_the_stream_is_told(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([Break()])
            done = await self.run(there, dialect)
        assert SAD.encode() in done.stdout + done.stderr

    @pytest.mark.client(shows="leaving")
    @ALL_DIALECTS
    async def test_leaving_in_the_middle_releases_the_upstream(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([Stay()], otherwise=Stay())
            words, env = self.words(there, dialect)
            await there.leave(*words, **env)

    @pytest.mark.client(shows="long conversations")
    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    async def test_a_conversation_of_many_turns_stays_whole(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            file = there.work / "notes.txt"
            file.write_text("a line\n")
            reads = [Call("read", {"filePath": str(file), "offset": n}) for n in range(1, TURNS)]
            there.upstream.script = script([*reads, TEXT])
            done = await self.run(there, dialect)
            count = len([r for r in there.upstream.requests if has_tools(r.json)])
        assert (done.returncode, count) == (0, TURNS)
        assert TEXT in done.stdout.decode()


@pytest.mark.client("program:aider", api="Chat")
class TestAider:
    @pytest.fixture(autouse=True)
    def _is_installed(self):
        program("aider")

    def at(self, tmp_path, dialect):
        # LiteLLM takes `responses/` in a name for an API.
        return agents(tmp_path, routes=f"routes: {{fast: {{targets: [{{model: {dialect}/m}}]}}}}")

    def words(self, there):
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
        return [program("aider"), *flags, *asked], env

    @pytest.mark.client(shows="edits a file, streaming, text")
    @ALL_DIALECTS
    async def test_it_edits_a_file(self, tmp_path, dialect):
        said = "notes.txt\n```\nGrüße, 世界\n```\n"
        async with self.at(tmp_path, dialect) as there:
            there.upstream.script = script([said], otherwise=said)
            words, env = self.words(there)
            done = await there.run(*words, **env)
            assert done.returncode == 0, done.stderr.decode()
            assert (there.work / "notes.txt").read_text() == "Grüße, 世界\n", done.stdout.decode()

    @pytest.mark.client(shows="errors")
    @ALL_DIALECTS
    async def test_an_error_is_told(self, tmp_path, dialect):
        async with self.at(tmp_path, dialect) as there:
            there.upstream.script = script([], otherwise=Fail(400))
            words, env = self.words(there)
            done = await there.run(*words, **env)
            assert not (there.work / "notes.txt").read_text()
        assert b"the upstream has no more of it" in done.stdout + done.stderr

    @pytest.mark.client(shows="leaving")
    @ALL_DIALECTS
    async def test_leaving_in_the_middle_releases_the_upstream(self, tmp_path, dialect):
        async with self.at(tmp_path, dialect) as there:
            there.upstream.script = script([], otherwise=Stay())
            words, env = self.words(there)
            await there.leave(*words, **env)


@pytest.mark.client("pypi:llm", api="Chat")
class TestLlm:
    @pytest.fixture(autouse=True)
    def _is_installed(self):
        program("llm")

    async def run(self, there, dialect, *flags):
        words, env = self.words(there, dialect, *flags)
        return await there.run(*words, **env)

    def words(self, there, dialect, *flags):
        folder = there.home / "llm"
        folder.mkdir()
        model = {"model_id": "there", "model_name": f"{dialect}/m", "api_base": f"{there.url}/v1"}
        can = dict.fromkeys(("vision", "supports_schema", "supports_tools"), True)
        model |= {"api_key_name": "r", **can}
        (folder / "extra-openai-models.yaml").write_text(json.dumps([model]))
        (folder / "keys.json").write_text(json.dumps({"r": "sk-x"}))
        return [program("llm"), "-m", "there", *flags, "Hello"], {"LLM_USER_PATH": str(folder)}

    @pytest.mark.client(shows="streaming, text")
    @pytest.mark.parametrize("flags", [[], ["--no-stream"]])
    @ALL_DIALECTS
    async def test_it_says_a_text(self, tmp_path, dialect, flags):
        async with agents(tmp_path) as there:
            there.upstream.script = script([TEXT], otherwise=TEXT)
            done = await self.run(there, dialect, *flags)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == TEXT

    @pytest.mark.client(shows="tools")
    @ALL_DIALECTS
    async def test_it_calls_a_function(self, tmp_path, dialect):
        function = 'def double(text: str) -> str:\n    "Doubles"\n    return text * 2\n'
        async with agents(tmp_path) as there:
            there.upstream.script = script([Call("double", {"text": "世界 "}), TEXT])
            done = await self.run(there, dialect, "--functions", function)
            last = there.upstream.requests[-1].json
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == TEXT
        assert "世界 世界 " in json.dumps(last, ensure_ascii=False)

    @pytest.mark.client(shows="images")
    @ALL_DIALECTS
    async def test_a_picture_reaches_the_upstream(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([TEXT], otherwise=TEXT)
            (there.work / "p.png").write_bytes(base64.b64decode(PICTURE))
            done = await self.run(there, dialect, "-a", "p.png")
            assert done.returncode == 0, done.stderr.decode()
            assert PICTURE in there.upstream.requests[-1].body.decode()

    @pytest.mark.client(shows="structured output")
    @ALL_DIALECTS
    async def test_an_answer_with_a_schema(self, tmp_path, dialect):
        said = '{"name": "Größe"}'
        async with agents(tmp_path) as there:
            there.upstream.script = script([], otherwise=said)
            done = await self.run(there, dialect, "--schema", "name str")
            asked = there.upstream.requests[-1].body
        assert json.loads(done.stdout) == json.loads(said)
        assert b'"name"' in asked

    @pytest.mark.client(shows="errors")
    @ALL_DIALECTS
    async def test_an_error_is_told(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([], otherwise=Fail(429))
            done = await self.run(there, dialect)
        assert done.returncode != 0
        assert b"the upstream has no more of it" in done.stderr

    @pytest.mark.client(shows="errors in the stream")
    @ALL_DIALECTS
    async def test_an_error_in_the_stream_is_told(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([], otherwise=Break())
            done = await self.run(there, dialect)
        assert done.returncode != 0
        assert SAD.encode() in done.stderr

    @pytest.mark.client(shows="leaving")
    @ALL_DIALECTS
    async def test_leaving_in_the_middle_releases_the_upstream(self, tmp_path, dialect):
        async with agents(tmp_path) as there:
            there.upstream.script = script([], otherwise=Stay())
            words, env = self.words(there, dialect)
            await there.leave(*words, **env)
