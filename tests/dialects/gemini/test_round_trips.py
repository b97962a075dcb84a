"""Generated conversations, built for Gemini and read back naively: nothing they say is lost."""

from __future__ import annotations

import base64
import itertools
import json

from hypothesis import given, strategies as st

from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold
from trio_router.dialects.gemini import GeminiDialect

GEMINI = GeminiDialect()
WHO = AnswerIdentity("chatcmpl-7", 1700000000, "gemini/m")
WORDS = st.text(min_size=1, max_size=8)
NAMES = st.text("abcXYZ09_-", min_size=3, max_size=6)
BASE64 = st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode())
SIGNATURES = st.none() | BASE64
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)
TEXTS = st.builds(lambda t: {"type": "text", "text": t}, WORDS)
IMAGES = (st.just("https://x/y.png") | BASE64.map("data:image/png;base64,{}".format)).map(
    lambda url: {"type": "image_url", "image_url": {"url": url}}
)
CONTENTS = WORDS | st.lists(TEXTS | IMAGES, min_size=1, max_size=3)
RESULTS = WORDS.filter(lambda text: not text.startswith("{")) | OBJECTS.map(json.dumps)


@st.composite
def exchanges(draw):
    """A user's words, an assistant's, and the results of its calls."""
    ids = draw(st.lists(NAMES, max_size=3, unique=True))
    said = {"role": "assistant", "content": draw(WORDS)}
    if signature := draw(SIGNATURES):
        said["extra_content"] = {"google": {"thought_signature": signature}}
    calls = []
    for id_ in ids:
        function = {"name": draw(NAMES), "arguments": json.dumps(draw(OBJECTS))}
        calls.append({"id": id_, "type": "function", "function": function})
        if signature := draw(SIGNATURES):
            calls[-1]["extra_content"] = {"google": {"thought_signature": signature}}
    if calls:
        said["tool_calls"] = calls
    results = [
        {"role": "tool", "tool_call_id": id_, "content": draw(RESULTS)}
        for id_ in draw(st.permutations(ids))
    ]
    return [{"role": "user", "content": draw(CONTENTS)}, said, *results]


CONVERSATIONS = st.builds(
    lambda system, turns, last: [*system, *itertools.chain(*turns), {"role": "user", "content": last}],
    st.lists(WORDS.map(lambda text: {"role": "system", "content": text}), max_size=2),
    st.lists(exchanges(), max_size=3),
    CONTENTS,
)


def signature_of(item):
    return item.get("extra_content", {}).get("google", {}).get("thought_signature")


def meaning(messages) -> list:
    """What the conversation says, as pairs of role and thing."""
    told = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "tool":
            told.append(("user", "result", message["tool_call_id"], content))
            continue
        for part in [{"text": content}] if isinstance(content, str) else content:
            if "text" in part:
                told.append((role, "text", part["text"], signature_of(message)))
            else:
                told.append((role, "image", part["image_url"]["url"]))
        for call in message.get("tool_calls", ()):
            function = call["function"]
            arguments = json.loads(function["arguments"])
            told.append((role, "call", call["id"], function["name"], arguments, signature_of(call)))
    return told


def read_back(body) -> list:
    told = [
        ("system", "text", p["text"], None)
        for p in body.get("systemInstruction", {"parts": []})["parts"]
    ]
    names = {}
    for turn in body["contents"]:
        role = {"user": "user", "model": "assistant"}[turn["role"]]
        for part in turn["parts"]:
            signature = part.get("thoughtSignature")
            if "text" in part:
                told.append((role, "text", part["text"], signature))
            elif data := part.get("inlineData"):
                told.append((role, "image", f"data:{data['mimeType']};base64,{data['data']}"))
            elif data := part.get("fileData"):
                told.append((role, "image", data["fileUri"]))
            elif call := part.get("functionCall"):
                names[call["id"]] = call["name"]
                told.append((role, "call", call["id"], call["name"], call["args"], signature))
            else:
                response = part["functionResponse"]
                assert response["name"] == names[response["id"]]
                said = response["response"]
                told.append((role, "result", response["id"], said))
    return told


def same_result(said: str, response: dict) -> bool:
    return response == {"output": said} or response == json.loads(said)


@given(CONVERSATIONS)
def test_a_conversation_says_the_same_to_gemini(messages):
    request = {"model": "gemini-2.5-flash", "messages": messages}
    got = read_back(json.loads(GEMINI.build_request(request, ask_usage=True).body))
    for told, said in zip(got, meaning(messages), strict=True):
        if said[1] == "result":
            assert told[:3] == said[:3]
            assert same_result(said[3], told[3])
        else:
            assert told == said


@given(CONVERSATIONS)
def test_roles_take_turns_and_results_follow_their_calls(messages):
    request = {"model": "gemini-2.5-flash", "messages": messages}
    contents = json.loads(GEMINI.build_request(request, ask_usage=True).body)["contents"]
    roles = [turn["role"] for turn in contents]
    assert all(a != b for a, b in itertools.pairwise(roles))
    assert all(turn["parts"] for turn in contents)
    for before, turn in itertools.pairwise(contents):
        answered = ["functionResponse" in part for part in turn["parts"]]
        asked = sum("functionCall" in part for part in before["parts"])
        assert answered == [True] * asked + [False] * (len(answered) - asked)


ANSWERS = st.lists(
    st.builds(lambda t: {"text": t}, WORDS)
    | st.builds(
        lambda name, args, sig: {
            "functionCall": {"name": name, "args": args},
            **({"thoughtSignature": sig} if sig else {}),
        },
        NAMES,
        OBJECTS,
        SIGNATURES,
    )
    | BASE64.map(lambda data: {"inlineData": {"mimeType": "image/png", "data": data}}),
    min_size=1,
    max_size=5,
)


@given(ANSWERS)
def test_an_answer_goes_back_as_it_came(parts):
    """Gemini -> OpenAI -> Gemini, as a client sends it with its next request."""
    record = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    said = GEMINI.completion(record, WHO)["choices"][0]["message"]
    request = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "?"}, said]}
    turn = json.loads(GEMINI.build_request(request, ask_usage=True).body)["contents"][1]["parts"]
    assert "".join(p.get("text", "") for p in turn) == "".join(p.get("text", "") for p in parts)
    assert [p for p in turn if "inlineData" in p] == [p for p in parts if "inlineData" in p]
    calls = [p for p in turn if "functionCall" in p]
    assert len({p["functionCall"].pop("id") for p in calls}) == len(calls)
    assert calls == [p for p in parts if "functionCall" in p]


@given(ANSWERS, st.lists(st.integers(0, 5), max_size=4))
def test_an_answer_in_pieces_folds_to_the_whole_one(parts, places):
    cuts = [0, *sorted(min(place, len(parts)) for place in places), len(parts)]
    pieces = [parts[a:b] for a, b in itertools.pairwise(cuts)]
    decoder, fold = GEMINI.decoder(WHO), Fold(WHO)
    for piece in [*pieces, None]:
        candidate = {"content": {"parts": piece}} if piece is not None else {"finishReason": "STOP"}
        for chunk in decoder.decode({"candidates": [candidate]}):
            fold.add(chunk)
    for chunk in decoder.end(is_whole=False):
        fold.add(chunk)
    whole = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    assert fold.completion() == GEMINI.completion(whole, WHO)
