"""The transport against servers others wrote."""

from __future__ import annotations

import shutil
import socket
import subprocess

import httpx
import hypercorn.config
import hypercorn.trio
import pytest
import trio

from trio_router.transport import StreamTransport


@pytest.fixture
async def client():
    async with (
        StreamTransport(trust_env=False) as transport,
        httpx.AsyncClient(transport=transport, timeout=20) as client,
    ):
        client.pool = transport
        yield client


async def app(scope, receive, send):
    """Echoes bodies; what the path names otherwise."""
    if scope["type"] != "http":
        raise RuntimeError("not here")
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    headers = []
    if scope["path"] in ("/length", "/echo"):
        headers.append((b"content-length", b"%d" % len(body)))
    status = {"/empty": 204, "/not-modified": 304, "/missing": 404}.get(scope["path"], 200)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["path"] == "/stream":
        for i in range(50):
            await send({"type": "http.response.body", "body": b"%d\n" % i, "more_body": True})
            await trio.sleep(0.001)
    if scope["path"] == "/broken":
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("on purpose")
    sent = b"" if status in (204, 304) else body
    await send({"type": "http.response.body", "body": sent})


@pytest.fixture
async def hypercorn_url(nursery):
    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    stop = trio.Event()
    urls = await nursery.start(
        lambda task_status: hypercorn.trio.serve(
            app, config, shutdown_trigger=stop.wait, task_status=task_status
        )
    )
    yield urls[0]
    stop.set()


async def test_hypercorn_and_every_kind_of_response(client, hypercorn_url):
    for path, status in (("/empty", 204), ("/not-modified", 304), ("/missing", 404), ("/x", 200)):
        assert (await client.get(hypercorn_url + path)).status_code == status
    for size in (0, 1, 70_000, 3_000_000):
        for path in ("/echo", "/chunked"):
            answer = await client.post(hypercorn_url + path, content=b"x" * size)
            assert answer.content == b"x" * size
    assert (await client.head(hypercorn_url + "/length")).content == b""
    assert client.pool.open_connections == 1


async def test_hypercorn_and_a_stream(client, hypercorn_url):
    async with client.stream("GET", hypercorn_url + "/stream") as response:
        lines = [line async for line in response.aiter_lines()]
    assert lines == [str(i) for i in range(50)]
    assert client.pool.idle_connections == 1


async def test_hypercorn_and_many_at_once(client, hypercorn_url):
    async def ask(i):
        answer = await client.post(hypercorn_url + "/echo", content=b"%d" % i)
        assert answer.content == b"%d" % i

    async with trio.open_nursery() as nursery:
        for i in range(100):
            nursery.start_soon(ask, i)
    assert client.pool.open_connections == client.pool.idle_connections


async def test_hypercorn_and_an_answer_that_breaks_off(client, hypercorn_url):
    got = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream("GET", hypercorn_url + "/broken") as response:
            async for data in response.aiter_raw():
                got += data
    assert got == b"part"
    assert client.pool.open_connections == 0


NGINX = """
worker_processes 1; daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {dir}/body; client_max_body_size 100k;
  proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  gzip on; gzip_types *; gzip_min_length 1;
  keepalive_requests 5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {dir}/www; }}
    location /close {{ keepalive_timeout 0; return 200 "closing"; }}
    location /nothing {{ return 204; }}
    location /drop {{ return 444; }}
  }}
}}
"""


@pytest.fixture
async def nginx_url(tmp_path):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed here")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "text").write_bytes(b"0123456789" * 30_000)
    tmp_path.chmod(0o755)
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(dir=tmp_path, port=port) + "\n")
    command = [program, "-e", str(tmp_path / "error.log"), "-c", str(config)]
    process = subprocess.Popen(command)  # noqa: ASYNC220  returns at once
    try:
        await until_listening(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def until_listening(port, process):
    with trio.fail_after(20):
        while True:
            assert process.poll() is None, "nginx ended"
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.02)
            else:
                return await stream.aclose()


async def test_nginx_and_every_kind_of_response(client, nginx_url):
    text = b"0123456789" * 30_000
    answer = await client.get(nginx_url + "/text")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == text
    plain = await client.get(nginx_url + "/text", headers={"Accept-Encoding": "identity"})
    assert plain.content == text
    assert plain.headers["content-length"] == str(len(text))
    part = await client.get(
        nginx_url + "/text", headers={"Range": "bytes=5-8", "Accept-Encoding": "identity"}
    )
    assert (part.status_code, part.content) == (206, b"5678")
    assert (await client.head(nginx_url + "/text")).status_code == 200
    assert (await client.get(nginx_url + "/nothing")).status_code == 204
    assert (await client.get(nginx_url + "/missing")).status_code == 404
    seen = {"If-Modified-Since": plain.headers["last-modified"]}
    assert (await client.get(nginx_url + "/text", headers=seen)).status_code == 304
    assert (await client.get(nginx_url + "/close")).text == "closing"


async def test_nginx_refuses_a_large_body_before_it_is_written(client, nginx_url):
    for size in (200_000, 30_000_000):
        answer = await client.post(nginx_url + "/text", content=b"x" * size)
        assert answer.status_code == 413
        assert b"413" in answer.content


async def test_nginx_closes_after_some_requests_and_nobody_notices(client, nginx_url):
    for _ in range(23):
        assert (await client.get(nginx_url + "/nothing")).status_code == 204
    assert client.pool.open_connections <= 1


async def test_nginx_drops_a_request_and_it_is_a_fault(client, nginx_url):
    await client.get(nginx_url + "/nothing")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(nginx_url + "/drop")
    assert client.pool.open_connections == 0
