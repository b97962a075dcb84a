"""The embedded provider `demo`: a small upstream of our own on a loopback port.

Here alone it is known which provider that is; to everyone else it is one of a kind that is embedded
(`config/kinds.py`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trio_router.config.schema import ModelConfig, ProviderConfig
from trio_router.demo import DemoUpstream
from trio_router.demo.local_model import LocalModel

if TYPE_CHECKING:
    import trio

    from trio_router.config.schema import Config

logger = logging.getLogger("trio_router")
_NAME = "demo"
_REAL_MODEL = "smollm2"  # if what runs it is installed


class Embedded:
    """The provider that the router runs itself, once a configuration has asked for it."""

    def __init__(self) -> None:
        self._provider: ProviderConfig | None = None

    async def start(self, config: Config, nursery: trio.Nursery) -> bool:
        """Starts it in `nursery` if `config` asks for it and it does not run yet.  Returns whether it
        did.
        """
        if self._provider is not None or _NAME not in config.server.embedded:
            return False
        self._provider = await start_demo(nursery)
        return True

    def added(self, config: Config) -> Config:
        """`config` with the provider if it asks for it and the provider runs.

        A provider of that name in `config` is kept instead.
        """
        if self._provider is None or _NAME not in config.server.embedded:
            return config
        return config.model_copy(update={"providers": {_NAME: self._provider, **config.providers}})


def examples(config: Config) -> list[tuple[str, str]]:
    """Models that a newcomer can ask, each with something to say; none if the provider is not there."""
    if _NAME not in config.providers:
        return []
    asks = [(f"{_NAME}/echo", "Hello, Привет, こんにちは, مرحبا 👋🏽")]
    if _REAL_MODEL in (config.providers[_NAME].models or {}):
        asks.insert(0, (f"{_NAME}/{_REAL_MODEL}", "Tell me about the sea in three sentences."))
    return asks


async def start_demo(nursery: trio.Nursery) -> ProviderConfig:
    """Starts the upstream in `nursery`.  Returns its provider."""
    model = LocalModel(log=logger.info)
    # It remembers no requests: prompts must not stay in memory.
    demo = DemoUpstream(smollm2=model, log=logger.info, remember=0)
    port = await nursery.start(demo.serve)
    return demo_provider(port, has_model=model.available())


def demo_provider(port: int, *, has_model: bool) -> ProviderConfig:
    """The provider of the embedded upstream on `port`."""
    names = ["echo", "echo-ndjson", *([_REAL_MODEL] if has_model else [])]
    return ProviderConfig(
        base_url=f"http://127.0.0.1:{port}/v1",
        models={name: ModelConfig() for name in names},
        pass_through=True,  # echo-d50-x5 and the like
    )
