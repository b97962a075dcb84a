"""The floor: a bare Trio TCP relay, which parses nothing.  No gateway on Trio can cost less a chunk.

python -m trio_router.bench.floor PORT UPSTREAM_PORT
"""

from __future__ import annotations

import sys

import trio

_READ = 65536


async def serve(port: int, upstream_port: int) -> None:
    async def relay(client: trio.SocketStream) -> None:
        upstream = await trio.open_tcp_stream("127.0.0.1", upstream_port)
        async with client, upstream, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, upstream, nursery.cancel_scope)
            await _copy(upstream, client, nursery.cancel_scope)

    await trio.serve_tcp(relay, port, host="127.0.0.1")


async def _copy(source: trio.SocketStream, target: trio.SocketStream, both: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(_READ):
            await target.send_all(data)
    except trio.BrokenResourceError:
        pass
    both.cancel()


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), int(sys.argv[2]))
