"""What runs inside the sandbox, next to project code: loads revisions and runs them, in a process of its own.

Nothing here is believed by the other side. What it reports is shown to people; what happened is read from the database
by `tenants.usecases.deploy` when this process and its sessions have ended.
"""
