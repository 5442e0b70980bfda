"""Numbers and names as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...passes.target import Target


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names for people, the first few of many."""
    all_names = list(names)
    rest = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + rest


def numbers_out(text: str) -> str:
    """The text with a star for each number: the same for layers of one kind."""
    return re.sub(r"\d+", "*", text)


def human(nbytes: float) -> str:
    """Bytes for people: 1.5 MB is 1,500,000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(nbytes) < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.2f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} TB"


def human_flops(flops: float) -> str:
    """Floating-point operations for people."""
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"):
        if flops < 1000:
            return f"{flops:.4g} {unit}"
        flops /= 1000
    return f"{flops:.4g} PFLOP"


def human_time(nanoseconds: float) -> str:
    """A time for people."""
    for unit in ("ns", "µs", "ms"):
        if nanoseconds < 1000:
            return f"{nanoseconds:.3g} {unit}"
        nanoseconds /= 1000
    return f"{nanoseconds:.2f} s"


def timed_on(target: Target | None) -> str:
    """What predicted times are of: a core, or all of a GPU."""
    return "one core" if target is None or target.multiprocessors is None else f"{target.multiprocessors} SMs"
