"""Serving: processes, signals, listening sockets.

What flows through.  `run` serves in this process, `run_workers` in several.  Each process makes one
`Router`, enters it, accepts connections until it is told to stop, then drains.

    composing               the application put together: the APIs, the metrics, the dashboard
    serving                 one process: signals, accept loops, drain, the collector's settings
    workers                 the parent of several processes: start, replace, pass signals on

Invariants.
- The parent opens the sockets and forks before any thread or loop runs; it does nothing but watch.
- While a process drains it still accepts, so that clients get a 503 instead of a refused connection.
- SIGTERM and SIGINT drain; a second one ends at once.  SIGHUP reads the configuration again
  and never ends the router.
- A worker leaves when its parent is gone.

What it may not know: HTTP, endpoints, models.
"""
