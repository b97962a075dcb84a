"""Where counters, rows, keys and teams are kept: one interface, the same tests for every store.

    interface               what a store does; all that the rest of the router knows of stores
    memory                  of one process, or of the workers of a simulation
    sqlite                  of one machine: any number of worker processes share a file
    postgres                of many machines: they share a database
    many_machines           the same, with the counters in Valkey or Redis (`redis_link`, `redis_steps`)
    outbox                  rows that wait there for a database that is down

Invariants.
- Each operation of a store is one atomic step: it happens whole, or not at all.
- A store keeps what it has confirmed, whatever dies then (memory aside).
- A store of many machines goes by its server's clock.
- What was spent is set from the ledger's rows; a counter that is lost is read again from there.
- What only a worker knows ends with the worker's lease, which the worker renews.

What it may not know: requests, upstreams, HTTP.
"""
