"""`python -m tenants` is the command `tenants`."""

from tenants.cli import main

main()
