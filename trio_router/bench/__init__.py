"""What a request and a chunk cost on this machine: `python -m trio_router.bench`.

load, floor             the client, and the bare relay that the router is compared with
processes               starting, measuring and ending them
soak                    `python -m trio_router.bench.soak`: does anything grow or leak?
"""
