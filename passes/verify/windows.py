"""Views as windows on the memory of their bases, by NumPy's own strides, compared with what the plan says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from ...ir import Array, Graph, Node, Value
from ...ir.ops import movement
from ..graph.views import View
from .errors import PlanVerificationError, describe


@dataclass(frozen=True, slots=True)
class Layout:
    """A value as a window on the memory of `base`. `window` has a shape and strides; its elements do not exist."""

    base: Value
    window: Array
    skipped: int

    @property
    def is_all_in_order(self) -> bool:
        """Whether the window is all elements of the base in their order."""
        return self.skipped == 0 and self.window.flags.c_contiguous and self.window.size == self.base.type.size

    def is_as(self, view: View) -> bool:
        """Whether a view says the same of all elements that there are."""
        size, window = self.window.itemsize, self.window
        if view.base is not self.base or view.shape != window.shape:
            return False
        steps = zip(window.shape, window.strides, view.strides, strict=True)
        return not window.size or (
            view.offset * size == self.skipped and all(n == 1 or step == stride * size for n, step, stride in steps)
        )


def layouts(graph: Graph, views: Mapping[Value, View]) -> dict[Value, Layout]:
    """The layouts of all values of a graph. Raises `PlanVerificationError` where one is no window on another, or
    `views` says something else.
    """
    found = {value: Layout(value, whole(value), 0) for value in graph.inputs}
    for node in graph.nodes:
        if not node.op.is_view:
            found.update((v, Layout(v, whole(v), 0)) for v in node.outputs)
            continue
        source = found[node.inputs[0]]
        try:
            window = _seen_through(node, source.window)
        except (ValueError, IndexError):
            raise PlanVerificationError(f"{describe(node)} is no view of what it reads") from None
        skipped = _address(window) - _address(source.window) + source.skipped if window.size else 0
        found[node.output] = Layout(source.base, window, skipped)
    for value, layout in found.items():
        if value not in views or not layout.is_as(views[value]):
            raise PlanVerificationError(f"{describe(value)} does not lie where its view says: {views.get(value)}")
    return found


def _address(window: Array) -> int:
    return window.__array_interface__["data"][0]


def whole(value: Value) -> Array:
    """An array of the shape of `value` that is not backed by memory: only its strides may be looked at."""
    shape, strides, step = value.type.shape, [0] * value.type.ndim, value.type.dtype.itemsize
    for axis in reversed(range(len(shape))):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return np.lib.stride_tricks.as_strided(np.empty(1, value.type.dtype), shape, strides)


def _seen_through(node: Node, window: Array) -> Array:
    """What NumPy makes of a window by the view op of `node`; raises `ValueError` where it would have to copy."""
    if node.op is movement.reshape:
        return cast(Array, np.reshape(window, node.attrs["shape"], copy=False))
    return cast(Array, node.op.reference(window, **node.attrs))
