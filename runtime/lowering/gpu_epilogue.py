"""A region that begins with a product, on a GPU: the kernel of the product, which computes the region of each sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...ir import Graph, Node, Value
from ...ir.ops import creation
from ...passes.graph.views import View
from ...passes.kernels.matrix_products import fused_product
from ...passes.memory.plan import Plan
from .elementwise import expression, literal, loaded, stored
from .gpu_matmul import matrix_launches
from .kernel_text import KernelText
from .launch import Launch, Pointer


def lower_gpu_epilogue(node: Node, plan: Plan) -> list[Launch]:
    """The launches of the product, the last of which finishes its sums."""
    product = fused_product(node, plan.views)
    assert product is not None
    return matrix_launches(product, node, plan, RegionOfSum(node, plan))


@dataclass(frozen=True)
class RegionOfSum:
    """An element-wise region of which the sum is an element; it reads and writes the others at the same place."""

    region: Node
    plan: Plan

    @property
    def body(self) -> Graph:
        """The body, which begins with the product."""
        return self.region.attrs["body"]

    def begin(self, text: KernelText) -> None:
        """The arrays that the region reads and writes, and its constants."""
        for i, outer in self._given():
            text.array(f"x{i}", outer, Pointer.to(self.plan.views[outer]))
        for o, value in enumerate(self.region.outputs):
            text.array(f"o{o}", value, Pointer(value))

    def lines(self, text: KernelText) -> list[str]:
        """The values of the region for one element."""
        names = {self.body.nodes[0].output: "total"}
        lines: list[str] = []
        for i, outer in self._given():
            name = names[self.body.inputs[i]] = f"v{i}"
            element = f"x{i}[{_index(text, self.plan.views[outer])}]"
            lines.append(f"{name} = {loaded(element, outer.type.dtype)}")
        for number, node in enumerate(self.body.nodes[1:]):
            name = f"w{number}"
            lines.append(f"{name} = {self._computed(text, node, [names[v] for v in node.inputs])}")
            names[node.output] = name
        for o, value in enumerate(self.body.outputs):
            lines.append(f"o{o}[place] = {stored(names[value], value.type.dtype)}")
        return lines

    def _given(self) -> list[tuple[int, Value]]:
        """What the region reads beside the factors, with its number among the inputs."""
        return list(enumerate(self.region.inputs))[1:-1]

    def _computed(self, text: KernelText, node: Node, names: list[str]) -> str:
        if node.op.fusion == "reshaping":
            return names[0]
        if node.op is creation.full:
            value, dtype = node.attrs["value"], node.output.type.dtype
            known = dtype.kind != "f" or abs(value) in (0, 1) or not np.isfinite(value)
            return literal(value, dtype) if known else text.real(value, dtype)
        return expression(node, names)


def _index(text: KernelText, view: View) -> str:
    """The element of a view that stands at `place` of an array of its shape, as an expression."""
    if view.contiguous:
        return "place" if len(view.shape) and view.base.type.size > 1 else "0"
    axes: list[tuple[int, int]] = []
    for length, stride in zip(view.shape, view.strides):
        if length == 1:
            continue
        if axes and axes[-1][1] == length * stride:
            axes[-1] = axes[-1][0] * length, stride
        else:
            axes.append((length, stride))
    terms: list[str] = []
    rest = "place"
    for number, (length, stride) in reversed(list(enumerate(axes))):
        if stride:
            index = rest if number == 0 else f"{rest} % {text.stride(length)}"
            terms.append(f"{index} * {text.stride(stride)}")
        if number:
            rest = f"{rest} // {text.stride(length)}"
    return " + ".join(terms) or "0"
