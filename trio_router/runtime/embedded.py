"""The embedded provider `demo`: a small upstream of our own on a loopback port."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trio_router.config.schema import ModelConfig, ProviderConfig
from trio_router.demo import DemoUpstream
from trio_router.demo.local_model import LocalModel

if TYPE_CHECKING:
    import trio

logger = logging.getLogger("trio_router")


async def start_demo(nursery: trio.Nursery) -> ProviderConfig:
    """Starts the upstream in `nursery`.  Returns its provider."""
    model = LocalModel(log=logger.info)
    # It remembers no requests: prompts must not stay in memory.
    demo = DemoUpstream(smollm2=model, log=logger.info, remember=0)
    port = await nursery.start(demo.serve)
    return demo_provider(port, has_model=model.available())


def demo_provider(port: int, *, has_model: bool) -> ProviderConfig:
    """The provider of the embedded upstream on `port`."""
    names = ["echo", "echo-ndjson", *(["smollm2"] if has_model else [])]
    return ProviderConfig(
        base_url=f"http://127.0.0.1:{port}/v1",
        models={name: ModelConfig() for name in names},
        pass_through=True,  # echo-d50-x5 and the like
    )
