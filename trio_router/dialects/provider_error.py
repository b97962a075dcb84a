"""What a provider says went wrong: in an error status, or in an answer with a good one.

Its words are kept.  What they mean is read from its codes and, where a status tells too little, from
its message: a 403 may be about the router's key, about what the client asked, or about neither.
"""

from __future__ import annotations

import html
import math
import re
from typing import Any

from trio_router.dialects.hub import as_dict, dicts
from trio_router.errors import ProviderAuthError, StreamError, UpstreamError, UpstreamStatus
from trio_router.wire.jsoncodec import JSONError, loads
from trio_router.wire.lines import repair_utf8

_PROSE = 500  # characters that are kept of an error that is no JSON
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_STATUS = re.compile(r"[45]\d\d")
# A verdict on what was asked or answered.
_FILTERED = re.compile(
    r"flagged|requires moderation|moderation[ _](?:blocked|failed|error|rejected|verdict|polic)"
    r"|blocked by (?:\w+ )?moderation|content[ _-]?(?:filter|polic|violat|moderation|safety|blocked)"
    r"|violat\w* (?:\w+ ){0,4}(?:polic|guideline|rule|terms)|usage guidelines|safety[ _](?:system|check"
    r"|filter|polic|reason|guard|violation)|guardrail|responsible ?ai|content management policy"
    r"|content exists risk|data_inspection_failed|prohibited[ _]content|harmful|inappropriate"
    r"|sensitive (?:content|words?|information)",
    re.IGNORECASE,
)
# Who was asked for, whatever it was that they did.
_BARRED = re.compile(
    r"(?:account|organi[sz]ation|api[ _-]?key|project|workspace)\b.{0,40}"
    r"\b(?:suspend|deactivat|disabl|terminat|banned|revoked|restricted|closed)",
    re.IGNORECASE | re.DOTALL,
)
_CREDENTIALS = re.compile(
    r"(?<![a-z])(?:api[ _-]?keys?|keys?|permissions?|permitted|accounts?|credentials?|authenticat\w*"
    r"|(?:un|not[ _])?authori[sz]\w*|subscription|organi[sz]ation"
    r"|(?:access|bearer|auth|iam|security)[ _]token|signature|access to the model)"
    r"(?![a-z])",
    re.IGNORECASE,
)
# What looks like a key, whoever's it is: providers quote the one that they refuse.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|pk|rk|gsk|xai|hf|r8|nvapi|pplx|csk|tgp|key)[-_](?=\S*[\d*])[\w*.\u2026-]{4,}"
    r"|key\d[\w-]+|AIza[\w-]{8,}|ya29\.[\w.-]+|eyJ[\w.-]{8,})"
)
_TITLE = re.compile(r"<title[^>]*>(.{1,2000}?)</title", re.IGNORECASE | re.DOTALL)


def stream_error(value: dict[str, Any]) -> StreamError:
    """The error that an event of the stream tells of, its message kept."""
    told = error_message(value) or "the upstream reported an error in its stream"
    error = StreamError(told, value)
    error.reason = error_reason(value.get("error")) or error_reason(value)
    return error


def error_reason(value: Any) -> str:
    """The code or type that a provider's error object gives; empty if there is none."""
    if isinstance(value, dict):
        for name in ("code", "type", "status"):
            if isinstance(value.get(name), str | int):
                return str(value[name])
    return ""


def error_message(value: Any) -> str | None:
    """The message of an error object, in any of the shapes that providers give it."""
    if isinstance(value, str):
        return value or None
    if not isinstance(value, dict):
        return None
    for name in ("error", "message", "detail", "msg", "error_description", "Message"):
        if message := error_message(value.get(name)):
            return message
    return None


def answer_error(provider: str, status: int, body: bytes, retry_after: str | None) -> UpstreamError:
    """The error that the router's client gets for a 4xx or 5xx answer of an upstream.

    A refusal of the router's credentials is no fault of the client's key: ProviderAuthError.  A 403
    that is a verdict on the content is a content filter's 400.  All else is what it is.
    """
    return _for_client(provider, status, _value(body), retry_after)


def own_status(error: StreamError, provider: str, retry_after: str | None) -> UpstreamError:
    """An error inside an answer with a good status, as if it had come with the status that it names.

    If it names none, it stays what it is.
    """
    if error.told is None or (status := _named_status(error.told)) is None:
        return error
    return _for_client(provider, status, error.told, retry_after)


