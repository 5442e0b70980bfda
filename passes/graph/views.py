"""Which values are windows onto the memory of another: an offset and strides instead of a copy."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Node, Value

VIEW_OPS = frozenset({"reshape", "transpose", "broadcast", "slice", "reverse"})


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


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
    while value.node is not None and value.node.op.name in VIEW_OPS:
        value = value.node.inputs[0]
    return value


def own(value: Value) -> View:
    """The view of a value that has its own memory."""
    return View(value, 0, value.type.shape, contiguous_strides(value.type.shape))


def through(node: Node, source: View) -> View | None:
    """The view that a view op makes of `source`, or None where only a copy can."""
    attrs = node.attrs
    shape = node.output.type.shape
    match node.op.name:
        case "transpose":
            perm: tuple[int, ...] = attrs["perm"]
            return View(source.base, source.offset, shape, tuple(source.strides[i] for i in perm))
        case "broadcast":
            strides = [0] * len(shape)
            for axis, stride in zip(attrs["axes"], source.strides):
                strides[axis] = stride
            return View(source.base, source.offset, shape, tuple(strides))
        case "slice":
            start: tuple[int, ...] = attrs["start"]
            step: tuple[int, ...] = attrs["step"]
            offset = source.offset + sum(a * s for a, s in zip(start, source.strides))
            return View(source.base, offset, shape, tuple(s * k for s, k in zip(source.strides, step)))
        case "reverse":
            strides, offset = list(source.strides), source.offset
            axes: tuple[int, ...] = attrs["axes"]
            for axis in axes:
                offset += strides[axis] * max(shape[axis] - 1, 0)
                strides[axis] = -strides[axis]
            return View(source.base, offset, shape, tuple(strides))
        case "reshape":
            strides = _reshaped_strides(source.shape, source.strides, shape)
            return None if strides is None else View(source.base, source.offset, shape, strides)
        case _:
            return None


def _reshaped_strides(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    if 0 in new:
        return contiguous_strides(new)
    # Axes of length 1 have no say. Each run of old axes that is one progression may be cut up anew.
    runs: list[tuple[int, int]] = []  # (elements, innermost stride), outermost first
    for length, stride in zip(old, strides):
        if length == 1:
            continue
        if runs and runs[-1][1] == length * stride:
            runs[-1] = (runs[-1][0] * length, stride)
        else:
            runs.append((length, stride))
    result: list[int] = []
    remaining, inner = 1, 0
    for length in reversed(new):
        if length == 1:
            result.append(0)
            continue
        if remaining == 1:
            if not runs:
                return None
            remaining, inner = runs.pop()
        if remaining % length:
            return None
        result.append(inner)
        inner *= length
        remaining //= length
    return tuple(reversed(result))


def resolve_views(inputs: tuple[Value, ...], nodes: tuple[Node, ...]) -> dict[Value, View]:
    """The view of every value. A view op that would need a copy breaks the law that `canonicalize` establishes."""
    views = {value: own(value) for value in inputs}
    for node in nodes:
        if node.op.name in VIEW_OPS:
            view = through(node, views[node.inputs[0]])
            assert view is not None, f"{node} needs a copy"
            views[node.output] = view
        else:
            views.update((value, own(value)) for value in node.outputs)
    return views
