"""Which values are windows onto the memory of another: an offset and strides instead of a copy."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Node, Value
from ...ir.op import Layout
from ...ir.types import contiguous_strides


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Element `i` of the value is element `offset + sum(i * strides)` of `base`, all counted in elements.

    `base` is a value with memory of its own, laid out contiguously.
    """

    base: Value
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def contiguous(self) -> bool:
        """Whether the elements stand one after another, as in a fresh array (at any offset)."""
        expected = contiguous_strides(self.shape)
        return all(n == 1 or s == e for n, s, e in zip(self.shape, self.strides, expected)) or 0 in self.shape

    @property
    def is_matrix(self) -> bool:
        """Whether BLAS can read it as a matrix, or several: one of the last two axes has stride 1, along the other rows
        do not overlap.
        """
        rows, columns = self.shape[-2:]
        row_stride, column_stride = self.strides[-2:]
        by_rows = (column_stride == 1 or columns <= 1) and (row_stride >= max(columns, 1) or rows <= 1)
        by_columns = (row_stride == 1 or rows <= 1) and (column_stride >= max(rows, 1) or columns <= 1)
        return by_rows or by_columns or 0 in self.shape

    @property
    def whole(self) -> bool:
        """Whether the view is all of its base in its order."""
        return self.contiguous and self.offset == 0 and self.base.type.size == _size(self.shape)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def base_of(value: Value) -> Value:
    """The value that `value` is a view of, through any number of view ops; itself where it is none."""
    while value.node is not None and value.node.op.is_view:
        value = value.node.inputs[0]
    return value


def own(value: Value) -> View:
    """The view of a value that has its own memory."""
    return View(value, 0, value.type.shape, contiguous_strides(value.type.shape))


def through(node: Node, source: View) -> View | None:
    """The view that a view op makes of `source`, or None where only a copy can."""
    rule = node.op.view
    assert rule is not None, node
    layout = rule(Layout(source.offset, source.shape, source.strides), node.output.type.shape, node.attrs)
    return None if layout is None else View(source.base, layout.offset, layout.shape, layout.strides)


def resolve_views(inputs: tuple[Value, ...], nodes: tuple[Node, ...]) -> dict[Value, View]:
    """The view of every value. A view op that would need a copy breaks the law that `canonicalize` establishes."""
    views = {value: own(value) for value in inputs}
    for node in nodes:
        if node.op.is_view:
            view = through(node, views[node.inputs[0]])
            assert view is not None, f"{node} needs a copy"
            views[node.output] = view
        else:
            views.update((value, own(value)) for value in node.outputs)
    return views
