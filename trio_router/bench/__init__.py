"""What a request and a chunk cost here: `python -m trio_router.bench`."""
