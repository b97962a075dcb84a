"""The process that runs llama.cpp's own server: `python -m trio_router.demo.llama_child --model F`.

It writes one line to stdout once it takes requests, `{"port": N}`; all else that it or llama.cpp has
to say goes to stderr.  It ends when its stdin does, and so never outlives the process that started it,
however that one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from urllib.parse import urlsplit


def main() -> None:
    """Run until stdin ends or a signal comes.  An exception that llama.cpp raises ends it with 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="path of a GGUF file")
    parser.add_argument("--name", default="model", help="what the model is called")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C goes to the whole group; the parent decides
    say = os.dup(1)
    os.dup2(2, 1)  # native code may write to stdout; only the one line belongs there
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    _serve(options.model, options.name, say)


def _serve(model: str, name: str, say: int) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import xllamacpp  # it comes with native code that no other process should load

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.offline = True
    params.n_ctx = 4096
    params.n_parallel = 4
    threads = _threads()
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.use_jinja = True
    params.ui = False
    server = xllamacpp.Server(params)
    os.write(say, json.dumps({"port": urlsplit(server.listening_address).port}).encode() + b"\n")
    threading.Event().wait()  # the server runs in threads of its own


def _threads() -> int:
    """Up to four, and one core left to others.

    llama.cpp's threads spin while they wait for each other; if one of them has to share its core, a
    token takes a hundred times as long.
    """
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    cores = len(mine) or os.cpu_count() or 1
    return max(1, min(4, cores - 1))


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # llama.cpp may be in the middle of anything; there is nothing to save


if __name__ == "__main__":
    main()
