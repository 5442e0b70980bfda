"""An element of random bits in kernel source."""

from __future__ import annotations

import numpy as np

from ...ir import Node
from ...ir.ops.creation import GOLDEN, mix
from .kernel_text import KernelText


def random_lines(text: KernelText, node: Node, name: str, key: str, index: str, indent: str) -> list[str]:
    """Lines that compute element `index` of a `random_bits` node, counted with the outputs that lie between its runs,
    from its key.
    """
    stream = int(mix(np.array([node.attrs["stream"]], np.uint64) * np.uint64(GOLDEN))[0])
    word = text.number(f"stream{len(text.args)}", stream - (1 << 64) if stream >> 63 else stream)
    z = f"{name}z"
    return [
        f"{indent}{z} = mix64(mix64(u64({key}) ^ u64({word})) + u64({index} + 1) * u64({GOLDEN}))",
        f"{indent}{name} = " + (f"i32({z} >> u64(32))" if node.output.type.dtype.itemsize == 4 else f"i64({z})"),
    ]


def skip_before(text: KernelText, node: Node, index: str) -> str:
    """Outputs of the generator that lie between runs of random bits before the element at `index`."""
    run: int = node.attrs["run"]
    return f"({index}) // {text.stride(run)} * {text.stride(node.attrs['apart'] - run)}"
