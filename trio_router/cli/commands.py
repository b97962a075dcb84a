"""The command line: `trio-router serve | check | chat | reload | --version`."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import click

from trio_router.version import __version__

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from trio_router.config.schema import Config
    from trio_router.observe.log import LogSettings
    from trio_router.runtime.source import Source

    Listeners = list[socket.socket]

# Heavy imports stand inside the commands that need them: `--version` and `--help` answer at once.

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TRIO_ROUTER_CONFIG",
    help="Configuration file (YAML).  Default: $TRIO_ROUTER_CONFIG, else what is found here.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trio-router")
def main() -> None:
    """Routes OpenAI-compatible requests to many model providers."""


_LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="json",
    show_default=True,
    envvar="TRIO_ROUTER_LOG_FORMAT",
    help="How log lines are written: console is for people.",
)
_LOG_LEVEL = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="TRIO_ROUTER_LOG_LEVEL",
    help="The least that is logged.  A request that ends well is info.  "
    "Default: the configuration's, info.",
)


@main.command()
@_CONFIG
@click.option("--host", help="Address to listen on.  Default: the configuration's, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port.  Default: 8777.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  Default: 1.")
@_LOG_FORMAT
@_LOG_LEVEL
def serve(
    config_path: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    log_format: str,
    log_level: str | None,
) -> None:
    """Run the router until SIGTERM or Ctrl-C."""
    from trio_router.observe.log import LogSettings

    # A terminal that closes, or an impatient `kill -HUP` while we start, is not the end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _hold_standard_descriptors()
    gc.disable()  # while modules are loaded there is nothing to collect; `serve` tunes and enables it
    given = {"server.host": host, "server.port": port, "server.workers": workers}
    fixed = frozenset(name for name, value in given.items() if value is not None)
    config, source = _load(config_path, host, fixed)
    server = config.server
    host = server.host if host is None else host
    port = server.port if port is None else port
    workers = server.workers if workers is None else workers
    if config_path is None:
        _refuse_open_address(config, host)
    on_start = partial(_print_banner, is_embedded=config_path is None)
    logs = LogSettings(log_format, log_level)
    listeners = partial(_bind_all, config, host, port)
    if workers > 1:
        _serve_with_workers(config, listeners, workers, on_start, logs, source)
    else:
        from trio_router.serve.serving import run

        main, metrics = listeners()
        run(config, main, on_start, logs, metrics=metrics, source=source)


def _serve_with_workers(
    config: Config,
    listeners: Callable[[], tuple[Listeners, Listeners]],
    workers: int,
    on_start: Callable[[Config, list[str]], None],
    logs: LogSettings,
    source: Source | None,
) -> None:
    with TemporaryDirectory(prefix="trio-router-") as shared:
        # Where prometheus-client adds up the workers' figures; it looks when it is first imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        from trio_router.serve.serving import run_workers

        main, metrics = listeners()
        folder = Path(shared)
        run_workers(config, main, workers, on_start, logs, folder, metrics=metrics, source=source)


def _bind_all(config: Config, host: str, port: int) -> tuple[Listeners, Listeners]:
    """Where all is served, and where the metrics alone are, if anywhere."""
    metrics = config.server.metrics
    main = _bind(host, port)
    return main, [] if metrics.port is None else _bind(metrics.host, metrics.port)


def _bind(host: str, port: int) -> Listeners:
    from trio_router.server.accept import bind

    try:
        return bind(host, port)
    except OSError as fault:
        _leave(f"cannot listen on {host}:{port}: {fault}", code=1)


def _hold_standard_descriptors() -> None:
    """Opens those that are closed: or a connection would get one, and what is written to it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)


def _print_banner(config: Config, urls: list[str], *, is_embedded: bool) -> None:
    """Whether or not anybody reads it, or can."""
    if sys.stdout is None:
        return
    text = _banner(config, urls, is_embedded=is_embedded) + "\n"
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # somebody caught it
        click.echo(text, nl=False)
        return
    data = text.encode(sys.stdout.encoding, "replace")
    # By a thread, past Python's buffers: a pipe that nobody reads takes no more, and says nothing.
    threading.Thread(target=_write_all, args=(descriptor, data), name="banner", daemon=True).start()


def _write_all(descriptor: int, data: bytes) -> None:
    with suppress(OSError):  # the reader is gone, or the disk is full
        while data:
            data = data[os.write(descriptor, data) :]


@main.command()
@_CONFIG
def check(config_path: Path | None) -> None:
    """Validate the configuration; print providers, models and routes."""
    config, _ = _load(config_path)
    click.echo(f"{config_path or 'embedded default'}: good")
    click.echo(f"listens on {config.server.host}:{config.server.port}, {len(config.auth.keys)} keys")
    click.echo(f"dashboard: {_dashboard_state(config)}")
    click.echo(f"metrics: {_metrics_state(config)}")
    from trio_router.routing.explain import explain_routes

    for line in [*_provider_lines(config), *(["routes:"] if config.routes else [])]:
        click.echo(line)
    for line in explain_routes(config):
        click.echo(line)


_URL = click.option(
    "--url",
    default="http://127.0.0.1:8777",
    show_default=True,
    envvar="TRIO_ROUTER_URL",
    help="The router's address.",
)


