"""The floor: a bare Trio TCP relay, which parses nothing.  No gateway on Trio can cost less a chunk.

python -m trio_router.bench.floor PORT UPSTREAM_PORT [CERTIFICATE KEY]

With a certificate it speaks TLS to its clients, and puts an upstream behind it.
"""

from __future__ import annotations

import ssl
import sys

import trio

_READ = 65536


async def serve(port: int, upstream_port: int, *certificate: str) -> None:
    async def relay(client: trio.abc.Stream) -> None:
        upstream = await trio.open_tcp_stream("127.0.0.1", upstream_port)
        async with client, upstream, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, upstream, nursery.cancel_scope)
            await _copy(upstream, client, nursery.cancel_scope)

    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        await trio.serve_ssl_over_tcp(relay, port, context, host="127.0.0.1", https_compatible=True)
    await trio.serve_tcp(relay, port, host="127.0.0.1")


async def _copy(source: trio.abc.Stream, target: trio.abc.Stream, both: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(_READ):
            await target.send_all(data)
    except trio.BrokenResourceError:
        pass
    both.cancel()


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
