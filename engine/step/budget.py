"""How many bytes a step may take, as users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...runtime.codegen.byte_amount import byte_amount
from ..tracing.numbers import as_whole

_SHARE = re.compile(r"\s*(\d{1,99}(?:\.\d{1,99})?|\.\d{1,99})\s*%\s*", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """A bound on the bytes of a step: so many, or a part of what it takes without a bound."""

    nbytes: int | None = None
    share: float | None = None

    def bytes_of(self, unbounded: int) -> int | None:
        """The bound in bytes for a step that takes `unbounded` bytes without one; None where there is none."""
        return int(self.share * unbounded) if self.share is not None else self.nbytes


def budget_of(memory: float | str | None) -> Budget:
    """A whole number of bytes, such as 200_000_000 or 2e9, or text such as "200MB", "1.5 GB", "64MiB", "1e9", "50%";
    `ValueError` for all else.
    """
    if memory is None:
        return Budget()
    if isinstance(memory, str):
        share, amount = _SHARE.fullmatch(memory), byte_amount(memory)
        if share is not None and 0 < float(share[1]) <= 100:
            return Budget(share=float(share[1]) / 100)
        if amount is not None:
            return Budget(amount)
    nbytes = as_whole(memory)
    if nbytes is not None and nbytes > 0:
        return Budget(nbytes)
    raise ValueError(f"memory is a number of bytes or text such as '200MB', '1.5GiB' or '50%', got {memory!r}")
