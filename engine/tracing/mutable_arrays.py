"""What `+=` writes to: the memory that NumPy would give to traced arrays, and which of them are views of one memory.

Values of a program never change. So a traced array that is written to gets a new value, and those that NumPy would hold
in the same memory are made of that again, when they are next read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir import Op, Value
from ...ir.ops import indexing, movement
from .errors import TracingError, located

if TYPE_CHECKING:
    from .tracer import Trace, Tracer

Path = tuple[tuple[Op, dict[str, Any]], ...]
"""How a view is made of the whole memory: reshape, transpose, reverse and slice, one after another."""

_VIEWS = (movement.reshape, movement.transpose, movement.reverse, movement.slice_)
_TURNS = (movement.transpose, movement.reverse)


class Memory:
    """The memory of an array and its views: its `value` now, and how often it was written to.

    `read_only` says why it must not be written to; `loose` that its order is not known to be C's; `stale` why it must
    not be read any more. `doubtful` are memories that may be the same as this one.
    """

    __slots__ = ("doubtful", "loose", "read_only", "stale", "value", "version")

    def __init__(self, value: Value, read_only: str = "", loose: bool = False) -> None:
        self.value = value
        self.version = 0
        self.read_only = read_only
        self.loose = loose
        self.stale = ""
        self.doubtful: list[Memory] = []


def is_loose(x: Tracer) -> bool:
    """Whether `x` is not known to lie in memory in C's order."""
    return x.memory is not None and (x.memory.loose or any(op in _TURNS for op, _ in x.path))


def as_view(x: Tracer, result: Any) -> Any:
    """`result`, which reshapes, transposes, reverses or slices `x`, as NumPy gives it: a view of `x`, or a copy where
    it must be one.
    """
    from .tracer import Tracer

    if result is x or not isinstance(result, Tracer) or not isinstance(x, Tracer):
        return result
    result = Tracer(result.owner, result.value)  # what was made on the way keeps its own
    if not x.shape and x.memory is None:
        return result  # a scalar has no views
    if result.owner is not x.owner:
        result.memory = Memory(result.value, "it is of the program around this loop")
        return result
    steps = _steps(x.value, result.value)
    if x.memory is None:
        x.memory = Memory(x.value)
    if any(op is movement.reshape for op, _ in steps):
        answer = _reshapes_in_place(x, steps)
        if answer is not True:
            result.memory = Memory(result.value)
            if answer is None:
                result.memory.doubtful.append(x.memory)
                x.memory.doubtful.append(result.memory)
            return result
    result.memory, result.path, result.seen = x.memory, (*x.path, *steps), x.memory.version
    return result


def perhaps_view(x: Any, result: Any) -> Any:
    """`result`, which NumPy may hold in the memory of `x`, in a way that is not followed here: after `+=` on one of
    them the other must not be read.
    """
    from .tracer import Tracer

    if not isinstance(x, Tracer) or not isinstance(result, Tracer) or not x.shape or result.owner is not x.owner:
        return result
    result = Tracer(result.owner, result.value)
    result.memory = Memory(result.value)
    if x.memory is None:
        x.memory = Memory(x.value)
    result.memory.doubtful.append(x.memory)
    x.memory.doubtful.append(result.memory)
    return result


def _steps(source: Value, result: Value) -> Path:
    """From `source` to `result`."""
    steps: list[tuple[Op, dict[str, Any]]] = []
    value = result
    while value is not source:
        node = value.node
        if node is None or node.op not in _VIEWS:
            return ((movement.reshape, {"shape": result.type.shape}),)  # what `source` was itself reshaped from
        steps.append((node.op, dict(node.attrs)))
        value = node.inputs[0]
    return tuple(reversed(steps))


