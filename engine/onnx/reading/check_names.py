"""Whether every name that a program reads is made before it is read, and no function is a part of itself."""

from __future__ import annotations

from collections.abc import Sequence

from ...tracing.errors import located
from ..errors import OnnxError
from .program import Body, FunctionKey, OnnxNode, Program, nodes_of


def check_names(program: Program, file: str) -> None:
    """Raise `OnnxError` that names the node, and what it reads, where nothing before it makes that; or the function
    that calls itself.
    """
    done: set[FunctionKey] = set()
    for key in program.functions:
        _check_calls(program, key, (), done, file)
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
            raise OnnxError(located(f"{file}: {what} {name!r}, which nothing before it makes"))


def _check_calls(
    program: Program, key: FunctionKey, callers: tuple[FunctionKey, ...], done: set[FunctionKey], file: str
) -> None:
    """See that a function, which `callers` are on the way to, does not call one of them."""
    if key in callers:
        raise OnnxError(located(f"{file}: the function {key[1]!r} calls itself, which ONNX does not allow"))
    if key in done:
        return
    for node in nodes_of(program.functions[key].nodes):
        called = (node.domain, node.operator, node.overload)
        if called in program.functions:
            _check_calls(program, called, (*callers, key), done, file)
    done.add(key)
