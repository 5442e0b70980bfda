"""How many bytes a step may take, as users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ...runtime.codegen.byte_amount import byte_amount
from ..tracing.errors import located
from ..tracing.numbers import as_whole
from ..tracing.precisions import half_of

_SHARE = re.compile(r"\s*(\d{1,99}(?:\.\d{1,99})?|\.\d{1,99})\s*%\s*", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """A bound on the bytes of a step: so many, or a part of what it takes without a bound. With `rounding` what the
    backward reads may be stored in these two bytes for it: "bf16" or "fp16".
    """

    nbytes: int | None = None
    share: float | None = None
    rounding: str | None = None

    def bytes_of(self, unbounded: int) -> int | None:
        """The bound in bytes for a step that takes `unbounded` bytes without one; None where there is none."""
        return int(self.share * unbounded) if self.share is not None else self.nbytes


def allowing(budget: Budget, allow: str | None) -> Budget:
    """The budget with what it `allow`s, "bf16" or "fp16". Raises `ValueError` for anything else, and where there is no
    bound.
    """
    if allow is None:
        return budget
    half = half_of(allow)
    if half is None:
        what = 'allow is "bf16" or "fp16", for values that the backward reads, or None'
        raise ValueError(located(f"{what}, got {allow!r}"))
    if budget.nbytes is None and budget.share is None:
        raise ValueError(
            located(f'allow="{half}" is for a budget; write memory= too, or precision=dict(kept="{half}") without one')
        )
    return replace(budget, rounding=half)


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
    raise ValueError(located(f"memory is a number of bytes or text such as '200MB', '1.5GiB' or '50%', got {memory!r}"))
