"""`GET /v1/key`: what a client's own key may ask for, and what is left of its limits and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.api.reply import Reply, json_reply
from trio_router.api.table import EndpointRow
from trio_router.policy.standing import standing

if TYPE_CHECKING:
    from trio_router.api.request import ClientRequest


async def own_key(asked: ClientRequest) -> Reply:
    """Raises Unauthorized, StoreUnavailable."""
    await asked.authenticate()
    chain = asked.generation.policies
    if chain is None:
        told = {**standing(None, None, ()), "id": asked.record.key}
    else:
        told = standing(*await chain.levels(asked.account))
    return json_reply(told)


OWN_KEY = {("GET", "/v1/key"): EndpointRow(own_key, is_booked=False)}
