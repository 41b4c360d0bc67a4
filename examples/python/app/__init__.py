"""Notes, by way of HTTP."""
