"""Convolutions on a GPU, and the gradients of their weights, in any number of axes: as products whose factors are found
in images as they are read, or where groups are of few channels, by a thread an element of the result.

The gradient by the input is itself a convolution. By a thread, a sum is made in parts, those of a place of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import SHORT_NAMES, Node, Value
from ...ir.ops.convolution import windows
from ...passes.graph.views import View
from ...passes.kernels.accumulators import accumulated_input
from ...passes.kernels.conv_operands import is_convolution
from ...passes.kernels.conv_products import ConvProduct, conv_block_tiles, conv_product
from ...passes.kernels.matrix_products import BatchAxis, Matrix, matrix_product
from ...passes.memory.plan import Plan
from .elementwise import CAST, literal
from .gpu_copies import ElementText, begin_accumulators
from .gpu_matmul import MatrixFactor, Store, lower_gpu_matmul
from .gpu_product import Factor, Finish, Result, held, product_launches
from .kernel_text import KernelText
from .launch import Launch, Pointer, Scratch, Traps


def lower_gpu_convolution(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """The product that it is, or one launch over the elements of the result; after the copy of what is added to."""
    if matrix_product(node, plan.views) is not None:
        return lower_gpu_matmul(node, plan, traps)
    begun = begin_accumulators(node, plan)
    product = conv_product(node)
    if product is None:
        return [*begun, _convolution(node, plan)]
    return [*begun, *conv_launches(product, node, plan, Store(node.output, accumulated_input(node, 0) is not None))]


def conv_launches(product: ConvProduct, node: Node, plan: Plan, finish: Finish) -> list[Launch]:
    """The launches of a convolution, or of the gradient of a weight, as a product."""
    cut = conv_block_tiles(node, plan.target)
    assert cut is not None
    forward = is_convolution(node)
    of_images = plan.views[node.inputs[0]]
    images = Images(node, of_images, "left" if forward else "right", product.inner, forward)
    inner, outer = product.inner, product.outer
    if forward:
        weight = plan.views[node.inputs[1]]
        other: Factor = Weights(weight, node.inputs[1].type.shape)
        batch = BatchAxis(product.groups, inner * of_images.strides[-1], outer * weight.strides[0], outer)
        result = Result(product.m, product.n, [batch], node.output.type.shape[-1], 1)
    else:
        g = plan.views[node.inputs[1]]
        columns = Matrix(g.base, g.offset, product.k, product.m, g.shape[-1], 1)
        other = MatrixFactor("left", columns)
        size = inner * product.taps
        batch = BatchAxis(product.groups, outer, inner * of_images.strides[-1], outer * size)
        result = Result(product.m, product.n, [batch], size, product.taps, inner, 1)
    sides = (images, other) if forward else (other, images)
    parts = Scratch(plan.scratch.get(node, 0))
    return product_launches(*sides, result, product.k, node.output.type.dtype, cut, finish, parts)


@dataclass(frozen=True)
class Images:
    """The images under a kernel, a factor whose one index is a position of the result, and the other a place of the
    kernel with a channel. `by_position`: positions are the places of the factor, and the others its terms.
    """

    node: Node
    view: View
    side: str
    inner: int
    by_position: bool

    @property
    def terms_first(self) -> bool:
        """Whether neighbouring terms are neighbouring channels."""
        return self.by_position

    @property
    def kernel(self) -> tuple[int, ...]:
        """The lengths of the kernel."""
        return self.node.inputs[1].type.shape[2:] if self.by_position else self.node.attrs["kernel"]

    @property
    def steps(self) -> tuple[int, ...]:
        """The lengths of the result."""
        return (self.node.output if self.by_position else self.node.inputs[1]).type.shape[1:-1]

    def begin(self, text: KernelText) -> None:
        """The array of the images."""
        text.array("images", self.view.base, Pointer.to(self.view))

    def at_place(self, text: KernelText, name: str, place: str) -> list[str]:
        """What is known of a place."""
        return (self._position if self.by_position else self._tap)(text, name, place)

    def at_term(self, text: KernelText, name: str, term: str) -> list[str]:
        """What is known of a term."""
        return (self._tap if self.by_position else self._position)(text, name, term)

    def _position(self, text: KernelText, name: str, index: str) -> list[str]:
        """Where its image begins, and the first place that the kernel meets along each axis."""
        lines = [f"q = {index}"]
        for axis, window in reversed(list(enumerate(windows(self.node.attrs)))):
            length, low = text.stride(self.steps[axis]), text.stride(window.low)
            lines += [
                f"i{axis}_{name} = q % {length} * {text.stride(window.stride)} - {low}",
                f"q = q // {length}",
            ]
        return [*lines, f"n_{name} = of_{self.side} + q * {text.stride(self.view.strides[0])}"]

    def _tap(self, text: KernelText, name: str, index: str) -> list[str]:
        """The channel, and how far a place of the kernel is from its first along each axis."""
        inner, channel = text.stride(self.inner), text.stride(self.view.strides[-1])
        lines = [f"q = {index} // {inner}", f"j_{name} = ({index} - q * {inner}) * {channel}"]
        for axis, window in reversed(list(enumerate(windows(self.node.attrs)))):
            length = text.stride(self.kernel[axis])
            lines += [f"d{axis}_{name} = q % {length} * {text.stride(window.dilation)}", f"q = q // {length}"]
        return lines

    def element(self, text: KernelText, place: str, term: str) -> tuple[str, str]:
        """The element where the kernel lies over one."""
        position, tap = (place, term) if self.by_position else (term, place)
        conditions: list[str] = []
        offset = f"n_{position} + j_{tap}"
        for axis, window in enumerate(windows(self.node.attrs)):
            i = f"(i{axis}_{position} + d{axis}_{tap})"
            expand, length = text.stride(window.expand), self.node.inputs[0].type.shape[axis + 1]
            conditions.append(f"({i} >= 0) & ({i} < {text.stride(length * window.expand)})")
            if window.expand > 1:
                conditions.append(f"({i} % {expand} == 0)")
            index = i if window.expand == 1 else f"{i} // {expand}"
            offset += f" + {index} * {text.stride(self.view.strides[axis + 1])}"
        return " & ".join(conditions), held(f"images[{offset}]", self.view.base.type.dtype)


@dataclass(frozen=True)
class Weights:
    """The weight of a convolution: its terms are places of the kernel and channels, its places channels out."""

    view: View
    shape: tuple[int, ...]
    terms_first = True

    def begin(self, text: KernelText) -> None:
        """The array of the weight."""
        text.array("weights", self.view.base, Pointer.to(self.view))

    def at_place(self, text: KernelText, name: str, place: str) -> list[str]:
        """Where a channel out begins."""
        return [f"c_{name} = of_right + {place} * {text.stride(self.view.strides[0])}"]

    def at_term(self, text: KernelText, name: str, term: str) -> list[str]:
        """How far a place of the kernel and a channel are from there."""
        inner = text.stride(self.shape[1])
        lines = [f"q = {term} // {inner}", f"w_{name} = ({term} - q * {inner}) * {text.stride(self.view.strides[1])}"]
        for length, stride in reversed(list(zip(self.shape[2:], self.view.strides[2:]))):
            count = text.stride(length)
            lines += [f"w_{name} = w_{name} + q % {count} * {text.stride(stride)}", f"q = q // {count}"]
        return lines

    def element(self, text: KernelText, place: str, term: str) -> tuple[str, str]:
        """The element, which there is always."""
        return "", held(f"weights[c_{place} + w_{term}]", self.view.base.type.dtype)


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
