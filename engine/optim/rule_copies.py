"""The optimizer's updates of all parameters: its rule is traced once for each type of parameter, and copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...ir import Node, Value
from ...ir.ops.creation import random_bits
from ..tracing.tracer import Trace, Tracer, current_trace, scope
from .update_inputs import Scalars

UpdateParameter = Callable[[Any, Any, Mapping[str, Any], Scalars], tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class _Rule:
    """What the update of a first parameter traced: the nodes, what they read, and the new values."""

    nodes: tuple[Node, ...]
    read: tuple[Value, ...]
    new: tuple[Value, ...]
    path: str


class RuleCopies:
    """Applies one rule to parameters, one by one. A model has many parameters of few types, and to trace a rule takes
    ten times as long as to copy its nodes. The scalars must be the same for all parameters of a dtype.
    """

    def __init__(self, rule: UpdateParameter) -> None:
        self._rule = rule
        self._rules: dict[Any, _Rule] = {}

    def __call__(
        self, path: str, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        """The new parameter and its new state, under the `path` of its module."""
        trace = current_trace()
        if trace is None:
            return self._rule(parameter, gradient, state, scalars)
        values = [trace.lift(v) for v in (parameter, gradient, *state.values())]
        key = tuple((v.type.shape, v.type.dtype) for v in values)
        rule = self._rules.get(key)
        if rule is not None:
            first, *rest = (Tracer(trace, v) for v in _copied(trace, rule, values, path))
            return first, dict(zip(state, rest))
        nodes = trace.builder.nodes
        begin = len(nodes)
        with scope(path):
            new, updated = self._rule(parameter, gradient, state, scalars)
        made = tuple(nodes[begin:])
        results = [new, *(updated[name] for name in state)]
        shared = {trace.lift(v) for v in scalars.values() if isinstance(v, Tracer)}
        if len(set(values)) == len(values) and not any(map(_draws, made)) and _reads_only(made, {*values, *shared}):
            self._rules[key] = _Rule(made, tuple(values), tuple(map(trace.lift, results)), path)
        return new, updated


def _copied(trace: Trace, rule: _Rule, values: list[Value], path: str) -> list[Value]:
    builder = trace.builder
    mapping = dict(zip(rule.read, values))
    origins: dict[Any, Any] = {}
    for node in rule.nodes:
        origin = origins.get(node.origin)
        if origin is None:
            inside = node.origin.scope.removeprefix(rule.path)
            origin = origins[node.origin] = replace(node.origin, scope=path + inside)
        copied = builder.copy(node, [mapping.get(v, v) for v in node.inputs], origin)
        mapping.update(zip(node.outputs, copied.outputs))
    return [mapping.get(v, v) for v in rule.new]


def _reads_only(nodes: tuple[Node, ...], known: set[Value]) -> bool:
    """Whether nodes read nothing else. A rule that has looked up how its gradient is made reads of that too."""
    known = known.union(v for node in nodes for v in node.outputs)
    return all(v in known for node in nodes for v in node.inputs)


def _draws(node: Node) -> bool:
    """Whether a node is random, and so not the same for another parameter, or a loop, which may be."""
    return node.op is random_bits or node.op.body != "none"
