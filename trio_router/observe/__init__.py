"""What operators see: log, metrics, history, traces.

What flows through.  The relay writes a `RequestRecord` while a request runs.  When it has ended, each
consumer gets the record once: the metrics, the history, the log line, the span.

    record                  one request or attempt: times, counts, outcome
    log                     a JSON line for each request; a thread writes it
    metrics                 Prometheus, summed over all workers
    history                 the last 15 minutes in slots, for the dashboard
    tracing                 OpenTelemetry, optional
    failure                 kinds and texts of errors, without content
    lag                     how late the event loop is

Invariants.
- A chunk costs at most an addition to the record and one observation of a histogram.
- Nothing here blocks the event loop: text is rendered and written by threads, queues drop when full.
- No prompt, answer or secret reaches a line, a label or a span; names that only clients know make no
  time series.
- Times in a record are `trio.current_time()`; only what leaves the process is in Unix time.

What it may not know: how a request is served.  It reads records and never changes an exchange.
"""
