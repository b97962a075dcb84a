"""The way to Valkey or Redis: one script, which is a step's name and what it needs.

A server that was started again knows no script.  So whoever is told that there is none looks first
whether it is another run of the server, with data from before or without any (`check`), and only then
loads it: nobody counts with what another run has left.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import trio

from trio_router.ledger.ceilings import MINUTE, SLICE, TICK
from trio_router.stores.interface import StoreDown

_KEY = "{trio-router}:era"  # all names have its tag, so that a cluster keeps them together
_CONNECTIONS = 8
_AGAIN = 3  # times that a step is tried where the script, or the era, is not there
_PAUSE = 0.5  # s before connections are made anew after a fault nobody knows


class RedisLink:
    """The way to one server.  `patience` is for how many seconds a step may take."""

    def __init__(self, url: str, patience: float) -> None:
        self._coredis = _coredis()
        self._patience = patience
        text = Path(__file__).with_name("redis_steps.lua").read_text()
        for name, value in (("TICK", TICK), ("MINUTE", MINUTE), ("SLICE", SLICE)):
            text = text.replace(f"@{name}@", repr(value))
        self._script = text
        self._sha = ""
        self._make = partial(_client, self._coredis, url, patience)
        self._make()  # a URL that is not valid is told now
        self._client: Any = None
        self._stop: trio.Event | None = None
        self._ended = trio.Event()

    async def open(self) -> None:
        if self._stop is None:
            self._stop, self._ended, ready = trio.Event(), trio.Event(), trio.Event()
            trio.lowlevel.spawn_system_task(self._keep, self._stop, self._ended, ready)
            await ready.wait()

    async def close(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.set()
            with trio.CancelScope(shield=True):
                await self._ended.wait()

    async def _keep(self, stop: trio.Event, ended: trio.Event, ready: trio.Event) -> None:
        """Holds the nursery of the client's connections, which end only with it.

        It is a task of the system's, for the store is opened and closed by calls and not as a block;
        `close` waits for it.
        """
        try:
            while not stop.is_set():
                with suppress(Exception):
                    async with self._make() as self._client:
                        ready.set()
                        await stop.wait()
                self._client = None
                with trio.move_on_after(_PAUSE):
                    await stop.wait()
        finally:
            self._client = None
            ready.set()
            ended.set()

    async def run(self, step: str, *arguments: str | float | int) -> list[Any]:
        """What a step of the script answers.  Raises StoreDown."""
        if self._stop is None:
            raise StoreDown("the store is not open")
        told = "the counters' server does not answer"
        try:
            with trio.move_on_after(self._patience):
                return await self._run(step, arguments)
        except StoreDown:
            raise
        except Exception as fault:  # an error of the client's nursery can be a group
            told = f"the counters' server cannot be used: {_told(fault)}"
        raise StoreDown(told)

    async def _run(self, step: str, arguments: tuple[str | float | int, ...]) -> list[Any]:
        for _ in range(_AGAIN):
            client = self._client
            if client is None:
                break
            try:
                if not self._sha:
                    await self._load(client)
                answer: list[Any] = await client.evalsha(
                    self._sha, keys=[_KEY], args=[step, *arguments]
                )
            except self._coredis.exceptions.NoScriptError:
                self._sha = ""
                continue
            if answer[0] != "era":
                return answer
            self._sha = ""
        raise StoreDown("the counters' server cannot be used")

    async def _load(self, client: Any) -> None:
        """Says which run of the server this is, before anybody can count."""
        info = await client.info("server")
        check = ["check", "", info["run_id"]]
        await client.eval(self._script, keys=[_KEY], args=check)
        self._sha = await client.script_load(self._script)


def _coredis() -> Any:
    """Imported only where it is used: it takes a while, and is not installed everywhere."""
    try:
        return import_module("coredis")
    except ImportError as fault:
        raise ValueError(f"counters in Redis need trio-router[redis]: {fault}") from None


def _client(coredis: Any, url: str, patience: float) -> Any:
    """Raises ValueError without the URL."""
    try:
        return coredis.Redis.from_url(
            re.sub("^valkey", "redis", url),
            decode_responses=True,
            max_connections=_CONNECTIONS,
            connect_timeout=patience,
            stream_timeout=patience,
            retry_policy=coredis.retry.NoRetryPolicy(),  # a take that was heard must not come twice
        )
    except Exception:
        raise ValueError("the URL of the counters is not valid") from None


def _told(fault: BaseException) -> str:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return " ".join(str(fault).split()) or type(fault).__name__
