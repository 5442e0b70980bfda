"""Convolutions on a GPU, and the gradients of their weights: a thread an element of the result, in any number of axes.

The gradient by the input is itself a convolution. A sum is made in parts, each added to the parts before: those of a
place of the kernel, or of a line of an image and then of the image. So no chain of additions is as long as the sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import SHORT_NAMES, Node, Value
from ...ir.ops.convolution import windows
from ...passes.kernels.accumulators import accumulated_input
from ...passes.kernels.conv_operands import is_convolution
from ...passes.kernels.matrix_products import matrix_product
from ...passes.memory.plan import Plan
from .elementwise import CAST, literal
from .gpu_copies import ElementText, begin_accumulators
from .gpu_matmul import lower_gpu_matmul
from .launch import Launch, Pointer, Traps


def lower_gpu_convolution(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the elements of the result, after the copy of what is added to, if any."""
    if matrix_product(node, plan.views) is not None:
        return lower_gpu_matmul(node, plan, traps)
    return [*begin_accumulators(node, plan), (_convolution if is_convolution(node) else _weight_gradient)(node, plan)]


def _convolution(node: Node, plan: Plan) -> Launch:
    x, w = node.inputs[:2]
    text = _begin(node, plan, (x, w))
    outer, inner = w.type.shape[0] // node.attrs["groups"], w.type.shape[1]
    axes = range(len(w.type.shape) - 2)
    of_x, of_w = plan.views[x].strides, plan.views[w].strides
    text.element(
        *_indices(text, "e", node.output.type.shape, ["n", *(f"o{a}" for a in axes), "c"]),
        f"first = c // {text.stride(outer)} * {text.stride(inner)}",
    )
    place = _offset(text, [("n", of_x[0]), *((f"(i{a} // {_window(text, node, a)[3]})", of_x[a + 1]) for a in axes)])
    weight = _offset(text, [("c", of_w[0]), *((f"p{a}", of_w[a + 2]) for a in axes)])
    product = f"x[at_x + (first + j) * {text.stride(of_x[-1])}] * y[at_w + j * {text.stride(of_w[1])}]"
    terms = (
        f"at_x, at_w, part = {place}, {weight}, {literal(0, x.type.dtype)}",
        f"for j in range({text.stride(inner)}):",
        f"    part = {_sum(node, 'part', product)}",
        f"total = {_sum(node, 'total', 'part')}",
    )
    text.element(*_over_kernel(text, node, w.type.shape[2:], terms), *_store(node))
    return text.launch()


def _weight_gradient(node: Node, plan: Plan) -> Launch:
    x, g = node.inputs[:2]
    text = _begin(node, plan, (x, g))
    w = node.output.type.shape
    outer, inner = w[0] // node.attrs["groups"], w[1]
    axes = range(len(w) - 2)
    of_x, of_g = plan.views[x].strides, plan.views[g].strides
    text.element(
        *_indices(text, "e", w, ["c", "j", *(f"p{a}" for a in axes)]),
        f"channel = c // {text.stride(outer)} * {text.stride(inner)} + j",
    )
    place = _offset(
        text,
        [
            ("channel", of_x[-1]),
            ("n", of_x[0]),
            *((f"(i{a} // {_window(text, node, a)[3]})", of_x[a + 1]) for a in axes),
        ],
    )
    factor = _offset(text, [("c", of_g[-1]), ("n", of_g[0]), *((f"o{a}", of_g[a + 1]) for a in axes)])
    zero = literal(0, x.type.dtype)
    inmost = "part" if axes else "image"
    lines = [f"{inmost} = {_sum(node, inmost, f'x[{place}] * y[{factor}]')}"]
    for a in reversed(axes):
        last = a == axes[-1]
        lines = [
            f"for o{a} in range({text.stride(g.type.shape[a + 1])}):",
            f"    {_input_index(text, node, a)}",
            f"    if {_inside(text, node, a)}:",
            *(f"        {line}" for line in lines),
        ]
        if last:
            lines = [f"part = {zero}", *lines, f"image = {_sum(node, 'image', 'part')}"]
    text.element(
        f"total = {zero}",
        f"for n in range({text.stride(g.type.shape[0])}):",
        f"    image = {zero}",
        *(f"    {line}" for line in lines),
        f"    total = {_sum(node, 'total', 'image')}",
        *_store(node),
    )
    return text.launch()


# ---- lines of a kernel


def _begin(node: Node, plan: Plan, operands: Sequence[Value]) -> ElementText:
    """A kernel of a thread an element, with the arrays x, y, and the result."""
    text = ElementText(node.output.type.size)
    for name, value in zip(("x", "y", "o"), (*operands, node.output)):
        view = Pointer.to(plan.views[value])
        text.head.append(f"    {name} = array_{SHORT_NAMES[value.type.dtype]}({text.word(view)}, 0)")
    return text


def _sum(node: Node, total: str, term: str) -> str:
    dtype = node.output.type.dtype
    return f"{total} + {term}" if dtype.kind == "f" else f"{CAST[dtype]}({total} + {term})"


def _store(node: Node) -> list[str]:
    adds = accumulated_input(node, 0) is not None
    return [f"o[e] = {_sum(node, 'o[e]', 'total') if adds else 'total'}"]


def _indices(text: ElementText, element: str, shape: Sequence[int], names: Sequence[str]) -> list[str]:
    """Lines that find the index along each axis of an element of a contiguous array."""
    lines = [f"q = {element}"]
    for name, length in zip(reversed(names[1:]), reversed(shape[1:])):
        lines += [f"{name} = q % {text.stride(length)}", f"q = q // {text.stride(length)}"]
    return [*lines, f"{names[0]} = q"]


def _offset(text: ElementText, terms: Sequence[tuple[str, int]]) -> str:
    return " + ".join(f"{index} * {text.stride(stride)}" for index, stride in terms)


def _window(text: ElementText, node: Node, axis: int) -> tuple[str, str, str, str]:
    """Stride, elements before the first, dilation, and what the input is expanded by, along an axis."""
    of = windows(node.attrs)[axis]
    return text.stride(of.stride), text.stride(of.low), text.stride(of.dilation), text.stride(of.expand)


def _input_index(text: ElementText, node: Node, axis: int) -> str:
    """The index in the expanded input of place `p` of the kernel, for position `o` of the result."""
    stride, low, dilation, _ = _window(text, node, axis)
    return f"i{axis} = o{axis} * {stride} + p{axis} * {dilation} - {low}"


def _inside(text: ElementText, node: Node, axis: int) -> str:
    length, (*_, expand) = node.inputs[0].type.shape[axis + 1], _window(text, node, axis)
    return f"(i{axis} >= 0) & (i{axis} < {text.stride(length)} * {expand}) & (i{axis} % {expand} == 0)"


def _over_kernel(text: ElementText, node: Node, kernel: Sequence[int], lines: Sequence[str]) -> list[str]:
    """These lines for each place of the kernel that lies over an element of the input."""
    nested = list(lines)
    for axis in reversed(range(len(kernel))):
        nested = [
            f"for p{axis} in range({text.stride(kernel[axis])}):",
            f"    {_input_index(text, node, axis)}",
            f"    if {_inside(text, node, axis)}:",
            *(f"        {line}" for line in nested),
        ]
    return [f"total = {literal(0, node.output.type.dtype)}", *nested]
