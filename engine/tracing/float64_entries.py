"""Where float64 enters a model of float32 parameters, by NumPy's rules and mostly unmeant; and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...ir import DType, Graph, Node, Value, is_float
from ...passes.graph.scan import Scan

_FLOAT64 = np.dtype("float64")
_MOVES = frozenset({"reshape", "transpose", "broadcast", "slice", "reverse", "gather"})
_COPIED_NOWHERE = frozenset({"cast", "reshape", "transpose", "broadcast"})
_WORTH_TELLING = 1024
"""Bytes that float64 costs beside the loss (in a metric, say) before it is told."""

Why = Literal["number", "array", "integers", "choice", "asked"]

_CURES: Mapping[Why, str] = {
    "number": "a NumPy float64 number (np.sqrt of a number gives one), or an array of one number (np.zeros, np.ones), "
    "makes float64 of what it meets; write float(...) or math.sqrt(...), because a Python number takes the dtype of "
    "the array, and dtype='float32' where an array is made",
    "array": "a float64 array (np.linspace, np.ones and np.array make such) makes float64 of what it meets; write "
    ".astype('float32'), or dtype='float32' where it is made",
    "integers": "integers beside floats, divided or averaged, become float64; write .astype('float32') of them first",
    "choice": "a choice between Python numbers is float64; write np.float32(...) of them",
    "asked": "float64 is asked for, or known integers (np.arange, np.prod) meet floats; write 'float32', or "
    ".astype('float32') of the integers",
}


@dataclass
class Entry:
    """A line where float64 enters: why, and how many bytes what is computed from it takes more than in float32."""

    line: str
    why: Why
    bytes: int = 0
    leaves: bool = False
    """Whether float64 goes on to another line, or out of the program."""
    in_loss: bool = False
    later: bool = False
    """Whether it may be due to another one alone: what follows the dtype of an array that came before."""

    def message(self) -> str:
        """What to tell the user."""
        return (
            f"float64 enters this float32 model at {self.line}, and what is computed from it takes {self.bytes:,} "
            f"bytes more than in float32: {_CURES[self.why]}"
        )


@dataclass
class _Known:
    """What is known of float64 values: from which entries they come (bits), whether from constants alone, and the dtype
    that they were cast from where nothing was computed yet.
    """

    entries: list[Entry] = field(default_factory=list)
    bits: dict[str, int] = field(default_factory=dict)
    masks: dict[Value, int] = field(default_factory=dict)
    pure: set[Value] = field(default_factory=set)
    raised: dict[Value, DType] = field(default_factory=dict)
    cast_at: dict[Value, str] = field(default_factory=dict)
    lines: dict[int, set[str]] = field(default_factory=dict)


def float64_entries(
    graph: Graph, doubles: Iterable[Value], constants: Iterable[Value], loss: Value | None = None
) -> list[Entry]:
    """The entries worth telling of a traced graph whose inputs that are arrays are not float64.

    `doubles` are constants that are float64 by themselves, `constants` inputs that count as such. Of what the `loss`
    does not depend on only what costs much is told.
    """
    nodes = [node for node in graph.nodes if node.origin.role != "optimizer"]
    if not any(output.type.dtype == _FLOAT64 for node in nodes for output in node.outputs):
        return []
    known = _Known()
    known.pure.update(constants)
    strong = {*doubles, *known.pure}
    _walk(nodes, known, strong)
    behind = _behind(nodes, loss) if loss is not None else set[Value]()
    for value, mask in known.masks.items():
        for bit, entry in enumerate(known.entries, 1):
            if mask >> bit & 1:
                entry.in_loss |= value in behind
                entry.leaves |= value in graph.outputs
    for bit, entry in enumerate(known.entries, 1):
        entry.leaves |= len(known.lines.get(bit, ())) > 1
    told = [e for e in known.entries if e.leaves and (e.in_loss or e.bytes >= _WORTH_TELLING)]
    return [e for e in told if not e.later] or told[:1]


def _behind(nodes: Sequence[Node], loss: Value) -> set[Value]:
    found = {loss}
    for node in reversed(nodes):
        if not found.isdisjoint(node.outputs):
            found.update(node.inputs)
    return found


def _walk(nodes: Sequence[Node], known: _Known, strong: set[Value]) -> None:
    for node in nodes:
        if node.op.is_scan:
            _walk_loop(node, known, strong)
        elif any(output.type.dtype == _FLOAT64 for output in node.outputs):
            _see(node, known, strong)


def _see(node: Node, known: _Known, strong: set[Value]) -> None:
    wide = [value for value in node.inputs if value.type.dtype == _FLOAT64]
    name = node.op.name
    if not node.inputs:
        known.pure.update(node.outputs)
        return
    if name == "cast":
        known.raised[node.output] = node.inputs[0].type.dtype
        known.cast_at[node.output] = node.origin.source
        return
    if len(wide) == 1 and name in _MOVES:
        for known_of in (known.pure, strong):
            if wide[0] in known_of:
                known_of.add(node.output)
        if wide[0] in known.raised:
            known.raised[node.output] = known.raised[wide[0]]
            known.cast_at[node.output] = known.cast_at.get(wide[0], node.origin.source)
        if wide[0] in known.masks:
            _mark(node, known.masks[wide[0]], known)
        return
    mask = 0
    for value in wide:
        mask |= known.masks.get(value, 0)
    if node.origin.role != "forward":
        _mark(node, mask or (1 << len(known.entries) + 1) - 2, known)
        return
    if not mask and all(value in known.pure for value in node.inputs):
        known.pure.update(node.outputs)
        if any(value in strong for value in node.inputs):
            strong.update(node.outputs)
        return
    why = _why(wide, mask, known, strong)
    if why is not None:
        casts = [known.cast_at[value] for value in wide if value in known.cast_at]
        line = casts[0] if casts and why not in ("number", "array") else node.origin.source
        if line not in known.bits:
            later = bool(known.entries) and why not in ("number", "array")
            known.entries.append(Entry(line, why, later=later))
            known.bits[line] = len(known.entries)
        mask |= 1 << known.bits[line]
    _mark(node, mask, known)


def _why(wide: Sequence[Value], mask: int, known: _Known, strong: set[Value]) -> Why | None:
    """Why a node whose inputs are not all constants gives float64 where without it there would be float32."""
    given = [value for value in wide if value in strong]
    raised = [known.raised[value] for value in wide if value in known.raised]
    if given:
        return "number" if all(value.type.size == 1 or _one_number(value) for value in given) else "array"
    if mask:
        # Integers of 32 bits and more make float64 of float32 too.
        return "integers" if any(d.kind == "i" for d in raised) else None
    if any(not is_float(d) for d in raised):
        return "integers"
    return "asked" if raised else "choice"


def _one_number(value: Value) -> bool:
    while value.node is not None and value.node.op.name in _MOVES:
        value = value.node.inputs[0]
    return value.type.size == 1 or (value.node is not None and value.node.op.name == "full")


def _mark(node: Node, mask: int, known: _Known) -> None:
    for output in node.outputs:
        if output.type.dtype == _FLOAT64 and mask:
            known.masks[output] = mask
            for bit in range(1, len(known.entries) + 1):
                if mask >> bit & 1:
                    if node.origin.role == "forward":
                        known.lines.setdefault(bit, set()).add(node.origin.source)
                    if node.op.name not in _COPIED_NOWHERE:
                        known.entries[bit - 1].bytes += output.type.nbytes // 2


def _walk_loop(node: Node, known: _Known, strong: set[Value]) -> None:
    """The body of a loop reads what the node reads, and its carries come round."""
    scan = Scan(node)
    body = scan.body
    for inner, outer in zip(body.inputs, node.inputs):
        for of in (known.pure, strong):
            if outer in of:
                of.add(inner)
        if outer in known.masks:
            known.masks[inner] = known.masks[outer]
        elif outer.type.dtype == _FLOAT64 and outer not in known.pure:
            known.raised[inner] = known.raised.get(outer, _FLOAT64)
    _walk(body.nodes, known, strong)
    carried = 0
    for result in scan.new_carries:
        carried |= known.masks.get(result, 0)
    for place, (output, result) in enumerate(zip(node.outputs, body.outputs)):
        if output.type.dtype != _FLOAT64:
            continue
        mask = known.masks.get(result, 0)
        if place < scan.carry_count:
            mask |= known.masks.get(scan.body_carries[place], 0)
        elif result in known.pure:
            mask |= carried  # a constant in the first step alone
        if mask:
            _mark_output(node, output, mask, known)


def _mark_output(node: Node, output: Value, mask: int, known: _Known) -> None:
    known.masks[output] = mask
    for bit in range(1, len(known.entries) + 1):
        if mask >> bit & 1:
            known.entries[bit - 1].bytes += output.type.nbytes // 2
            known.lines.setdefault(bit, set()).add(node.origin.source)