def _reshapes_in_place(x: Tracer, steps: Path) -> bool | None:
    """Whether NumPy makes a view by `steps`; `None` where that depends on an order in memory that is not known."""
    assert x.memory is not None
    path = (*x.path, *steps)
    whole = x.memory.value.type
    if whole.size == 0:
        return True
    # No element of it is ever read.
    array = np.lib.stride_tricks.as_strided(np.empty(1, whole.dtype), whole.shape, _strides(whole.shape, 1))
    known = not x.memory.loose
    for op, attrs in path:
        if op is movement.reshape:
            if [n for n in array.shape if n != 1] != [n for n in attrs["shape"] if n != 1] and not known:
                return None
            try:
                array = np.reshape(array, attrs["shape"], copy=False)
            except ValueError:
                return False
        elif op is movement.transpose:
            array = array.transpose(attrs["perm"])
        elif op is movement.reverse:
            array = np.flip(array, attrs["axes"])
        else:
            array = array[tuple(map(slice, attrs["start"], attrs["stop"], attrs["step"]))]
    return True


def _strides(shape: Sequence[int], unit: int) -> tuple[int, ...]:
    strides: list[int] = []
    for n in reversed(shape):
        strides.append(unit)
        unit *= n
    return tuple(reversed(strides))


def current_value(x: Tracer) -> Value:
    """The value of a view after all that was written to its memory."""
    memory = x.memory
    assert memory is not None
    if memory.stale:
        raise TracingError(located(memory.stale))
    if x.seen != memory.version:
        value = memory.value
        for op, attrs in x.path:
            value = x.owner.emit_node(op, value, **attrs).output
        x.own_value, x.seen = value, memory.version
    return x.own_value


def write(trace: Trace, x: Tracer, new: Value) -> None:
    """Make `new` what is in the memory of `x`."""
    memory = x.memory
    if memory is not None:
        for other in memory.doubtful:
            other.stale = located(
                "this traced array may share its memory with one that was written to: NumPy reshapes in place or "
                "copies as the order in memory is; write y = y + x instead of y += x there"
            )
        memory.value = _written(trace, memory.value, x.path, new)
        memory.version += 1
        x.seen = memory.version
    x.own_value = new


def _written(trace: Trace, whole: Value, path: Path, new: Value) -> Value:
    """`whole` with `new` where `path` leads."""
    if not path:
        return new
    (op, attrs), rest = path[0], path[1:]
    if rest:
        new = _written(trace, trace.emit_node(op, whole, **attrs).output, rest, new)
    if op is movement.reshape:
        return trace.emit_node(op, new, shape=whole.type.shape).output
    if op is movement.transpose:
        return trace.emit_node(op, new, perm=tuple(int(i) for i in np.argsort(attrs["perm"]))).output
    if op is movement.reverse:
        return trace.emit_node(op, new, **attrs).output
    return _with_slice(trace, whole, new, list(zip(attrs["start"], attrs["stop"], attrs["step"])), 0)


def _with_slice(trace: Trace, whole: Value, new: Value, window: Sequence[tuple[int, int, int]], axis: int) -> Value:
    """`whole` with `new` in a window of the axes from `axis` on."""
    shape = whole.type.shape
    while axis < len(shape) and window[axis] == (0, shape[axis], 1):
        axis += 1
    if axis == len(shape):
        return new
    if new.type.size == 0:
        return whole
    length, (start, stop, step) = shape[axis], window[axis]

    def part(start: int, stop: int, step: int = 1) -> Value:
        bounds = [(start, stop, step) if i == axis else (0, n, 1) for i, n in enumerate(shape)]
        attrs = dict(zip(("start", "stop", "step"), zip(*bounds)))
        return trace.emit_node(movement.slice_, whole, **attrs).output

    inner = _with_slice(trace, part(start, stop, step), new, window, axis + 1)
    if step == 1:
        parts = [part(0, start)] if start else []
        parts += [inner, *([part(stop, length)] if stop < length else [])]
        return trace.emit_node(movement.concatenate, *parts, axis=axis).output if len(parts) > 1 else inner
    places = np.arange(length)
    places[start:stop:step] = length + np.arange(inner.type.shape[axis])
    both = trace.emit_node(movement.concatenate, whole, inner, axis=axis).output
    return trace.emit_node(indexing.gather, both, trace.constant(places).value, axis=axis, batch=0).output
