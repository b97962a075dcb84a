"""Fields of a chat request in OpenAI's shape that several dialects read alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def role_of(message: Any, place: str, unsupported: Unsupported) -> str:
    """The role of a message; `unsupported` is told of a participant's name.

    Raises InvalidRequest, which names the field within `place`.
    """
    if not isinstance(message, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequest(f"{place}.role is not a known role", param=f"{place}.role")
    if message.get("name") and role != "tool":
        unsupported.field(f"{place}.name")
    return role


def format_of(wanted: Any, who: str) -> tuple[str, dict[str, Any] | None]:
    """What a `response_format` asks for: `text`, `json_object`, or `json_schema` and the schema.

    Without one it is `text`.  Raises InvalidRequest, which names `who`, for all else.
    """
    if wanted is None:
        return "text", None
    match wanted:
        case {"type": "text" | "json_object" as kind}:
            return kind, None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return "json_schema", schema
    raise InvalidRequest(f"response_format is none that {who} knows", param="response_format")
