"""An administrator of a router in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from tests.stack import Stack

ADMIN = "admin-key-of-anna"
WEB = "client-key-of-web-page"
SETTINGS = f"""
auth:
  keys: [{{name: web, key: {WEB}}}]
  admin_keys: [{{name: anna, key: {ADMIN}}}]
"""
ANNA = {"authorization": f"Bearer {ADMIN}"}


class Administrator:
    """Asks below `root` with anna's key."""

    def __init__(self, stack: Stack, root: str = "/admin/v1") -> None:
        self.stack = stack
        self.root = root

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        more = {} if body is None else {"json": body}
        return await self.stack.client.request(
            method, f"{self.root}/{path}", headers=ANNA, params=query, **more
        )

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of a good answer."""
        answer = await self.ask("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None) -> Any:
        """The JSON of a good answer."""
        answer = await self.ask("POST", path, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """The status and the error of an answer that is an error in OpenAI's shape."""
        answer = await self.ask(method, path, body, **query)
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "code", "param"}
        return answer.status_code, error
