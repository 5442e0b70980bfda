"""Whether every name that a program reads is made before it is read."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OnnxError
from .program import Body, OnnxNode, Program


def check_names(program: Program, file: str) -> None:
    """Raise `OnnxError` that names the node, and what it reads, where nothing before it makes that."""
    _check_body(program.body, frozenset(), file)
    for (_, name, _), function in program.functions.items():
        made = _check_nodes(function.nodes, frozenset(function.inputs), file)
        _check_read(function.outputs, made, f"function {name} returns", file)


def _check_body(body: Body, around: frozenset[str], file: str) -> None:
    own = {*body.initializers, *(each.name for each in body.inputs)}
    made = _check_nodes(body.nodes, around | own, file)
    _check_read([each.name for each in body.outputs], made, f"graph {body.name!r} returns", file)


def _check_nodes(nodes: Sequence[OnnxNode], known: frozenset[str], file: str) -> set[str]:
    made = set(known)
    for node in nodes:
        _check_read(node.inputs, made, f"{node.label} reads", file)
        for body in node.bodies:
            _check_body(body, frozenset(made), file)
        made.update(node.outputs)
    return made


def _check_read(names: Sequence[str], made: set[str] | frozenset[str], what: str, file: str) -> None:
    for name in names:
        if name and name not in made:
            raise OnnxError(f"{file}: {what} {name!r}, which nothing before it makes")
