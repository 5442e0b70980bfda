"""Which CPU programs are for where nobody says otherwise: this machine's, or the one that `GRADLOOM_TARGET` names."""

from __future__ import annotations

import os

from ...passes.target import CPU_NAMES, TargetError, tells_host
from ..codegen.host import host_cpu


@tells_host
def chosen_cpu() -> str:
    """The name of the CPU target that programs are for: of `GRADLOOM_TARGET`, and without it this machine's.

    Raises `TargetError` where the variable names none.
    """
    name = os.environ.get("GRADLOOM_TARGET", "").strip() or host_cpu()
    if name not in CPU_NAMES:
        raise TargetError(f"GRADLOOM_TARGET={name!r} is no CPU target; it is one of {', '.join(CPU_NAMES)}")
    return name
