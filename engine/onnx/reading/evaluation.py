"""Computing a model's nodes one after the other, on traced arrays and on arrays that are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...tracing.tracer import Tracer, located, scope
from ..errors import OnnxError
from .operator import Call, find_operator
from .program import Body, Function, OnnxNode, Program, Reference
from .schema_functions import schema_function


@dataclass(eq=False)
class Frame:
    """The values of the names of a graph, inside those of the graph around it."""

    opsets: Mapping[str, int]
    values: dict[str, Any] = field(default_factory=dict)
    outer: Frame | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Of a function that runs, the attributes of its call."""

    def value(self, name: str) -> Any:
        """The value of a name, here or in a graph around; `None` for ""."""
        if not name:
            return None
        frame: Frame = self
        while name not in frame.values:
            assert frame.outer is not None, name  # `check_names` has seen that there is one
            frame = frame.outer
        return frame.values[name]


class Evaluation:
    """One run of a program. `stored` has the values of initializers, `assign(name, value)` makes one a new value."""

    def __init__(self, program: Program, stored: Mapping[str, Any], training: bool, assign: Any) -> None:
        self.program = program
        self.stored = stored
        self.training = training
        self.assign = assign

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs of the model's graph."""
        body = self.program.body
        frame = Frame(self.program.opsets, {**self.stored, **inputs})
        self._run_nodes(body.nodes, frame)
        return [frame.value(each.name) for each in body.outputs]

    def run_body(self, body: Body, inputs: Sequence[Any], around: Frame) -> list[Any]:
        """The outputs of a graph among the attributes of a node."""
        values: dict[str, Any] = {name: self.stored.get(name, array) for name, array in body.initializers.items()}
        values.update(zip((each.name for each in body.inputs), inputs, strict=True))
        frame = Frame(around.opsets, values, around, around.attributes)
        self._run_nodes(body.nodes, frame)
        return [frame.value(each.name) for each in body.outputs]

    def _run_nodes(self, nodes: Iterable[OnnxNode], frame: Frame) -> None:
        for node in nodes:
            inputs = [frame.value(name) for name in node.inputs]
            with scope(scope_name(node)):
                try:
                    outputs = self._outputs(node, inputs, frame)
                except Exception as error:
                    if not getattr(error, "__notes__", None):
                        error.add_note(f"in the {node.label}")
                    raise
            frame.values.update((name, value) for name, value in zip(node.outputs, outputs) if name)

    def _outputs(self, node: OnnxNode, inputs: list[Any], frame: Frame) -> list[Any]:
        attributes = _resolved(node.attributes, frame)
        own = self.program.functions.get((node.domain, node.operator, node.overload))
        if own is not None:
            return self._run_function(own, inputs, attributes)
        version = frame.opsets.get(node.domain, 1)
        found = find_operator(node.operator, version) if not node.domain else None
        if found is None:
            return self._run_function(schema_function(node, version, inputs, attributes), inputs, attributes)
        call = Call(node, version, frame, self)
        try:
            result = found.function(call, *inputs, **attributes)
        except TypeError as error:
            if "positional argument" in str(error):
                raise OnnxError(
                    located(f"{node.label} has {len(inputs)} inputs, which do not fit the operator")
                ) from None
            raise
        return [_array(each) for each in (result if isinstance(result, (tuple, list)) else (result,))]

    def _run_function(self, function: Function, inputs: list[Any], attributes: Mapping[str, Any]) -> list[Any]:
        values = dict(zip(function.inputs, [*inputs, *[None] * len(function.inputs)]))
        frame = Frame(function.opsets, values, attributes={**function.attributes, **attributes})
        self._run_nodes(function.nodes, frame)
        # An output that the caller does not ask for may be left out.
        return [frame.values.get(name) for name in function.outputs]


def _array(value: Any) -> Any:
    return value if value is None or isinstance(value, Tracer) else np.asarray(value)


def _resolved(attributes: Mapping[str, Any], frame: Frame) -> dict[str, Any]:
    """Attributes with those of the function around in place of references to them; one that it has not is left out."""
    result: dict[str, Any] = {}
    for name, value in attributes.items():
        if not isinstance(value, Reference):
            result[name] = value
        elif value.name in frame.attributes:
            result[name] = frame.attributes[value.name]
    return result


def scope_name(node: OnnxNode) -> str:
    """The path under which reports have what a node computes: its name, with dots for slashes."""
    name = node.name or next((name for name in node.outputs if name), "") or node.operator
    return re.sub(r"[^\w.\-]", "_", name.strip("/").replace("/", ".")).strip(".") or node.operator
