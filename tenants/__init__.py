"""One shared PostgreSQL, many side projects: each in a schema of its own, migrated and backed up on every git push."""

__version__ = "0.1.0"
