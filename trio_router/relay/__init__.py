"""The middle: the one room that moves bytes between an upstream and a client."""
