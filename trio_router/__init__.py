"""An LLM router: exact streams, honest ends, released the moment the reader leaves.

The rooms, from the client to the upstream; each has a page in its own `__init__.py`:

    cli, serve        the command; processes, signals, listening sockets
    api               endpoints: one client's request, checked, handed to the relay, answered
    dashboard         the live page: what it shows, how it is fed, its files
    server            HTTP/1.1 and HTTP/2 for clients
    runtime           the router's life; everything one configuration makes, as a generation
    relay             the middle, the only room that moves bytes: exchange, attempt, upstream client
    policy            who may ask: keys, admin keys, web pages
    stores            where counters, rows, keys and teams are kept: memory, SQLite
    ledger            limits, budgets, what a request holds and what it cost; pure
    observe           the record of a request; log, metrics, history and traces read it
    transport         HTTP/1.1 to upstreams, made for streams
    clock             time and chance, in one value that is passed in; alarms
    routing           which target answers; pure
    config            the configuration: its schema, its file, what is found without one
    money             prices, and what a usage costs, in nano-dollars
    dialects          what requests and answers mean: OpenAI's chat JSON is the hub; pure
    wire              how bytes are framed: lines, events, JSON, forms, compression; pure
    errors            every error, and how a client is told
    bench, simulation what a chunk costs; the whole router under a virtual clock
    demo, testing     a scripted upstream, for newcomers and for tests

`docs/` has pages for people who change the router; start with `docs/README.md`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trio_router.version import __version__ as __version__

if TYPE_CHECKING:
    from trio_router.api.app import RouterApp
    from trio_router.config.schema import Config


__all__ = ["__version__", "create_app", "load_config"]


def create_app(config: Config | str | Path | None = None) -> RouterApp:
    """The ASGI application, for `hypercorn -k trio 'trio_router:create_app()'`.

    `config` is a Config or a file's path; without one $TRIO_ROUTER_CONFIG is read, and without that
    the embedded default serves what is found.  A file is watched, and taken when it changes
    (`server.reload`).  Raises ConfigError.
    """
    # Imported here so that `import trio_router` and the command's --version cost nothing.
    from trio_router.config.discover import embedded_config
    from trio_router.config.file import parse_config, read_text
    from trio_router.config.schema import Config
    from trio_router.runtime.reload import Reloader
    from trio_router.runtime.router import Router
    from trio_router.runtime.source import Source
    from trio_router.serve.composing import application

    config = config or os.environ.get("TRIO_ROUTER_CONFIG") or embedded_config(os.environ)
    if isinstance(config, Config):
        return application(Router(config))
    text = read_text(config)
    router = Router(parse_config(text, os.environ, str(config)))
    source = Source(Path(config), text, os.environ)
    return application(router, reloader=Reloader(router, source))


def load_config(path: str | Path) -> Config:
    """The configuration in the YAML file at `path`.  Raises ConfigError with every complaint."""
    from trio_router.config.file import load_config as load

    return load(path)
