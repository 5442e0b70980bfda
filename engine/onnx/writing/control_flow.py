"""Loops and branches, whose graphs read names of the graphs around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir.ops import control_flow
from ....ir.ops.custom_vjp import custom_vjp
from ....ir.ops.scan import scan
from ....ir.types import BOOL, INT64
from .declarations import declared
from .emitter import Emitter, Name, emits, helper
from .symbolic_graph import SymbolicGraph, SymbolicNode, SymbolicValue


def _graph(e: Emitter, graph: SymbolicGraph, known: Sequence[str], inputs: Sequence[Any] = (), passed: str = "") -> Any:
    """A graph whose first inputs have the names `known`, of the graph around or of `inputs`; the others follow these.

    A name that is `passed` is returned first, as it came.
    """
    inner = Emitter(e.file)
    inner.names.update(zip(graph.inputs, known))
    own = graph.inputs[len(known) :]
    names = [e.file.fresh("step_input") for _ in own]
    inner.names.update(zip(own, names))
    inner.write(graph)
    # What a graph returns is made in it, and once for each output.
    outputs = [_flag(inner.node("Identity", passed))] if passed else []
    outputs += [declared(inner.node("Identity", inner.name(value)), value) for value in graph.outputs]
    given = [*inputs, *(declared(name, value) for name, value in zip(names, own))]
    return helper().make_graph(inner.nodes, e.file.fresh("body"), given, outputs)


def _flag(name: str) -> Any:
    return declared(name, SymbolicValue((), BOOL))


def _loop_inputs(e: Emitter) -> tuple[list[Any], str]:
    """What the graph of a `Loop` takes before its carries, and the name of the condition."""
    flag = e.file.fresh("goes_on")
    return [declared(e.file.fresh("iteration"), SymbolicValue((), INT64)), _flag(flag)], flag


@emits(scan)
def scanned(e: Emitter, node: SymbolicNode) -> list[str]:
    consts, carries = node.attrs["consts"], node.attrs["carries"]
    body: SymbolicGraph = node.attrs["body"]
    sequences = len(node.inputs) - consts - carries
    if not sequences:
        return _counted(e, node)
    graph = _graph(e, body, _names(e, node.inputs[:consts]))
    direction = int(node.attrs["reverse"])
    return e.several(
        "Scan",
        [e.name(value) for value in node.inputs[consts:]],
        len(node.outputs),
        body=graph,
        num_scan_inputs=sequences,
        scan_input_directions=[direction] * sequences,
        scan_output_directions=[direction] * (len(node.outputs) - carries),
    )


def _counted(e: Emitter, node: SymbolicNode) -> list[str]:
    """A loop that reads no sequence: so many iterations."""
    consts, carries = node.attrs["consts"], node.attrs["carries"]
    if node.attrs["reverse"] and len(node.outputs) > carries:
        raise e.refusal("a loop without a sequence gives its rows from the last to the first")
    inputs, flag = _loop_inputs(e)
    graph = _graph(e, node.attrs["body"], _names(e, node.inputs[:consts]), inputs, flag)
    count = e.node("Squeeze", e.lengths([node.attrs["length"]]), e.numbers(0))
    return e.several("Loop", [count, "", *_names(e, node.inputs[consts:])], len(node.outputs), body=graph)


@emits(control_flow.while_loop)
def while_loop(e: Emitter, node: SymbolicNode) -> list[str]:
    """The flag is a carry of ours; ONNX has it beside the carries."""
    consts = node.attrs["consts"]
    inputs, flag = _loop_inputs(e)
    graph = _graph(e, node.attrs["body"], [*_names(e, node.inputs[:consts]), flag], inputs)
    begins, *carries = _names(e, node.inputs[consts:])
    found = e.several("Loop", ["", begins, *carries], len(carries), body=graph)
    return [e.constant(False, BOOL), *found]


def _names(e: Emitter, values: Sequence[SymbolicValue]) -> list[str]:
    return [e.name(value) for value in values]


@emits(control_flow.cond)
def cond(e: Emitter, node: SymbolicNode) -> list[str]:
    flag, *known = node.inputs
    then, other = (_graph(e, node.attrs[name], _names(e, known)) for name in ("true", "false"))
    return e.several("If", [e.name(flag)], len(node.outputs), then_branch=then, else_branch=other)


@emits(custom_vjp)
def custom(e: Emitter, node: SymbolicNode) -> list[Name]:
    """The values as they are."""
    return [e.name(value) for value in node.inputs[: node.attrs["values"]]]
