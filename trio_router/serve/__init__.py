"""Serving: processes, signals, listening sockets."""
