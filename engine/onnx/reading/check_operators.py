"""Whether all of a program can be computed, found before anything runs: one message names all that is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...tracing.errors import located
from ..errors import OnnxError
from .operator import find_operator
from .program import OnnxNode, Program, nodes_of
from .schema_functions import has_schema_function


def check_operators(program: Program, name: str) -> None:
    """Raise `OnnxError` that lists the operators, and the attributes of operators, that are not supported."""
    problems: dict[str, list[str]] = {}
    for node, opsets in _all_nodes(program):
        problem = _problem(node, opsets, program)
        if problem:
            problems.setdefault(problem, []).append(node.name or node.outputs[0])
    if problems:
        listed = [f"{problem}, in {_some(nodes)}" for problem, nodes in problems.items()]
        raise OnnxError(located(f"{name} cannot be computed: " + "; ".join(listed)))


def _all_nodes(program: Program) -> Iterator[tuple[OnnxNode, Mapping[str, int]]]:
    for node in nodes_of(program.body.nodes):
        yield node, program.opsets
    for function in program.functions.values():
        for node in nodes_of(function.nodes):
            yield node, function.opsets


def _problem(node: OnnxNode, opsets: Mapping[str, int], program: Program) -> str:
    if (node.domain, node.operator, node.overload) in program.functions:
        return ""
    shown = f"{node.domain}.{node.operator}" if node.domain else node.operator
    if node.domain not in opsets:
        return f"{shown} is of the domain {node.domain!r}, for which the model imports no opset"
    found = find_operator(node.operator, opsets[node.domain]) if not node.domain else None
    if found is None:
        if has_schema_function(node, opsets[node.domain]):
            return ""
        what = "a custom operator" if node.domain else "an operator"
        return f"{shown} is {what} that is not supported"
    unknown = sorted(set(node.attributes) - found.attributes)
    return f"{shown} has the attribute {unknown[0]}, which is not supported" if unknown else ""


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
