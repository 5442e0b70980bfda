"""Whether this machine can run what the emulator makes."""

from __future__ import annotations

import ctypes
import sys

from ...ir.users_line import located
from ...passes.target import TargetError


def check_host() -> None:
    """Raise `TargetError` where threads cannot be fibers."""
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "makecontext") or sys.maxsize < 2**32:
        raise TargetError(
            located(
                f"the emulator of GPUs runs on 64-bit Linux with glibc, whose makecontext it needs, and this is "
                f"{sys.platform}; write target='cpu'"
            )
        )
