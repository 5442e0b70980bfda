"""Amounts of bytes as people write them: 200MB, 1.5 GB, 64MiB, 1e9."""

import math
import re

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_AMOUNT = re.compile(r"\s*((?:\d{1,99}(?:\.\d{1,99})?|\.\d{1,99})(?:[eE]\+?\d{1,3})?)\s*([A-Za-z]*)\s*", re.ASCII)


def byte_amount(text: str) -> int | None:
    """The bytes that `text` says, or None where it says no number of bytes. `MB` is 10**6, `MiB` is 2**20."""
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2].upper() not in _UNITS:
        return None
    amount = float(match[1]) * _UNITS[match[2].upper()]
    return int(amount) if math.isfinite(amount) else None
