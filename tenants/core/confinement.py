"""What confined programs may use and see: limits, and the names of files that hold secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch

FILE, SCRATCH, MEMORY = 512 << 20, 1 << 30, 4 << 30
"""Bytes: of one file, of all files in the temporary folder, and of what one process allocates."""
FILES, PROCESSES = 100_000, 512
"""Files in the temporary folder; processes and threads of one run, where it has a uid of its own."""
FREE = 1 << 30
"""Bytes that stay free on the disk of the temporary folder, if there are so many when the program starts."""

HIDDEN = (
    *(".env", ".env.*", ".env-*", ".envrc", "*.env", "*.env.*", ".git", ".hg", ".svn", ".netrc", ".pgpass", ".npmrc"),
    *(".pypirc", ".ssh", ".gnupg", ".aws", ".docker", ".kube", ".git-credentials", ".pg_service.conf", "*.pem"),
    *("*.key", "*.p12", "*.pfx", "*.kdbx", "id_rsa*", "id_ecdsa*", "id_ed25519*", "credentials", "credentials.json"),
    *("secrets.json", "secrets.toml", "secrets.y*ml", "*.tfstate", "*.tfstate.*", "*.tfvars"),
)
"""Names of files and folders that hold secrets: with the admin's URL project code sees none of them, at any depth."""
PASSED_OVER = ("node_modules", "site-packages", "__pycache__")
"""Folders of libraries, which are not searched for such names."""

REMEDY_WEAK = "TENANTS_SANDBOX=weak"

WEAK = (
    "change mode, times and owner's attributes of files of this user",
    "send signals to its processes where the kernel is older than 6.12",
    "use the memory and processes that this user may use",
)
"""What a program that keeps our uid can still do, in the words of `doctor`."""


def limits(*, own_uid: bool) -> Mapping[str, int]:
    """By the names that `resource` has for them. The number of processes is counted for each uid, so it can only be
    limited for a uid of the run's own."""
    found = {"FSIZE": FILE, "DATA": MEMORY, "MSGQUEUE": 0}
    return {**found, "NPROC": PROCESSES} if own_uid else found


def is_hidden(name: str) -> bool:
    return any(fnmatch(name.lower(), pattern) for pattern in HIDDEN)


def explain(code: int | None, text: str) -> str:
    """The limit that a program met, judged by its exit code and its last words; empty if none can be seen."""
    met = [
        words
        for words, signal, pattern in (
            (f"one file has at most {FILE >> 20} MB", -25, r"File too large|EFBIG"),
            (
                f"one process has at most {MEMORY >> 30} GB of memory",
                None,
                r"MemoryError|Cannot allocate memory|ENOMEM|heap out of memory",
            ),
            (
                f"one run has at most {PROCESSES} processes and threads",
                None,
                r"Resource temporarily unavailable|EAGAIN|can't start new thread",
            ),
        )
        if (signal is not None and code == signal) or re.search(pattern, text)
    ]
    return f"a limit of the sandbox was met: {'; '.join(met)}" if met else ""


def excess(size: int, files: int, free: int, free_before: int) -> str:
    """Why a program has to be stopped, by what its temporary folder and that folder's disk hold; empty if it need not
    be."""
    if size > SCRATCH:
        return f"it wrote more than {SCRATCH >> 30} GB into its temporary folder"
    if files > FILES:
        return f"it made more than {FILES:,} files in its temporary folder"
    if free < min(FREE, free_before // 2):
        return f"the disk of its temporary folder has only {free >> 20} MB left"
    return ""
