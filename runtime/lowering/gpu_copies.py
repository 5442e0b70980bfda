"""Copies on a GPU, a thread an element: whole arrays, concatenation, look-ups, padding, slices where a value says."""

from __future__ import annotations

import math

import numpy as np

from ...ir import SHORT_NAMES, ArrayType, Node, Value
from ...passes.kernels.accumulators import accumulated_input
from ...passes.memory.plan import Plan
from .data_movement import moved
from .gpu_text import GpuText
from .launch import Address, Launch, Pointer, Traps

THREADS = 256
"""Threads of a block of kernels that make each element by itself."""
_ELEMENTS = 4
"""Elements of a tile for each of these threads."""


class ElementText(GpuText):
    """A kernel that makes element `e` of `count`, for each of them; its lines are those of one element."""

    def __init__(self, count: int) -> None:
        super().__init__(-(-count // (THREADS * _ELEMENTS)), THREADS)
        step = THREADS * _ELEMENTS
        self.number("count", count)
        self.head.append(f"    last = (tile + 1) * {step} if (tile + 1) * {step} < count else count")
        self.lines.append(f"    for e in range(tile * {step} + thread_index(), last, {THREADS}):")

    def element(self, *lines: str) -> None:
        """Appends lines of one element."""
        self.lines += [f"        {line}" for line in lines]


def copy_array(source: Address, target: Address, type: ArrayType) -> Launch:
    """A copy of all elements of an array of this type."""
    text = ElementText(type.size)
    _arrays(text, moved(type.dtype), source, target)
    text.element("o[e] = x[e]")
    return text.launch()


def lower_move(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """A copy of what stays in one memory; a transfer has no launch."""
    return [copy_array(Pointer.to(plan.views[node.inputs[0]]), Pointer(node.output), node.output.type)]


def begin_accumulators(node: Node, plan: Plan) -> list[Launch]:
    """Copies of the inputs that a unit adds to, to where it does so, unless that is their place."""
    return [
        copy_array(Pointer.to(plan.views[node.inputs[added]]), Pointer(value), value.type)
        for o, value in enumerate(node.outputs)
        if (added := accumulated_input(node, o)) is not None and o not in plan.in_place.get(node, {})
    ]


def _arrays(text: GpuText, short: str, source: Address, target: Address) -> None:
    text.head += [f"    {name} = array_{short}({text.word(at)}, 0)" for name, at in (("x", source), ("o", target))]


def lower_concatenate(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """Copies of all inputs to their rows of the result, which run concurrently."""
    shape, axis, dtype = node.output.type.shape, node.attrs["axis"], node.output.type.dtype
    inner = math.prod(shape[axis + 1 :])
    launches: list[Launch] = []
    done = 0
    for value in node.inputs:
        length = value.type.shape[axis]
        text = ElementText(value.type.size)
        target = Pointer(node.output, done * inner * dtype.itemsize)
        _arrays(text, moved(dtype), Pointer.to(plan.views[value]), target)
        n, stride = text.number("n", length * inner), text.number("stride", shape[axis] * inner)
        text.element(f"o[e // {n} * {stride} + e % {n}] = x[e]")
        launches.append(text.launch(concurrent=bool(launches)))
        done += length
    return launches


def lower_gather(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the elements of the result; an index out of range is a trap."""
    x, indices = (v.type for v in node.inputs)
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    text = ElementText(node.output.type.size)
    _arrays(text, moved(x.dtype), *(Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)))
    text.array("at", node.inputs[1], Pointer.to(plan.views[node.inputs[1]]))
    text.number("outer", math.prod(x.shape[batch:axis]))
    text.number("length", x.shape[axis])
    text.number("inner", math.prod(x.shape[axis + 1 :]))
    text.number("found", math.prod(indices.shape[batch:]))
    text.number("code", traps.code(node, x.shape[axis]))
    text.element(
        "r = e // inner",
        "block = r // found",
        "place = i64(at[block // outer * found + (r - block * found)])",
        "if place < 0:",
        "    place = place + length",
        "if (place < 0) | (place >= length):",
        "    trap(code)",
        "else:",
        "    o[e] = x[(block * length + place) * inner + (e - r * inner)]",
    )
    return [text.launch()]


def lower_pad(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the elements of the result: the input's where there is one, else the filling."""
    x, result, attrs = node.inputs[0].type, node.output.type, node.attrs
    short = moved(result.dtype)
    text = ElementText(result.size)
    _arrays(text, short, *(Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)))
    filling = np.array(attrs["value"]).astype(result.dtype)
    text.number("filling", int(filling.view({1: "uint8", 2: "uint16", 4: "int32", 8: "int64"}[result.dtype.itemsize])))
    text.element("q, at, inside = e, i64(0), True")
    stride = 1
    for axis in reversed(range(result.ndim)):
        length, low, apart = text.stride(result.shape[axis]), attrs["low"][axis], attrs["interior"][axis] + 1
        text.element(
            f"i = q % {length} - {text.stride(low)}",
            f"q = q // {length}",
            f"inside = inside & (i >= 0) & (i < {text.stride(x.shape[axis] * apart)})",
            f"inside = inside & (i % {text.stride(apart)} == 0)",
            f"at = at + i // {text.stride(apart)} * {text.stride(stride)}",
        )
        stride *= x.shape[axis]
    text.element("if inside:", "    o[e] = x[at]", "else:", f"    o[e] = {short}(filling)")
    return [text.launch()]


def lower_dynamic_slice(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the elements of the part."""
    operands = (node.inputs[0], node.inputs[1], node.output)
    return [_slice(node, plan, operands, "o[e] = x[whole]")]


def lower_dynamic_update_slice(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the elements of the update, behind a copy of the array where that stays as it is."""
    operands = (node.output, node.inputs[1], node.inputs[2])
    return [*begin_accumulators(node, plan), _slice(node, plan, operands, "x[whole] = o[e]")]


def _slice(node: Node, plan: Plan, operands: tuple[Value, Value, Value], move: str) -> Launch:
    """A launch that moves each element `e` of a part from or to its place `whole`; operands are the whole array, the
    starts, and the part.
    """
    x, axis, batch = node.inputs[0].type, node.attrs["axis"], node.attrs["batch"]
    whole, start, part = operands
    text = ElementText(part.type.size)
    _arrays(text, moved(x.dtype), *(Pointer.to(plan.views[v]) for v in (whole, part)))
    text.head.append(f"    at = array_{SHORT_NAMES[start.type.dtype]}({text.word(Pointer.to(plan.views[start]))}, 0)")
    text.number("outer", math.prod(x.shape[batch:axis]))
    text.number("length", x.shape[axis])
    text.number("inner", math.prod(x.shape[axis + 1 :]))
    text.number("size", part.type.shape[axis])
    text.element(
        "r = e // (size * inner)",
        "start = i64(at[r // outer])",
        "start = start if start < length - size else length - size",
        "start = start if start > 0 else i64(0)",
        "whole = (r * length + start) * inner + (e - r * size * inner)",
        move,
    )
    return text.launch()
