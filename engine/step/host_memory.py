"""How much pinned memory of its host a step on a GPU may take, as users write it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...passes.target import Target, TargetError
from ...runtime.codegen.byte_amount import byte_amount
from ..tracing.errors import located
from ..tracing.numbers import as_whole


@dataclass(frozen=True)
class HostMemory:
    """At most so many bytes. Where another program of the step has said which inputs lie there, these and no others do:
    their numbers are `held`.
    """

    most_bytes: float = math.inf
    held: frozenset[int] | None = None


ANY_HOST_MEMORY = HostMemory()


def host_memory_of(host_memory: float | str | None, target: Target) -> HostMemory:
    """A whole number of bytes, text such as "8GB", or None for as many as a budget asks for.

    Raises `ValueError` for all else, and `TargetError` for bytes of a CPU, which has one memory.
    """
    if host_memory is None:
        return ANY_HOST_MEMORY
    nbytes = byte_amount(host_memory) if isinstance(host_memory, str) else None
    nbytes = as_whole(host_memory) if nbytes is None else nbytes
    if nbytes is None or nbytes < 0:
        raise ValueError(
            located(
                "host_memory is a number of bytes or text such as '8GB', 0 for none, or None for as many as the "
                f"budget asks for, got {host_memory!r}"
            )
        )
    if nbytes and not target.is_gpu:
        raise TargetError(
            located(
                f"host_memory is for GPUs, which have a memory of their own, got {host_memory!r} for {str(target)!r}; "
                "leave it out"
            )
        )
    return HostMemory(nbytes)
