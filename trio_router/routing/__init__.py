"""Decisions: which target answers a request.  No IO, no clock."""
