"""The `anthropic` SDK lists the router's models, page by page."""

from __future__ import annotations

import anthropic
import pytest

from tests.clients.sdk import LEFT_GENERATORS
from tests.stack import real_stack

pytestmark = [
    *LEFT_GENERATORS,
    pytest.mark.client("pypi:anthropic", name="anthropic (Python)", api="Messages", shows="models"),
]


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_it_goes_through_all_pages(limit):
    async with real_stack() as stack:
        listed = (await stack.client.get("/v1/models")).json()["data"]
        async with anthropic.AsyncAnthropic(base_url=stack.url, api_key="x") as client:
            found = [model.id async for model in client.models.list(limit=limit)]
            one = await client.models.retrieve("any/echo")
    assert found == [model["id"] for model in listed]
    assert len(found) > 3
    assert one.display_name == "any/echo"