def status_error(provider: str, status: int, body: bytes, retry_after: str | None) -> UpstreamError:
    """The error that an upstream's own 4xx or 5xx answer tells of: its status, code and message."""
    return _error(provider, status, _value(body), retry_after)


def _value(body: bytes) -> Any:
    """What an error's body says: an object, a text, or None."""
    text, _ = repair_utf8(body)
    try:
        value = loads(text)
    except JSONError:
        return _prose(text.decode(errors="replace"))
    # Google's OpenAI-compatible endpoint wraps the error in an array.
    return value[0] if isinstance(value, list) and value else value


def _for_client(provider: str, status: int, value: Any, retry_after: str | None) -> UpstreamError:
    error = _error(provider, status, value, retry_after)
    if isinstance(error, ProviderAuthError) or status not in (401, 403):
        return error
    message = error_message(value)
    if status == 401:
        return _refused(provider, status, message)
    outer, inner = _objects(value)
    words = f"{_words(outer)} {_words(inner)} {message or ''}"
    if _BARRED.search(words):
        return _refused(provider, status, message)
    if _FILTERED.search(words) or "flagged_input" in as_dict(inner.get("metadata")):
        error.status, error.code, error.reason = 400, "content_filter", "content_filter"
        return error
    if outer and _CREDENTIALS.search(words):
        return _refused(provider, status, message)
    return error


def _error(provider: str, status: int, value: Any, retry_after: str | None) -> UpstreamError:
    _, inner = _objects(value)
    message = error_message(value)
    details = dicts(inner.get("details"))
    if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return _refused(provider, status, message)
    error = UpstreamStatus(
        message or f"{provider} answered with status {status}",
        status=status,
        type=_type(status),
        retry_after=retry_after or _retry_delay(inner, details),
    )
    code = inner.get("code", inner.get("type", f"upstream_{status}"))
    if isinstance(code, int) and isinstance(inner.get("status"), str):
        code = inner["status"]  # Google's `code` is the HTTP status; its `status` tells what it is
    error.code = "" if code is None else str(code)
    error.reason = error_reason(inner)
    param = inner.get("param")
    error.param = param if isinstance(param, str) else None
    return error


def _objects(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an error's body is, and the error in it; xAI has the code beside the error's text."""
    outer = as_dict(value)
    inner = outer.get("error")
    return outer, inner if isinstance(inner, dict) else outer


def _refused(provider: str, status: int, message: str | None) -> ProviderAuthError:
    summary = f"{provider} refused the router's credentials ({status})"
    error = ProviderAuthError(_KEY.sub("***", message) if message else summary)
    error.summary = summary
    return error


def _words(error: dict[str, Any]) -> str:
    """The codes of an error object, as far as they are words."""
    names = ("code", "type", "status", "reason")
    return " ".join(error[name] for name in names if isinstance(error.get(name), str))


def _named_status(told: dict[str, Any]) -> int | None:
    """The HTTP status that the code of an error object is; None if it names none."""
    for held in (told.get("error"), told):
        value = held.get("code") if isinstance(held, dict) else None
        if isinstance(value, int | str) and _STATUS.fullmatch(str(value)):
            return int(value)
    return None


def _retry_delay(inner: dict[str, Any], details: list[dict[str, Any]]) -> str | None:
    """The time until a retry, if the body names it.

    Google has a `RetryInfo` with a delay such as "37.5s"; gateways give `retry_after` in seconds, or
    the headers that they got, among the metadata.
    """
    for detail in details:
        found = _SECONDS.fullmatch(str(detail.get("retryDelay")))
        if found:
            return str(math.ceil(float(found[1])))
    metadata = as_dict(inner.get("metadata"))
    for held in (inner, metadata, metadata.get("headers")):
        for name, value in held.items() if isinstance(held, dict) else ():
            if name.lower().replace("-", "_") in ("retry_after", "retry_after_seconds"):
                found = _SECONDS.fullmatch(f"{value}s")
                return str(math.ceil(float(found[1]))) if found else str(value)[:64]
    return None


def _prose(text: str) -> str | None:
    """The text of an error that is not JSON: a page's title, or the text itself; None if empty."""
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = html.unescape(title[1]) if title else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_PROSE] or None


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "api_error" if status >= 500 else "invalid_request_error"