@main.command()
@click.option("-m", "--model", help="Model, as provider/model.  Default: the first the router lists.")
@_URL
@click.option("--key", envvar="TRIO_ROUTER_API_KEY", help="Bearer key.  Default: $TRIO_ROUTER_API_KEY.")
@click.argument("text")
def chat(model: str | None, url: str, key: str | None, text: str) -> None:
    """Stream one answer from a running router to the terminal."""
    from trio_router.cli.chat import ChatFailed, stream_answer

    try:
        for piece in stream_answer(url, text, model=model, key=key):
            sys.stdout.write(piece)
            sys.stdout.flush()
    except ChatFailed as fault:
        click.echo()
        _leave(str(fault), code=1)
    except KeyboardInterrupt:
        click.echo()
        sys.exit(130)
    click.echo()


@main.command()
@_URL
@click.option(
    "--key", envvar="TRIO_ROUTER_ADMIN_KEY", help="Admin key.  Default: $TRIO_ROUTER_ADMIN_KEY."
)
def reload(url: str, key: str | None) -> None:
    """Make a running router read its configuration again; print what changed.

    Exit 0: taken, or nothing had changed.  2: the configuration was refused, and nothing was changed.
    1: the router could not be asked.
    """
    from trio_router.cli.reloading import ReloadFailed, ask_to_reload

    try:
        lines, is_refused = ask_to_reload(url, key)
    except ReloadFailed as fault:
        _leave(str(fault), code=1)
    for line in lines:
        click.echo(line, err=is_refused)
    sys.exit(2 if is_refused else 0)


def _load(
    path: Path | None, host: str | None = None, fixed: frozenset[str] = frozenset()
) -> tuple[Config, Source | None]:
    """The configuration, and the file that it comes from, if any."""
    from trio_router.config.discover import embedded_config
    from trio_router.config.file import ConfigError, parse_config, read_text
    from trio_router.runtime.certificates import certificate_files, marks_of
    from trio_router.runtime.source import Source

    if path is None:
        return embedded_config(os.environ), None
    try:
        text = read_text(path)
        config = parse_config(text, os.environ, str(path), host)
        certificate = marks_of(certificate_files(config.server))
        return config, Source(path, text, os.environ, host, fixed, certificate)
    except ConfigError as fault:
        click.echo("The configuration is wrong:", err=True)
        for complaint in fault.complaints:
            click.echo(f"  {complaint}", err=True)
        sys.exit(2)


_SET_A_KEY = (
    "Set a key in the configuration:\n\n"
    '  auth:\n    keys:\n      - {name: me, key: "${TRIO_ROUTER_KEY}"}\n\n'
    "or listen on 127.0.0.1."
)


def _refuse_open_address(config: Config, host: str) -> None:
    from trio_router.config.access import NO_KEYS
    from trio_router.wire.addresses import is_loopback

    if config.auth.keys or is_loopback(host):
        return
    _leave(f"{host} {NO_KEYS}: anyone could spend your providers' money.\n{_SET_A_KEY}")


def _banner(config: Config, urls: list[str], *, is_embedded: bool) -> str:
    from trio_router.runtime.embedded import examples

    url = urls[0]
    lines = [f"trio-router {__version__} on {', '.join(urls)}"]
    if config.auth.admin_keys or not config.auth.keys:
        lines.append(f"every stream, live: {url}/dashboard")
    if is_embedded:
        lines.append("no configuration given; found:")
    lines += _provider_lines(config)
    if asks := examples(config):
        lines.append("\ntry it:\n")
        lines += [f"  {_curl(url, model, text, bool(config.auth.keys))}\n" for model, text in asks]
    elif config.providers:
        name, provider = next(iter(config.providers.items()))
        model = next(iter(provider.models or ("MODEL",)))
        lines.append(
            f"\ntry it:\n\n  {_curl(url, f'{name}/{model}', 'Hello!', bool(config.auth.keys))}\n"
        )
    return "\n".join(lines)


def _dashboard_state(config: Config) -> str:
    if config.auth.admin_keys:
        return f"behind {len(config.auth.admin_keys)} admin keys"
    if config.auth.keys:
        return "closed, for there are keys but no admin key (auth.admin_keys)"
    return "open, on loopback"


def _metrics_state(config: Config) -> str:
    metrics = config.server.metrics
    who = "open" if metrics.auth == "none" else "behind the admin keys"
    return who if metrics.port is None else f"{who}, on {metrics.host}:{metrics.port}"


def _provider_lines(config: Config) -> list[str]:
    lines = []
    for name, provider in config.providers.items():
        lines.append(f"  {name}: {provider.dialect} at {provider.base_url}")
        for model, settings in (provider.models or {}).items():
            upstream = settings.upstream_model
            lines.append(f"    {name}/{model}" + (f" -> {upstream}" if upstream else ""))
        if provider.takes_any_model:
            lines.append(
                f"    {name}/... (any other model)"
                if provider.models
                else f"    {name}/... (any model)"
            )
    lines += [f"  {n}: embedded" for n in config.server.embedded if n not in config.providers]
    return lines


def _curl(url: str, model: str, text: str, with_key: bool) -> str:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
    key = ' -H "Authorization: Bearer $TRIO_ROUTER_KEY"' if with_key else ""
    data = json.dumps(body, ensure_ascii=False)
    return f"curl -N {url}/v1/chat/completions -H 'Content-Type: application/json'{key} -d '{data}'"


def _leave(message: str, code: int = 2) -> NoReturn:
    click.echo(f"trio-router: {message}", err=True)
    sys.exit(code)
