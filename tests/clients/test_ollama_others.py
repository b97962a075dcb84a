"""Other clients of Ollama's API, as they come: langchain, litellm, llm, Node's package, editors."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from tests.clients.command import running_router
from tests.clients.ollama_answers import DIALECTS, SAID, THOUGHT, VECTOR, script
from tests.clients.weather import CALLS, QUESTION, TEXT, TOOL

pytestmark = pytest.mark.slow
EACH = pytest.mark.parametrize("dialect", DIALECTS)
WITH_VECTORS = pytest.mark.parametrize("dialect", ["ollama", "openai"])
NODE = Path(__file__).parent / "node"
HERE = Path(__file__).parent
ROUTES = """
routes:
  fast: {targets: [{model: openai/m}]}
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    with running_router(tmp_path_factory.mktemp("router"), script, ROUTES) as running:
        yield running


# -- langchain

LANGCHAIN = pytest.mark.client("pypi:langchain-ollama", api="Ollama")


@pytest.fixture
def langchain(router):
    """Makes one of langchain's clients, and closes at the end what it leaves open."""
    package = pytest.importorskip("langchain_ollama")
    made = []

    def make(model, kind="ChatOllama", **fields):
        made.append(getattr(package, kind)(model=model, base_url=router.url, **fields))
        return made[-1]

    yield make
    for one in made:
        one._client.close()


@LANGCHAIN
@pytest.mark.client(shows="tools")
@EACH
def test_langchain_gathers_text_and_parallel_tool_calls(dialect, langchain):
    model = langchain(f"{dialect}/weather")
    whole = None
    for chunk in model.bind_tools([TOOL]).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == TEXT
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == CALLS
    assert whole.usage_metadata["output_tokens"] == 7
    assert whole.response_metadata["done_reason"] == "stop"


@LANGCHAIN
@pytest.mark.client(shows="tools")
@EACH
def test_langchain_sends_results_back(dialect, router, langchain):
    from langchain_core.messages import HumanMessage, ToolMessage

    model = langchain(f"{dialect}/weather").bind_tools([TOOL])
    first = model.invoke([HumanMessage(QUESTION)])
    results = [ToolMessage(f"result of {c['id']}", tool_call_id=c["id"]) for c in first.tool_calls]
    last = model.invoke([HumanMessage(QUESTION), first, *results])
    assert last.text == SAID
    told = str(router.asked[-1].json["messages"])
    places = [told.index(f"result of {call['id']}") for call in first.tool_calls]
    assert places == sorted(places)


@LANGCHAIN
@pytest.mark.client(shows="thinking")
@EACH
def test_langchain_tells_thinking_apart(dialect, langchain):
    model = langchain(f"{dialect}/thinking", reasoning=True)
    answer = model.invoke(QUESTION)
    assert answer.content == SAID
    assert answer.additional_kwargs["reasoning_content"] == THOUGHT


@LANGCHAIN
@pytest.mark.client(shows="models")
def test_langchain_finds_its_model_among_the_listed(langchain):
    model = langchain("fast", validate_model_on_init=True)
    assert model.invoke(QUESTION).content == SAID


@LANGCHAIN
@pytest.mark.client(shows="embeddings")
@WITH_VECTORS
def test_langchain_embeds(dialect, langchain):
    model = langchain(f"{dialect}/m", "OllamaEmbeddings")
    assert model.embed_documents(["a", "b"]) == [VECTOR, VECTOR]


@LANGCHAIN
@pytest.mark.client(shows="errors")
@EACH
def test_langchain_raises_what_the_upstream_says(dialect, langchain):
    with pytest.raises(Exception, match="the model is busy"):
        langchain(f"{dialect}/full").invoke(QUESTION)


# -- litellm, in a process of its own: its import takes seconds and warns


