"""Whether an emulated GPU looks at each access of an element: `GRADLOOM_EMULATOR`."""

import os

from ...passes.target import TargetError

CHECKED, FAST = "checked", "fast"


def is_checked() -> bool:
    """True for `checked`, False for `fast`, as the environment variable `GRADLOOM_EMULATOR` says; without it True.

    `fast` takes a tenth of the time, computes the same bits, and finds only barriers and shuffles that not all threads
    reach.

    Raises `TargetError` for any other word.
    """
    mode = os.environ.get("GRADLOOM_EMULATOR", "").strip() or CHECKED
    if mode not in (CHECKED, FAST):
        known = f"write GRADLOOM_EMULATOR={FAST} or GRADLOOM_EMULATOR={CHECKED} (default)"
        raise TargetError(f"GRADLOOM_EMULATOR={mode!r} is no mode of the emulator; {known}")
    return mode == CHECKED
