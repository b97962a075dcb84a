"""The router's life."""
