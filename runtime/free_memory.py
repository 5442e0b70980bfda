"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes


def return_free_memory() -> None:
    """Give what was allocated and freed back to the system, where the C library can: GNU's keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
