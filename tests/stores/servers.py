"""Servers that the tests start for themselves, on loopback, in folders of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE = 20.0  # s in which a server starts
PLACES = os.pathsep.join(
    [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
)
OWNER = "postgres"  # who runs PostgreSQL where the tests run as root, which it refuses


def program(*names: str) -> str:
    """The first of these programs that is here; without any, the test is skipped."""
    for name in names:
        if found := shutil.which(name, path=PLACES):
            return found
    pytest.skip(f"{names[0]} is not installed here")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A server that can be killed and started again, with what it keeps in its folder."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="trio-router-tests-"))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process is None or self.process.poll() is not None:
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
            if self.is_ready():
                return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """It ends at once, whatever it was doing."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """It answers no more, and keeps its connections, until it may `go_on`."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # PostgreSQL does not wait for its clients then
            self.process.wait(PATIENCE)

    def remove(self) -> None:
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisServer(Server):
    """`keeps`: each change is on the disk before it is confirmed."""

    def __init__(self, *, keeps: bool = False) -> None:
        super().__init__()
        self.program = program("valkey-server", "redis-server")
        self.keeps = keeps

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        keeping = ["--appendonly", "yes", "--appendfsync", "always"] if self.keeps else []
        words = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return [*words, "--dir", str(self.folder), *keeping]

    def is_ready(self) -> bool:
        return self.ask(b"PING") == b"+PONG\r\n"

    def ask(self, command: bytes) -> bytes:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            sock.sendall(command + b"\r\n")
            return sock.recv(1000)
        return b""


class PostgresServer(Server):
    def __init__(self) -> None:
        super().__init__()
        self.program = program("postgres")
        if self.user:
            shutil.chown(self.folder, *self.user)
        self.run(
            program("initdb"), "-D", self.data, "-A", "trust", "-U", OWNER, "--no-sync", "-E", "UTF8"
        )

    @property
    def user(self) -> tuple[str, str] | None:
        return (OWNER, OWNER) if os.geteuid() == 0 else None

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/postgres"

    def run(self, *words: str) -> None:
        done = subprocess.run(self.as_user(list(words)), capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr

    def as_user(self, words: list[str]) -> list[str]:
        if not self.user:
            return words
        return ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", *words]

    def command(self) -> list[str]:
        # What a killed process wrote is kept by the system, so that nothing has to be on the disk.
        settings = {"fsync": "off", "unix_socket_directories": "", "listen_addresses": "127.0.0.1"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self.as_user([self.program, "-D", self.data, "-p", str(self.port), *words])

    def is_ready(self) -> bool:
        words = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(words).returncode == 0

    def empty(self) -> None:
        """Empties the tables of a store, if there are any: that is faster than to make them anew."""
        with self.connected() as db:
            query = "select to_regclass('trio_router.workers') is not null"
            if db.execute(query).fetchone()[0]:
                names = "rows, attempts, spent, keys, teams, audit, workers, held, minutes"
                db.execute(
                    f"set search_path = trio_router; truncate {names}; update accounts set acts = 0"
                )

    def drop(self) -> None:
        with self.connected() as db:
            db.execute("set client_min_messages = error")
            db.execute("drop schema if exists trio_router cascade")

    def children(self) -> list[int]:
        name = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(word) for word in Path(name).read_text().split()]

    def stop(self) -> None:
        for process_id in (self.process.pid, *self.children()):
            os.kill(process_id, signal.SIGSTOP)

    def go_on(self) -> None:
        for process_id in (*self.children(), self.process.pid):
            os.kill(process_id, signal.SIGCONT)

    def connected(self):
        psycopg = pytest.importorskip("psycopg")
        return psycopg.connect(self.url, autocommit=True)


_shared: dict[type[Server], Server] = {}


def shared(kind: type[Server]) -> Server:
    """One server of this kind for all tests; they leave nothing in it that matters."""
    if kind not in _shared:
        _shared[kind] = kind()
    server = _shared[kind]
    if server.process is None or server.process.poll() is not None:
        server.start()
    return server


def end_shared() -> None:
    """Ends their processes; what a start needs is kept."""
    for server in _shared.values():
        server.end()


def remove_shared() -> None:
    while _shared:
        _shared.popitem()[1].remove()
