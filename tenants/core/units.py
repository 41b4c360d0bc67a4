"""Figures as people read them."""

from __future__ import annotations

import re


def size(count: int) -> str:
    """`count` bytes in SI units: 1.2 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        shown = f"{value:.0f}" if unit == "B" else f"{value:.1f}"
        if float(shown) < 1000:
            return f"{shown} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def bytes_in(text: str) -> int | None:
    """A size as PostgreSQL writes it, in bytes: 10MB, 5GB. None if it is none."""
    found = re.fullmatch(r"([1-9][0-9]{0,8}) ?(kB|MB|GB|TB)", text.strip())
    return int(found[1]) << 10 * ("kB", "MB", "GB", "TB").index(found[2]) + 10 if found else None


def seconds(value: float) -> str:
    """A duration: 3 ms, 0.4 s, 90 s, 12 min."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def age(value: float | None) -> str:
    """How long ago, in seconds, as people say it: 5 min, 3 h, 12 d; a dash for never."""
    if value is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600)):
        if value >= 2 * length:
            return f"{value / length:.0f} {unit}"
    return f"{max(0, value) / 60:.0f} min"


def counted(number: int, noun: str) -> str:
    """`1 revision`, `2 revisions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
