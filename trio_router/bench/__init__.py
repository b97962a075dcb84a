"""What a request and a chunk cost on this machine: `python -m trio_router.bench`.

load, floor             the client, and the bare relay that the router is compared with
processes               starting, measuring and ending them
soak                    `python -m trio_router.bench.soak`: does anything grow or leak?

Each figure is measured beside the floor in the same minute: absolute figures differ from machine
to machine and from hour to hour.  It starts the router as a process and knows it by its address alone.
"""
