"""The GPU of this machine, as stages see it."""

from __future__ import annotations

from ...passes.target import Target
from ...runtime.cuda.presence import missing


def what_is_missing() -> list[str]:
    """Why nothing runs on a GPU here, each with the way to get it; empty where there is one."""
    return missing(Target.cuda())
