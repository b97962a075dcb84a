"""Where counters, rows, keys and teams are kept: one interface, the same tests for every store.

    interface               what a store does; all that the rest of the router knows of stores
    memory                  of one process, or of the workers of a simulation
    sqlite                  of one machine: any number of worker processes share a file

Invariants.
- Each operation of a store is one atomic step: it happens whole, or not at all.
- A store keeps what it has confirmed, whatever dies then (memory aside).
- What only a worker knows ends with the worker's lease, which the worker renews.

What it may not know: requests, upstreams, HTTP.
"""
