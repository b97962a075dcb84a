"""`python -m trio_router.demo`: the scripted upstream by itself, to test a client against."""

from __future__ import annotations

import argparse
import signal
import sys

import trio

from trio_router.demo.local_model import LocalModel
from trio_router.demo.script import __doc__ as script_help
from trio_router.demo.server import DemoUpstream


def main() -> None:
    """Serve until SIGINT or SIGTERM.  Exits with 1 if the address cannot be had."""
    parser = argparse.ArgumentParser(
        prog="python -m trio_router.demo",
        description=script_help,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9100, help="port, 0 for a free one (9100)")
    options = parser.parse_args()
    complaint: BaseException | None = None
    try:
        trio.run(_serve, options.host, options.port)
    except* OSError as group:
        complaint = group
    while isinstance(complaint, BaseExceptionGroup):
        complaint = complaint.exceptions[0]
    if complaint is not None:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {complaint}")


async def _serve(host: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_end_on_signal, nursery.cancel_scope)
        upstream = DemoUpstream(smollm2=LocalModel(log=_say), log=_say, remember=0)
        bound = await nursery.start(upstream.serve, host, port)
        _say(f"demo upstream on http://{host}:{bound}/v1 (OpenAI) and http://{host}:{bound} (Ollama)")


async def _end_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
