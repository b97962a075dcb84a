"""What of a Messages client's request goes to Anthropic as it is, and what others are spared."""

from __future__ import annotations

import pytest

from tests.stack import memory_stack
from trio_router.demo.answers import json_answer

PROVIDERS = """
providers:
  claude: {dialect: anthropic, base_url: "http://upstream/v1", api_key: sk-ant}
  own: {dialect: anthropic, base_url: "http://upstream/v1", headers: {anthropic-version: "2025-01-01"}}
  strict: {dialect: anthropic, base_url: "http://upstream/v1", betas: [effort-2025-11-24, b-2]}
  none: {dialect: anthropic, base_url: "http://upstream/v1", betas: []}
  open: {base_url: "http://upstream/v1"}
routes:
  resumed: {targets: [{model: claude/opus}], midstream: replay}
"""
SAID = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [
    {"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
CHAT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"},
    "finish_reason": "stop"}]}  # fmt: skip
ASK = {"max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}
LINE = "x-anthropic-billing-header: cc_version=2.1.197.1c0; cc_entrypoint=cli; cch={};"


async def asked(model: str, headers=(), path: str = "/v1/messages", **body):
    """What the upstream saw."""
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda r: json_answer(CHAT if "chat" in r.path else SAID)
        response = await stack.client.post(path, json={"model": model, **ASK, **body}, headers=headers)
        assert response.status_code == 200, response.text
        return stack.upstream.requests[0]


class TestHeaders:
    async def test_reach_anthropic_unchanged(self, autojump_clock):
        given = {"anthropic-version": "2099-12-31", "anthropic-beta": "a-1,not-heard-of-2, c"}
        seen = await asked("claude/opus", given, path="/v1/messages?beta=true")
        assert {name: seen.headers[name] for name in given} == given
        assert seen.headers["x-api-key"] == "sk-ant"

    async def test_that_come_several_times_are_one_list(self, autojump_clock):
        seen = await asked("claude/opus", [("anthropic-beta", "a-1"), ("anthropic-beta", "b-2")])
        assert seen.headers["anthropic-beta"] == "a-1,b-2"

    async def test_have_a_version_even_if_the_client_sent_none(self, autojump_clock):
        assert (await asked("none/opus")).headers["anthropic-version"] == "2023-06-01"

    async def test_of_the_configuration_win(self, autojump_clock):
        seen = await asked("own/opus", {"anthropic-version": "2099-12-31"})
        assert seen.headers["anthropic-version"] == "2025-01-01"

    @pytest.mark.parametrize(
        ("model", "reaches"), [("strict/m", "b-2,effort-2025-11-24"), ("none/m", None)]
    )
    async def test_bring_only_the_betas_that_the_provider_takes(self, model, reaches, autojump_clock):
        given = {
            "anthropic-beta": "b-2, unknown-1,effort-2025-11-24",
            "anthropic-version": "2023-06-01",
        }
        seen = await asked(model, given)
        assert seen.headers.get("anthropic-beta") == reaches
        assert seen.headers["anthropic-version"] == "2023-06-01"

    async def test_of_the_api_do_not_reach_other_providers(self, autojump_clock):
        seen = await asked("open/m", {"anthropic-beta": "a-1", "anthropic-version": "2023-06-01"})
        assert not [name for name in seen.headers if name.startswith("anthropic")]


class TestTheBillingLine:
    @pytest.mark.parametrize(
        "system",
        [
            lambda line: [{"type": "text", "text": line}, {"type": "text", "text": "Be brief."}],
            lambda line: [{"type": "text", "text": f"{line}\nBe brief."}],
            lambda line: [{"type": "text", "text": "Be brief."}, {"type": "text", "text": line}],
            lambda line: f"{line}\n\nBe brief.",
        ],
    )
    async def test_changes_nothing_for_other_providers(self, system, autojump_clock):
        first = await asked("open/m", system=system(LINE.format("36ee5")))
        second = await asked("open/m", system=system(LINE.format("0aaa9")))
        assert first.body == second.body
        content = first.json["messages"][0]["content"]
        assert content in ("Be brief.", [{"type": "text", "text": "Be brief."}])

    async def test_alone_is_no_system_prompt(self, autojump_clock):
        seen = await asked("open/m", system=[{"type": "text", "text": LINE.format("36ee5")}])
        assert [message["role"] for message in seen.json["messages"]] == ["user"]

    async def test_that_somebody_writes_of_stays(self, autojump_clock):
        text = f"Never print {LINE.format('36ee5')}"
        seen = await asked("open/m", system=text)
        assert seen.json["messages"][0]["content"] == text

    @pytest.mark.parametrize("model", ["claude/opus", "resumed"])
    async def test_reaches_anthropic_untouched(self, model, autojump_clock):
        blocks = [{"type": "text", "text": LINE.format("36ee5")}, {"type": "text", "text": "Be brief."}]
        assert (await asked(model, system=blocks)).json["system"] == blocks


async def test_a_route_that_replays_asks_anthropic_for_thinking_too(autojump_clock):
    thinking = {"type": "enabled", "budget_tokens": 2048}
    blocks = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    seen = await asked("resumed", thinking=thinking, max_tokens=9999, system=blocks)
    assert seen.json["thinking"] == thinking
    assert seen.json["system"] == blocks


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_translated_answer_tells_the_model_by_the_name_that_was_asked_for(
    is_stream, autojump_clock
):
    """Claude Code sends back no thinking that another model has signed."""
    async with memory_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({**CHAT, "model": "another"})
        body = {"model": "open/m", "stream": is_stream, **ASK}
        response = await stack.client.post("/v1/messages", json=body)
    assert '"model":"open/m"' in response.text
    assert "another" not in response.text
