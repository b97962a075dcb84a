"""The client's side: Quart on Trio."""
