"""The layers of a step that a diagnosis watches: calls of modules, and activation functions between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node, Op, Value, is_float
from ...ir.ops import elementwise as ew
from ...ir.ops import movement
from ..nn import Parameter
from ..nn.calls import ModuleCall
from ..tracing.tracer import Tracer


@dataclass(frozen=True)
class Activation:
    """An activation function. It is saturated near a bound, where its derivative is 6% of the largest at most."""

    name: str
    low: float | None = None
    high: float | None = None
    is_rectifier: bool = False
    """Whether it is 0 for a half of the numbers."""


ACTIVATIONS: Mapping[Op, Activation] = {
    ew.relu: Activation("relu", is_rectifier=True),
    ew.tanh: Activation("tanh", -1.0, 1.0),
    ew.sigmoid: Activation("sigmoid", 0.0, 1.0),
}

NEAR = 0.015
"""The part of the range between the bounds that is near one of them: |tanh| above 0.97, a sigmoid below 0.015."""


@dataclass(frozen=True, eq=False)
class Watched:
    """One layer: what it gives, and its own parameters."""

    path: str
    kind: str
    """The class of the module, or the name of the activation function."""
    call: ModuleCall
    output: Tracer
    activation: Activation | None
    parameters: tuple[str, ...] = ()
    """Names of the parameters of the module itself, but for those that a call before has."""
    part: int = 0
    """Its number among the arrays that the call gives."""


def watched_layers(calls: Sequence[ModuleCall], nodes: Sequence[Node], names: Mapping[Parameter, str]) -> list[Watched]:
    """The layers in the order in which they are computed, each value once; `names` are those of all parameters.

    A module that gives what a module inside gave, or the same in another shape, is no layer of its own. An activation
    function is one where it stands between two modules: `relu` in `self.fc2(nn.relu(self.fc1(x)))`.
    """
    found: dict[Value, Watched] = {}
    left = dict(names)
    for call in calls:
        for number, output in enumerate(call.outputs):
            base = _same_elements(output.value)
            if base not in found and is_float(output.dtype) and output.size:
                found[base] = _of_call(call, number, left)
    for call in calls:
        for given in call.inputs:
            base = _same_elements(given.value)
            activation = _activation(base)
            if base not in found and activation is not None and base.node is not None and base.type.size:
                output = Tracer(given.owner, base)
                scope = base.node.origin.scope
                inside = ModuleCall(scope, None, (), (output,))
                found[base] = Watched(scope, activation.name, inside, output, activation)
    places = {value: i for i, node in enumerate(nodes) for value in node.outputs}
    return sorted(found.values(), key=lambda layer: places.get(layer.output.value, -1))


def _of_call(call: ModuleCall, number: int, left: dict[Parameter, str]) -> Watched:
    """The layer of one output of a call, which takes its own parameters from those that are `left`."""
    output = call.outputs[number]
    own = [] if call.module is None else [p for name, p in call.module.stored_parameters() if "." not in name]
    names = tuple(left.pop(p) for p in own if p in left)
    return Watched(call.path, type(call.module).__name__, call, output, _activation(output.value), names, number)


_SAME = (movement.reshape, movement.transpose, ew.copy, ew.save)


def _same_elements(value: Value) -> Value:
    """What `value` shows in another shape or order."""
    while value.node is not None and value.node.op in _SAME:
        value = value.node.inputs[0]
    return value


def _activation(value: Value) -> Activation | None:
    node = _same_elements(value).node
    return None if node is None else ACTIVATIONS.get(node.op)
