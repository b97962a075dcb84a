"""Asking a running router for what its administrators may ask, from the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from trio_router.dialects.provider_error import error_message
from trio_router.wire.jsoncodec import JSONError, loads

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 60.0  # s
_PAGE = 500  # entries that are asked for at once


class AskFailed(Exception):
    """The router could not be reached, did not let us ask, or refused it."""


class AdminClient:
    """Asks the router at `url` with the admin key `key`."""

    def __init__(self, url: str, key: str | None) -> None:
        self.base = url.rstrip("/").removesuffix("/v1")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def answer(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """The answer below /admin/v1, whatever its status.  Raises AskFailed."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        more = {} if body is None else {"json": body}
        try:
            with httpx.Client(headers=self._headers, timeout=_PATIENCE, trust_env=False) as client:
                return client.request(method, f"{self.base}/admin/v1/{path}", params=given, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise AskFailed(f"{self.base}: {fault}") from None

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """The JSON of a good answer.  Raises AskFailed, with the router's own words."""
        response = self.answer(method, path, body, **query)
        told = object_of(response)
        if told is None or not response.is_success:
            raise self.refusal(response)
        return told

    def refusal(self, response: httpx.Response) -> AskFailed:
        """The error that an answer tells."""
        told = object_of(response)
        message = None if told is None else error_message(told)
        return AskFailed(f"{self.base}: {response.status_code}: {message or 'this is no trio-router'}")

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All entries of a list, however many pages it has.  Raises AskFailed."""
        after = None
        while True:
            page = self.ask("GET", path, limit=_PAGE, after=after, **query)
            yield from page["data"]
            after = page["next"]
            if after is None:
                return


def below(kind: str, name: str, what: str = "") -> str:
    """The path of one key or team, and of what is asked of it."""
    return f"{kind}/{quote(name, safe='')}" + (f"/{what}" if what else "")


def object_of(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object in an answer; None if there is none."""
    try:
        told = loads(response.content)
    except JSONError:
        return None
    return told if isinstance(told, dict) else None
