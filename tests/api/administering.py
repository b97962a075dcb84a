"""An administrator of a router, and rows for its ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.usage import Usage
from trio_router.ledger.rows import LedgerRow, RowAttempt, RowState
from trio_router.stores.interface import Batch

if TYPE_CHECKING:
    import httpx

    from tests.stack import Stack

DAY = 86400
NANO = 1_000_000_000
ADMIN = "admin-key-of-anna"
WEB = "client-key-of-web-page"
SETTINGS = f"""
store: {{url: "memory:"}}
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


def attempt(provider: str, model: str, cost: int | None, tokens: int = 10, **more) -> RowAttempt:
    used = Usage(tokens, 2 * tokens, cached=tokens // 2)
    return RowAttempt(provider, model, "completed", used, cost, "prices.x", **more)


class Book:
    """Writes rows into a store as a worker does."""

    def __init__(self, store, now: float) -> None:
        self.store = store
        self.now = now
        self._number = 0

    async def write(self, id: str, days: float = 0, **fields) -> LedgerRow:  # noqa: A002
        attempts = fields.get("attempts", (attempt("p", "m", NANO),))
        row = LedgerRow(
            **{
                "id": id,
                "worker": "w",
                "state": RowState.SETTLED,
                "began_at": self.now - days * DAY,
                "request_id": f"req-{id}",
                "model": "fast",
                "attempts": attempts,
                "cost": sum(one.cost or 0 for one in attempts),
                **fields,
            }
        )
        self._number += 1
        await self.store.join("w", 1000, self.now)
        await self.store.sync(Batch("w", self._number, (row,)), 1000, self.now)
        return row
