"""The administrators' API as OpenAPI has it.  The schemas of bodies are those that are checked."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from trio_router.api.admin_bodies import KeyBody, NewKeyBody, NewTeamBody, RotateBody, TeamBody
from trio_router.api.admin_query import MOST_DAYS, USUAL_DAYS, USUAL_PAGE, WAYS
from trio_router.ledger.queries import MOST_ROWS
from trio_router.ledger.rows import RowState
from trio_router.version import __version__

_BODIES = (KeyBody, NewKeyBody, NewTeamBody, RotateBody, TeamBody)
_REF = "#/components/schemas/{name}"


def _parameter(name: str, what: str, **schema: Any) -> dict[str, Any]:
    kind = {"type": "string", **schema}
    return {"name": name, "in": "query", "required": False, "description": what, "schema": kind}


_LIMIT = _parameter(
    "limit", "entries on a page", type="integer", minimum=1, maximum=MOST_ROWS, default=USUAL_PAGE
)
_AFTER = _parameter("after", "`next` of the page before")
_BY = _parameter("by", "what is summed by", enum=list(WAYS), default="key")
_TEAM = _parameter("team", "id of a team")
_CEILINGS = _parameter("ceilings", "tell how near they are", type="boolean", default=False)
_FILTERS = [
    _parameter("key", "id of a key"),
    _TEAM,
    _parameter("model", "as clients name it, or provider/model of an attempt"),
    _parameter("provider", "provider of an attempt"),
]
_TIMES = [
    _parameter(name, f"{what}: Unix seconds, a date (UTC) or RFC 3339")
    for name, what in (("since", "from this time on"), ("until", "before this time"))
]
_STATE = _parameter("state", "of the row", enum=[str(state) for state in RowState])
_DAYS = _parameter(
    "days", "how many, today last", type="integer", minimum=1, maximum=MOST_DAYS, default=USUAL_DAYS
)
_FORMAT = _parameter("format", "how it is told", enum=["json", "csv"], default="json")
_BEFORE = _parameter("before", "`next` of the page before", type="integer", minimum=1)

# method, path, what it does, what it takes (parameters or the name of a body), status of the answer
_ENDPOINTS: tuple[tuple[str, str, str, Any, int], ...] = (
    ("get", "/keys", "Keys by their ids", [_LIMIT, _AFTER, _CEILINGS, _TEAM], 200),
    ("post", "/keys", "A new key; the answer shows it, this once", "NewKeyBody", 201),
    ("get", "/keys/{id}", "A key, and how near its ceilings are", [], 200),
    ("patch", "/keys/{id}", "Changes a key; fields left out stay", "KeyBody", 200),
    ("post", "/keys/{id}/rotate", "Another secret; the answer shows it, this once", "RotateBody", 200),
    ("post", "/keys/{id}/revoke", "Makes a key useless", [], 200),
    ("get", "/teams", "Teams by their ids", [_LIMIT, _AFTER, _CEILINGS], 200),
    ("post", "/teams", "A new team", "NewTeamBody", 201),
    ("get", "/teams/{id}", "A team, and how near its ceilings are", [], 200),
    ("patch", "/teams/{id}", "Changes a team; fields left out stay", "TeamBody", 200),
    ("delete", "/teams/{id}", "Removes a team without keys", [], 200),
    ("get", "/spend", "Sums of what was spent", [_BY, *_FILTERS, *_TIMES, _FORMAT], 200),
    ("get", "/spend/days", "What each group cost, day by day", [_BY, _DAYS, *_FILTERS], 200),
    ("get", "/requests", "Requests, latest first", [*_FILTERS, *_TIMES, _STATE, _LIMIT, _AFTER], 200),
    ("get", "/requests/{id}", "A request, its attempts and their costs", [], 200),
    ("get", "/audit", "Administrative acts, the latest first", [_LIMIT, _BEFORE], 200),
    ("get", "/config", "What configuration is in force", [], 200),
    ("post", "/config/reload", "Reads the configuration's file again", [], 200),
)
_ERROR = {
    "description": "OpenAI's error object",
    "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}},
}


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """The whole document."""
    _, schemas = msgspec.json.schema_components(_BODIES, ref_template=_REF)
    schemas["Error"] = {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "code": {"type": ["string", "null"]},
                    "param": {"type": ["string", "null"]},
                },
            }
        },
    }
    paths: dict[str, dict[str, Any]] = {}
    for method, path, what, takes, status in _ENDPOINTS:
        paths.setdefault(path, {})[method] = _operation(path, what, takes, status)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trio-router, for administrators", "version": __version__},
        "servers": [{"url": "/admin/v1"}],
        "security": [{"adminKey": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "adminKey": {"type": "http", "scheme": "bearer", "description": "auth.admin_keys"}
            },
        },
    }


def _operation(path: str, what: str, takes: Any, status: int) -> dict[str, Any]:
    parameters = list(takes) if isinstance(takes, list) else []
    if "{id}" in path:
        one = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        parameters.insert(0, one)
    told = {"description": what, "content": {"application/json": {"schema": {"type": "object"}}}}
    operation: dict[str, Any] = {
        "summary": what,
        "responses": {str(status): told, "default": _ERROR},
    }
    if parameters:
        operation["parameters"] = parameters
    if isinstance(takes, str):
        body = {"schema": {"$ref": _REF.format(name=takes)}}
        operation["requestBody"] = {"content": {"application/json": body}}
    return operation
