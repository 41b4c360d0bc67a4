"""The middle ring: one room for each thing outside the process, and the only one that knows it."""
