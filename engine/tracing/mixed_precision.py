"""Mixed precision: which values of a program are rounded to two bytes, while all stay float32 for who writes it.

The policy acts where nodes are emitted, so derivatives follow it. Known elsewhere as autocast, automatic mixed
precision (Micikevicius et al. 2018, "Mixed precision training").

- A product or convolution reads operands that are rounded to bfloat16, or float16, adds up in float32, and rounds its
  result.
- An *activation* is a value that is rounded: such a result, and inside a module what is made element by element, or by
  a window, of activations and parameters. Their numbers are float32 again for what reads them, which is exact.
- All else is float32: parameters, reductions and what they are combined with, softmax, losses, and what is computed
  outside of modules. A normalization is float32 inside, and its result is rounded.

A rounding is a pair of casts, to two bytes and back. So what has to be kept has two bytes, and bits do not depend on
what is kept, fused or recomputed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from ...ir import BFLOAT16, Builder, DType, Node, Op, Value
from ...ir.ops import creation
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, is_half

Kind = Literal["constant", "activation", "float32"]
"""What a float32 value is: computed of parameters and constants alone, rounded, or neither."""


class MixedPrecision:
    """The policy for one program and the programs inside it, which round to `dtype`. With `everywhere` all of it counts
    as inside a module.
    """

    def __init__(self, dtype: DType = BFLOAT16, everywhere: bool = False) -> None:
        self.dtype = dtype
        self._modules = int(everywhere)
        self._float32 = 0
        self._kinds: dict[Value, Kind] = {}

    @contextmanager
    def module(self) -> Iterator[None]:
        """What is emitted inside is part of a module."""
        self._modules += 1
        try:
            yield
        finally:
            self._modules -= 1

    @contextmanager
    def float32(self) -> Iterator[None]:
        """What is emitted inside is float32, products too."""
        self._float32 += 1
        try:
            yield
        finally:
            self._float32 -= 1

    def set_constants(self, values: Iterable[Value]) -> None:
        """Say of inputs of the program that they are parameters, or like them."""
        self._kinds.update(dict.fromkeys(values, "constant"))

    def stands_for(self, inner: Value, outer: Value) -> None:
        """Say that an input of a program inside is a value around it, or a part of it."""
        self._kinds[inner] = self.kind(outer)

    def kind(self, value: Value) -> Kind:
        """What a value is; one that another way has made counts as float32."""
        node = value.node
        if node is not None and not node.inputs:
            return "constant"
        return self._kinds.get(value, "float32")

    def emit_node(self, b: Builder, op: Op, values: Sequence[Value], attrs: Mapping[str, Any]) -> Node:
        """Append a node with what the policy adds to it; its last node, which has the result."""
        if op.is_contraction and not self._float32 and all(v.type.dtype == FLOAT32 for v in values):
            narrow = [ew.cast(b, value, dtype=self.dtype) for value in values]
            return self._widened(b, b.emit(op, *narrow, **attrs))
        if op.is_exact and op.is_elementwise and (narrow := self._narrow(b, values)):
            return self._widened(b, b.emit(op, *narrow, **attrs))
        node = b.emit_node(op, *values, **attrs)
        if len(node.outputs) == 1 and node.output.type.dtype == FLOAT32:
            kind, moved = self._made(node)
            if kind == "activation" and not moved:
                return self._widened(b, ew.cast(b, node.output, dtype=self.dtype))
            self._kinds[node.output] = kind
        return node

    def rounds(self, value: Value, constants: bool) -> bool:
        """Whether a value that is no activation yet is to become one; `constants`, where it is a constant too."""
        inside = self._modules > 0 and not self._float32
        wanted = ("float32", "constant") if constants else ("float32",)
        return inside and value.type.dtype == FLOAT32 and self.kind(value) in wanted

    def rounded(self, b: Builder, value: Value) -> Value:
        """A float32 as an activation."""
        return self._widened(b, ew.cast(b, value, dtype=self.dtype)).output

    def _widened(self, b: Builder, narrow: Value) -> Node:
        node = b.emit_node(ew.cast, narrow, dtype=FLOAT32)
        self._kinds[node.output] = "activation"
        return node

    def _narrow(self, b: Builder, values: Sequence[Value]) -> list[Value]:
        """Activations, and numbers that two bytes hold, as such; none where there is another float32 among them."""
        kinds = {self.kind(v) for v in values if v.type.dtype == FLOAT32 and not self._is_held(v)}
        if kinds != {"activation"}:
            return []
        return [ew.cast(b, v, dtype=self.dtype) if v.type.dtype == FLOAT32 else v for v in values]

    def _made(self, node: Node) -> tuple[Kind, bool]:
        """What the result of a node is, and whether it is that without a rounding."""
        kinds = {self.kind(v) for v in node.inputs if v.type.dtype == FLOAT32}
        others = any(is_half(v.type.dtype) for v in node.inputs)
        moves = node.op.family in ("movement", "indexing") and node.op.only_moves
        if kinds <= {"constant"} and not others:
            return "constant", True
        if moves and kinds == {"activation"}:
            return "activation", True
        follows = moves or node.op.is_elementwise or node.op.family == "window"
        rounds = follows and "activation" in kinds and "float32" not in kinds and self._modules and not self._float32
        return ("activation" if rounds else "float32"), False

    def _is_held(self, value: Value) -> bool:
        """Whether a value is one number throughout, which two bytes hold."""
        node = value.node
        if node is None or node.op is not creation.full:
            return False
        with np.errstate(over="ignore"):
            return float(self.dtype.type(node.attrs["value"])) == node.attrs["value"]
