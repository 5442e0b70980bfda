"""The batch axes of kernels that work on one entry of a batch at a time: where an entry's operands begin."""

from __future__ import annotations

from ...passes.graph.views import View


def batch_numbers(batch_axes: int, *operands: View) -> list[int]:
    """The words of a kernel that `batch_source` reads: the number of axes, and for each its length and the bytes from
    entry to entry in each operand.
    """
    numbers = [batch_axes]
    for axis, length in enumerate(operands[0].shape[:batch_axes]):
        numbers += [length, *(x.strides[axis] * x.base.type.dtype.itemsize for x in operands)]
    return numbers


def batch_source(first: int, *addresses: str) -> str:
    """Moves the addresses of the operands to those of entry `batch`; the words of the batch begin at `first`."""
    width = 1 + len(addresses)
    moves = "\n        ".join(
        f"{name} += index * word(b, {first + 2 + i} + {width} * axis)" for i, name in enumerate(addresses)
    )
    return f"""q = batch
    for axis in range(word(b, {first}) - 1, -1, -1):
        length = word(b, {first + 1} + {width} * axis)
        index = q % length
        q = q // length
        {moves}"""
