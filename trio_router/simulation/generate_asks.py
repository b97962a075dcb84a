"""The requests of a world: what is asked, how it is sent and read, and what providers do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.simulation.plan import Ask, Fault, Leave, Meaning, Style, Take, ToolCall

if TYPE_CHECKING:
    from trio_router.simulation.chance import Chance
    from trio_router.simulation.plan import Provider

# Texts are cut from this: all of Unicode, what JSON escapes, what is taken for line ends.
_WORDS = (
    "The sea is wide. ",
    "Ünïcödé ",
    "日本語のテキスト",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "a\u2028b\u2029c\u0085d",
    "\x0b\x0c\x1c\x1e",
    'quote " back \\ slash / ',
    "line\nline\r\nline\ttab ",
    "data: [DONE]\n\n",
    '{"error": {"message": "not one"}}',
    "e\u0301\u202e\u200f\ufeff",
    "𝒜𝓁𝑔ℴ\U0010ffff",
    "\x00\x01\x7f",
    "\ufffd\ufffd torn \ufffd",
)
_LONG = "".join(_WORDS[:4]) * 40  # about 2,000 characters
_FAULTS_BEFORE = ("status", "status", "status", "close", "reset", "silence", "redirect", "garbage")
_FAULTS_INSTEAD = ("html", "empty", "usage_only")
_FAULTS_WITHIN = (
    "cut", "cut", "fin", "fin", "broken", "broken", "stall", "comments", "trickle", "error_event",
    "bad_json", "bad_shape", "bad_framing", "too_large", "no_finish", "no_finish", "early_done",
)  # fmt: skip
_STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 429, 500, 502, 503, 529)
_NONSENSE = (
    "bad_json", "no_model", "wrong_type", "too_large", "garbage", "large_head", "path", "method",
    "unknown_model",
)  # fmt: skip


class AskMaker:
    """Makes requests for one world."""

    def __init__(
        self, chance: Chance, config: dict[str, Any], providers: list[Provider], trouble: float
    ) -> None:
        self.chance = chance
        self.dialects = {p.name: p.dialect for p in providers}
        self.routes: dict[str, Any] = config["routes"]
        self.has_keys = "auth" in config
        self.trouble = trouble
        self.is_slow = chance.odds(0.5)
        self.leaving = chance.pick((0.0, 0.1, 0.2, 0.5))
        self.reading = chance.pick((0.0, 0.1, 0.3))

    def make(self, number: int) -> Ask:
        chance = self.chance
        if chance.odds(0.04):
            api = chance.pick(("models", "health", "ready", "metrics", "dashboard"))
            return Ask(number, api, "", auth="admin" if api == "dashboard" else "good")
        ask = Ask(number, self._api(), "", is_stream=chance.odds(0.7))
        self._choose_model(ask)
        if ask.api == "embeddings":
            ask.is_stream = False
        ask.with_usage = chance.odds(0.5)
        ask.prompt = self._text() if chance.odds(0.3) else "hello"
        if ask.api in ("chat", "messages", "responses") and chance.odds(0.2):
            ask.extra = {"tools": [_tool(ask.api)]}
        if ask.api == "chat" and self._is_of_openai(ask) and chance.odds(0.25):
            ask.extra["n"] = 2
        if self.has_keys:
            ask.auth = chance.pick_by(((20, "good"), (1, "bad"), (1, "none"), (2, "header")))
        if chance.odds(0.03):
            ask.nonsense = chance.pick(_NONSENSE)
            if ask.nonsense == "unknown_model":
                ask.model = "nobody/knows"
        self._send(ask)
        self._read(ask)
        self._take(ask)
        return ask

    def _api(self) -> str:
        weighted = (
            (8, "chat"), (3, "messages"), (3, "responses"), (1, "completions"), (1, "embeddings"),
        )  # fmt: skip
        return self.chance.pick_by(weighted)

    def _choose_model(self, ask: Ask) -> None:
        chance = self.chance
        names = list(self.dialects)
        if ask.api == "embeddings":
            names = [name for name in names if self.dialects[name] != "anthropic"] or names
        if self.routes and ask.api != "embeddings" and chance.odds(0.5):
            ask.model = chance.pick(list(self.routes))
        else:
            ask.model = f"{chance.pick(names)}/m"

    def _is_of_openai(self, ask: Ask) -> bool:
        return self.dialects.get(ask.model.partition("/")[0]) in ("openai", "azure")

    def _send(self, ask: Ask) -> None:
        chance = self.chance
        if chance.odds(0.1):
            ask.pieces = chance.whole(2, 5)
            ask.piece_gap = chance.pick((0.0, 0.01, 1.0, 65.0))
        if chance.odds(0.1):
            ask.framing = chance.pick(("chunked", "expect"))

    def _read(self, ask: Ask) -> None:
        chance = self.chance
        if chance.odds(self.leaving):
            kind = chance.pick(("close", "close", "reset", "half"))
            if chance.odds(0.5):
                ask.leave = Leave(kind, after_bytes=chance.pick((0, 1, 200, chance.whole(0, 3000))))
            else:
                ask.leave = Leave(kind, after=chance.pick((0.0, 0.01, 0.5, 4.0)) * chance.random())
        if chance.odds(self.reading):
            ask.read_most = chance.pick_by(((0.2, 1), (1, 60), (3, 1000), (3, 65536)))
            ask.read_gap = chance.pick((0.0, 0.001, 0.05)) if ask.read_most == 1000 else 0.0
            if chance.odds(0.5):
                ask.stall_at = chance.whole(0, 600)
                ask.stall = chance.pick((0.2, 3.0, 100.0))

    # -- what providers do

    def _take(self, ask: Ask) -> None:
        chance = self.chance
        route = self.routes.get(ask.model)
        names = [ask.model.partition("/")[0]] if route is None else _targets(route)
        shared = self._answer(ask)
        is_shared = route is not None and chance.odds(0.7)
        ask.takes = {
            name: tuple(
                self._one(ask, name, shared if is_shared else self._answer(ask))
                for _ in range(1 if route is None else chance.whole(1, 3))
            )
            for name in names
            if name in self.dialects
        }

    def _one(self, ask: Ask, name: str, answer: Meaning) -> Take:
        chance = self.chance
        fault = self._fault(ask) if chance.odds(self.trouble) else None
        size = max(len(answer.text), len(answer.thoughts))
        return Take(answer, self._style(size, self.dialects[name]), fault)

    def _answer(self, ask: Ask) -> Meaning:
        chance = self.chance
        text = f"ans-{ask.id}-{self._text()}" if chance.odds(0.9) else ""
        thoughts = f"thought-{ask.id}-{self._text()}" if chance.odds(0.2) else ""
        calls: tuple[ToolCall, ...] = ()
        finish = chance.pick(("stop", "stop", "stop", "stop", "length"))
        if ask.api not in ("completions", "embeddings") and chance.odds(0.2):
            calls = tuple(self._call(ask, place) for place in range(chance.whole(1, 3)))
            finish = "tool_calls"
        if ask.api == "completions":
            thoughts = ""
        counts = chance.whole(1, 500), chance.whole(1, 900)
        return Meaning(text, thoughts, calls, finish, *counts)

    def _call(self, ask: Ask, place: int) -> ToolCall:
        where = self.chance.pick(("Paris", "東京", "\\u00e9 \\n"))
        return ToolCall(
            f"tool{place}", f'{{"id":{ask.id},"where":"{where}","deep":{{"n":[1,2,{{}}]}}}}'
        )

    def _text(self) -> str:
        chance = self.chance
        size = chance.pick_by(((6, 0), (3, 1), (0.6, 2), (0.01, 3)))
        if size == 0:
            return chance.pick(_WORDS) + chance.pick(_WORDS)
        if size == 1:
            return "".join(chance.pick(_WORDS) for _ in range(6))
        begin = chance.below(len(_LONG) // 2)
        text = _LONG[begin : begin + chance.whole(200, 2000)]
        return text if size == 2 else text * 200

    def _style(self, size: int, dialect: str) -> Style:
        chance = self.chance
        # A few events are enough for most; a long answer in small pieces is rare.
        least = size // (60 if chance.odds(0.04) else 8)
        if chance.odds(0.3):
            return Style(piece=max(least, chance.pick((0, 20))), gather=chance.pick((0, 1, 3)))
        return Style(
            piece=max(least, chance.pick((0, 5, 30, 200))),
            gather=chance.pick((0, 1, 1, 4)),
            newline=chance.pick(("\n", "\n", "\r\n", "\r")),
            space=chance.odds(0.8),
            comments=chance.odds(0.2),
            bom=chance.odds(0.05),
            framing=chance.pick(("chunked", "chunked", "chunked", "length", "eof")),
            usage=chance.pick(("own", "own", "last", "none")),
            done=chance.odds(0.85),
            role=chance.odds(0.8),
            as_json=chance.odds(0.03),
            as_array=dialect == "gemini" and chance.odds(0.3),
            broken_utf8=chance.odds(0.1),
            invites=chance.odds(0.03),
            closes=chance.odds(0.1),
            **(self._pace() if self.is_slow else {}),
        )

    def _pace(self) -> dict[str, float]:
        chance = self.chance
        quick = (0.0, 0.0, 0.0, 0.01, 0.2)
        return {
            "head": chance.pick((*quick, 1.0, 3.0, 12.0)),
            "first": chance.pick((*quick, 1.0, 3.0)),
            "gap": chance.pick((*quick, 1.0)) if chance.odds(0.9) else 6.0,
            "end": chance.pick((*quick, 1.0)),
        }

    def _fault(self, ask: Ask) -> Fault:
        chance = self.chance
        group = chance.pick_by(
            ((3, _FAULTS_BEFORE), (0.6, _FAULTS_INSTEAD), (4 if ask.is_stream else 1, _FAULTS_WITHIN))
        )
        kind = chance.pick(group)
        if kind != "status":
            return Fault(kind, at=self._place())
        status = chance.pick(_STATUSES)
        retry_after = ""
        if status in (429, 503) and chance.odds(0.7):
            retry_after = chance.pick(("0", "1", "3", "10", "40", "40", "0.5", "soon"))
        body = chance.pick(("own", "own", "html", "empty", "key"))
        return Fault(kind, status=status, retry_after=retry_after, body=body)

    def _place(self) -> float:
        """Where a fault is: the beginning and the last bytes make more difference than others."""
        chance = self.chance
        spot = chance.random()
        return chance.pick_by(((8, spot), (1, spot / 50), (1, 1 - spot / 50)))


def _targets(route: dict[str, Any]) -> list[str]:
    return [target["model"].partition("/")[0] for target in route["targets"]]


def _tool(api: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"where": {"type": "string"}}}
    function = {"name": "tool0", "description": "A tool.", "parameters": schema}
    match api:
        case "messages":
            return {"name": "tool0", "description": "A tool.", "input_schema": schema}
        case "responses":
            return {"type": "function", **function}
    return {"type": "function", "function": function}
