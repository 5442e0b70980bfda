"""Products."""

from __future__ import annotations

import string
from collections.abc import Sequence

from ....ir.ops import contraction
from .emitter import Emitter, emits
from .symbolic_graph import SymbolicNode, SymbolicValue


@emits(contraction.dot)
def dot(e: Emitter, node: SymbolicNode) -> str:
    """A product of matrices where it is one, else as an Einsum."""
    x, y = node.inputs
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    names = [e.wide(x), e.wide(y)]
    if node.output.dtype != x.dtype:
        names = [e.cast(name, node.output.dtype) for name in names]
    free = [_free(value, contract[i], batch[i]) for i, value in enumerate((x, y))]
    batches = len(batch[0])
    # A row of matrices by one matrix is a product too.
    rows_fit = len(free[0]) == 1 or (not batches and len(free[0]) > 0)
    if len(contract[0]) == 1 and len(free[1]) == 1 and rows_fit:
        left = e.transposed(names[0], (*batch[0], *free[0], *contract[0]))
        right = e.transposed(names[1], (*batch[1], *contract[1], *free[1]))
        result = e.node("MatMul", left, right)
    else:
        result = e.node("Einsum", *names, equation=_equation(x, y, contract, batch))
    return result if e.is_wide(x) else e.narrow(result, node.output)


def _free(value: SymbolicValue, contract: Sequence[int], batch: Sequence[int]) -> tuple[int, ...]:
    return tuple(i for i in range(value.ndim) if i not in contract and i not in batch)


def _equation(
    x: SymbolicValue, y: SymbolicValue, contract: Sequence[Sequence[int]], batch: Sequence[Sequence[int]]
) -> str:
    left, right = string.ascii_lowercase[: x.ndim], list(string.ascii_uppercase[: y.ndim])
    for pairs in (contract, batch):
        for i, j in zip(*pairs):
            right[j] = left[i]
    kept = [left[i] for i in batch[0]]
    kept += [left[i] for i in _free(x, contract[0], batch[0])]
    kept += [right[j] for j in _free(y, contract[1], batch[1])]
    return f"{left},{''.join(right)}->{''.join(kept)}"
