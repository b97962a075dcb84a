"""An admin of a dashboard, and what a browser sends with that admin's requests."""

from __future__ import annotations

ADMIN = "admin-key-of-anna"

KEYS = f"auth: {{keys: [client-key], admin_keys: [{{name: anna, key: {ADMIN}}}]}}"

OURS = {"sec-fetch-site": "same-origin"}
