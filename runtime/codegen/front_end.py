"""Which front end turns kernels, which are Python functions, into LLVM's code: our own, or Numba."""

import os

OWN, NUMBA = "own", "numba"


class FrontEndError(ValueError):
    """`GRADLOOM_FRONT_END` names no front end."""


def front_end() -> str:
    """`own` or `numba`, as the environment variable `GRADLOOM_FRONT_END` says; without it `own`.

    `own` is `python_to_llvm`, and Numba for what that does not know. `numba` is Numba for every kernel.

    Raises `FrontEndError` for any other name.
    """
    name = os.environ.get("GRADLOOM_FRONT_END", "").strip() or OWN
    if name not in (OWN, NUMBA):
        known = f"write GRADLOOM_FRONT_END={NUMBA} or GRADLOOM_FRONT_END={OWN} (default)"
        raise FrontEndError(f"GRADLOOM_FRONT_END={name!r} is no front end; {known}")
    return name