@pytest.mark.client("pypi:litellm", api="Ollama", shows="text")
def test_litellm_asks_all_dialects(router):
    pytest.importorskip("litellm")
    told = router.program(
        *(sys.executable, "-W", "ignore", HERE / "litellm_asks.py", router.url, json.dumps(TOOL)),
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        NO_PROXY="127.0.0.1",
    )
    found = json.loads(told.splitlines()[-1])
    for dialect in DIALECTS:
        own = found[dialect]
        assert own["whole"] == own["streamed"] == SAID
        assert own["tokens"] == 7
        assert own["text"] == TEXT
        assert [(name, json.loads(arguments)) for name, arguments in own["calls"]] == CALLS
        assert "the model is busy" in own["error"]
    assert found["vectors"] == [VECTOR, VECTOR]


# -- llm


@pytest.mark.client("pypi:llm-ollama", name="llm-ollama", api="Ollama", shows="text")
def test_llm_lists_the_models_and_asks_one(router, tmp_path):
    pytest.importorskip("llm_ollama")
    environ = {"OLLAMA_HOST": router.url, "LLM_USER_PATH": str(tmp_path)}
    llm = Path(sys.executable).with_name("llm")
    assert "Ollama: ollama/fast" in router.program(llm, "models", **environ)
    assert router.program(llm, "-m", "ollama/fast", QUESTION, **environ).strip() == SAID
    words = ("-m", "ollama/fast", "--no-stream", QUESTION)
    assert router.program(llm, *words, **environ).strip() == SAID


# -- Node


@pytest.mark.client("npm:ollama", name="ollama (Node)", api="Ollama", shows="tools")
@EACH
def test_nodes_package_gathers_text_and_tool_calls(dialect, router):
    if not (NODE / "node_modules" / "ollama").is_dir() or shutil.which("node") is None:
        pytest.skip("`npm install --prefix tests/clients/node` has not been run")
    words = ["node", NODE / "ollama.mjs", router.url, dialect, json.dumps(TOOL)]
    told = json.loads(router.program(*words))
    assert told["text"] == TEXT
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in told["calls"]] == [
        *map(tuple, CALLS)
    ]
    assert (told["thinking"], told["whole"]) == (THOUGHT, SAID)
    assert told["busy"] == "the model is busy"
    assert "out of memory" in told["broken"]
    assert "fast" in told["models"]
    router.wait_released()  # of the stream that it aborted


# -- editors: what they ask, in their order


@pytest.fixture
def editor(router):
    with httpx.Client(base_url=router.url, trust_env=False) as client:
        yield client


def test_vs_code_finds_a_model_and_chats(editor):
    """Copilot's own provider: version, list, what each can do, then OpenAI's chat."""
    version = editor.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
    models = editor.get("/api/tags").json()["models"]
    assert "fast" in [model["model"] for model in models]
    shown = editor.post("/api/show", json={"model": "fast"}).json()
    info = shown["model_info"]
    assert info.get("general.basename", "fast")
    architecture = info["general.architecture"]
    assert isinstance(info.get(f"{architecture}.context_length", 4096), int)
    assert "tools" in shown["capabilities"]
    body = {"model": "fast", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    answer = editor.post("/v1/chat/completions", json=body)
    assert answer.text.rstrip().endswith("[DONE]")


def test_jetbrains_finds_a_model_and_chats(editor):
    """Its assistant looks whether the server is there, lists the models, and chats."""
    assert editor.get("/api/version").status_code == 200
    models = [model["name"] for model in editor.get("/api/tags").json()["models"]]
    assert "fast" in models
    body = {"model": "fast", "messages": [{"role": "user", "content": QUESTION}]}
    body |= {"options": {"temperature": 0.2, "num_ctx": 8192}, "keep_alive": "10m"}
    with editor.stream("POST", "/api/chat", json=body) as answer:
        records = [json.loads(line) for line in answer.iter_lines()]
    assert "".join(record["message"]["content"] for record in records) == SAID
    assert records[-1]["done"]


def test_an_editor_loads_its_model_first(editor):
    for keep_alive in ("30m", 0):
        told = editor.post("/api/generate", json={"model": "fast", "keep_alive": keep_alive}).json()
        assert told["done"]
        assert told["done_reason"] == ("load" if keep_alive else "unload")
