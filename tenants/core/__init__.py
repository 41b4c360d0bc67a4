"""The pure ring: what is decided without touching anything outside the process."""
