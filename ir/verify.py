"""Is a graph well formed? The cheap level runs between passes always, in every test."""

from __future__ import annotations

from typing import cast

import numpy as np

from .graph import ROLES, Graph, Node, Value
from .op import OPS, TypeRuleError
from .printer import name_values, print_node
from .types import SHORT_NAMES, Array, ArrayType

_WINDOW = 3


class VerificationError(AssertionError):
    """A graph breaks a rule of the IR; the message shows the node between its neighbours."""


def verify(graph: Graph, after: str = "") -> None:
    """Check every rule of the IR.

    Values are computed before use and once; ops are registered; attributes can be printed; output types are what the
    op's rule infers; aliases pair an input and an output of one type. `after` names the pass that made the graph, for
    the message.
    """
    known: set[Value] = set()
    for value in graph.inputs:
        if value.node is not None or value in known:
            raise _error(graph, None, f"input {value!r} is no fresh input", after)
        if not _is_type(value.type):
            raise _error(graph, None, f"{value.type!r} of input {value!r} is no type", after)
        known.add(value)
    for position, node in enumerate(graph.nodes):
        problem = _node_problem(node, known)
        if problem:
            raise _error(graph, position, problem, after)
        known.update(node.outputs)
    for i, value in enumerate(graph.outputs):
        if value not in known:
            raise _error(graph, None, f"output {i} is not computed by this graph", after)
    if len(graph.output_names) != len(graph.outputs):
        raise _error(graph, None, "there are not as many output names as outputs", after)
    for i, j in graph.aliases.items():
        if not (0 <= i < len(graph.outputs) and 0 <= j < len(graph.inputs)):
            raise _error(graph, None, f"there is no output {i} or no input {j} to pair", after)
    if len(set(graph.aliases.values())) != len(graph.aliases):
        raise _error(graph, None, "two outputs are written to one input", after)
    for i, j in graph.aliases.items():
        if graph.outputs[i].type != graph.inputs[j].type:
            raise _error(
                graph,
                None,
                f"output {i} of type {graph.outputs[i].type} is written to input {j} of {graph.inputs[j].type}",
                after,
            )


def _node_problem(node: Node, known: set[Value]) -> str:
    if node.op.kernel is None and OPS.get(node.op.name) is not node.op:
        return f"op {node.op.name!r} is not registered"
    for i, value in enumerate(node.inputs):
        if value not in known:
            return f"input {i} is used before it is computed"
    if node.origin.role not in ROLES:
        return f"role {node.origin.role!r} is none of {', '.join(ROLES)}"
    for value in node.outputs:
        if value.node is not node or value in known:
            return "an output does not belong to this node alone"
        if not _is_type(value.type):
            return f"{value.type!r} is no type"
    for key, value in node.attrs.items():
        if not _is_attr(value):
            return f"attribute {key}={value!r} has no text"
    try:
        inferred = node.op.infer(*(v.type for v in node.inputs), **node.attrs)
    except TypeRuleError as error:
        return str(error)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        return f"inputs or attributes do not fit the op: {error}"
    expected = (inferred,) if isinstance(inferred, ArrayType) else inferred
    actual = tuple(v.type for v in node.outputs)
    if actual != expected:
        return f"type is {', '.join(map(str, actual))}, the op gives {', '.join(map(str, expected))}"
    for value in node.attrs.values():
        bodies = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
        for body in bodies:
            if isinstance(body, Graph):
                verify(body)
    return ""


def _is_type(type: ArrayType) -> bool:
    return type.dtype in SHORT_NAMES and all(n >= 0 for n in type.shape)


def _is_attr(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_attr(item) for item in cast("tuple[object, ...]", value))
    if isinstance(value, np.dtype):
        return value in SHORT_NAMES
    if isinstance(value, np.ndarray):
        return cast(Array, value).dtype in SHORT_NAMES
    return value is None or isinstance(value, (bool, int, float, complex, str, ArrayType, Graph))


def _error(graph: Graph, position: int | None, problem: str, after: str) -> VerificationError:
    where = f" after {after}" if after else ""
    if position is None:
        return VerificationError(f"bad graph{where}: {problem}")
    names = name_values(graph)
    low, high = max(0, position - _WINDOW), min(len(graph.nodes), position + _WINDOW + 1)
    lines = ["  ..."] if low else []
    for i in range(low, high):
        mark = "> " if i == position else "  "
        node = graph.nodes[i]
        printable = {value: names.get(value, "%?") for value in (*node.inputs, *node.outputs)}
        # Only what stands up to the bad node is known to be printable.
        lines.append(mark + (print_node(node, printable) if all(map(_is_attr, node.attrs.values())) else repr(node)))
    if high < len(graph.nodes):
        lines.append("  ...")
    return VerificationError(f"bad graph{where}: {problem}\n" + "\n".join(lines))
