"""What a diagnosis measures of each layer, traced into the step: sums over its activations, signal and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .. import array_api as xp
from ..nn.taps import Tap
from ..tracing.tracer import Tracer, role, scope
from .watched import NEAR, Activation, Watched

_LOOKED_AT = 2**14
"""Elements of an array that are looked at, at least; of one that has more, every k-th row or column."""


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer before the step runs."""

    path: str
    part: int
    """Its number among the arrays that a call of the module gives."""
    kind: str
    shape: tuple[int, ...]
    activation: Activation | None
    parameters: tuple[str, ...]
    weight_shape: tuple[int, ...]
    """The shape of its largest parameter with two axes or more, () where it has none."""
    looked_at: int
    """Elements of its output that are looked at; 0 of what holds parameters and is not called."""
    per_unit: int
    """Of these, those of one unit: of a channel, or of one place in a row."""


@dataclass
class Statistics:
    """What a step measures: the layers, and for each number that it gives its layer and its name.

    Names are `sum`, `squares`, `nonfinite`, `zeros`, `dead` and `saturated` of activations, `signal` of cotangents, and
    `weights`, `updates` and `gradients` of parameters: sums of squares, but for the first and for what is counted.
    """

    layers: list[LayerFacts] = field(default_factory=list)
    names: list[tuple[int, str]] = field(default_factory=list)
    skipped: tuple[str, ...] = ()
    """Modules that cannot be watched, because they are called inside a loop or a `vmap`."""
    sums: list[Any] = field(default_factory=list)
    """The traced numbers, float64 scalars."""

    def add(self, layer: int, name: str, value: Any) -> None:
        """One more number of a layer, by the place of the layer in `layers`."""
        self.names.append((layer, name))
        self.sums.append(value)


class Sums(Protocol):
    """What adds up measurements where the graph is that of one of several `parts` of the batch, and ranks may have
    shards of parameters and of gradients.
    """

    @property
    def parts(self) -> int:
        """How many parts there are."""
        ...

    def of_parts(self, x: Any) -> Any:
        """The sum over all parts of what is measured of one."""
        ...

    def of_parameter(self, x: Any) -> Any:
        """The sum of all elements of what lies as a parameter does."""
        ...

    def of_gradient(self, x: Any) -> Any:
        """The sum of all elements of what lies as a gradient does."""
        ...


class _Alone:
    """Of a whole batch, and of whole parameters."""

    parts = 1

    def of_parts(self, x: Any) -> Any:
        return x

    def of_parameter(self, x: Any) -> Any:
        return xp.sum(x)

    def of_gradient(self, x: Any) -> Any:
        return xp.sum(x)


ALONE: Sums = _Alone()


@dataclass(frozen=True)
class Moved:
    """A parameter of this `shape`, before and after the update, and its gradient, `None` where there is none."""

    shape: tuple[int, ...]
    old: Any
    new: Any
    gradient: Any


def statistics(
    watched: Sequence[Watched],
    taps: Sequence[Tap],
    batch_length: int,
    parameters: Mapping[str, Moved],
    skipped: tuple[str, ...] = (),
    sums: Sums = ALONE,
) -> Statistics:
    """The statistics of the layers `watched`, whose cotangents are in `taps`, and of the parameters by name.

    Sums are over the batch, so that the step still runs in tiles of it, and in float64, because squares of what
    vanishes and of what explodes leave the range of float32.
    """
    result = Statistics(skipped=skipped)
    for number, (layer, tap) in enumerate(zip(watched, taps)):
        with scope(layer.path):
            seen = _every_kth(layer.output, batch_length)
            with role("forward"):
                per_unit = _of_activations(result, number, seen, layer.activation, sums)
            signal = tap.cotangents[layer.part]
            if signal is not None:
                with role("backward"):
                    wide = xp.astype(_every_kth(signal, batch_length), "float64")
                    result.add(number, "signal", sums.of_parts(xp.sum(wide * wide)))
            with role("optimizer"):
                weight = _of_parameters(result, number, [parameters[name] for name in layer.parameters], sums)
        shape = tuple(n * sums.parts if n == batch_length and i == 0 else n for i, n in enumerate(layer.output.shape))
        facts = (layer.path, layer.part, layer.kind, shape, layer.activation, layer.parameters, weight)
        result.layers.append(LayerFacts(*facts, seen.size * sums.parts, per_unit))
    told = {name for layer in watched for name in layer.parameters}
    others: dict[str, list[str]] = {}
    for name in parameters:
        if name not in told:
            others.setdefault(name.rpartition(".")[0], []).append(name)
    for path, names in others.items():
        with scope(path), role("optimizer"):
            weight = _of_parameters(result, len(result.layers), [parameters[name] for name in names], sums)
        result.layers.append(LayerFacts(path, 0, "parameters", (), None, tuple(names), weight, 0, 0))
    return result


def _of_activations(result: Statistics, number: int, seen: Tracer, activation: Activation | None, sums: Sums) -> int:
    wide = xp.astype(seen, "float64")
    result.add(number, "sum", sums.of_parts(xp.sum(wide)))
    result.add(number, "squares", sums.of_parts(xp.sum(wide * wide)))
    result.add(number, "nonfinite", sums.of_parts(_count(~xp.isfinite(wide))))
    per_unit = 0
    if activation is not None and activation.is_rectifier and seen.ndim > 1:
        unit = 1 if seen.ndim > 3 else seen.ndim - 1
        per_unit = sums.parts * (seen.size // seen.shape[unit])
        zeros = sums.of_parts(_count(wide == 0, tuple(axis for axis in range(seen.ndim) if axis != unit)))
        result.add(number, "zeros", xp.sum(zeros))
        result.add(number, "dead", _count(zeros == per_unit))
    else:
        result.add(number, "zeros", sums.of_parts(_count(wide == 0)))
    if activation is not None and activation.low is not None and activation.high is not None:
        margin = NEAR * (activation.high - activation.low)
        near = (wide < activation.low + margin) | (wide > activation.high - margin)
        result.add(number, "saturated", sums.of_parts(_count(near)))
    return per_unit


def _of_parameters(result: Statistics, number: int, parameters: Sequence[Moved], sums: Sums) -> tuple[int, ...]:
    """Measure gradients, and weights with their updates: those of two axes or more, where there are some. The shape of
    the largest of these.
    """
    weight: tuple[int, ...] = ()
    found: dict[str, list[Any]] = {}
    has_matrix = any(len(parameter.shape) > 1 for parameter in parameters)
    for parameter in parameters:
        shape, new = parameter.shape, parameter.new
        if len(shape) > 1 and np.prod(shape) > np.prod(weight or (0,)):
            weight = shape
        moved = new - parameter.old
        # The old value again: a sum of what the update makes anyway runs in its loop, one of the old in a loop of its
        # own.
        before = new - moved
        values = {} if parameter.gradient is None else {"gradients": (parameter.gradient, sums.of_gradient)}
        if len(shape) > 1 or not has_matrix:
            values |= {"weights": (before, sums.of_parameter), "updates": (moved, sums.of_parameter)}
        for name, (value, total_of) in values.items():
            wide = xp.astype(value, "float64")
            found.setdefault(name, []).append(total_of(wide * wide))
    for name, parts in found.items():
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        result.add(number, name, total)
    return weight


def _count(condition: Any, axes: tuple[int, ...] | None = None) -> Any:
    return xp.sum(xp.astype(condition, "float64"), axis=axes)


def _every_kth(x: Tracer, batch_length: int) -> Any:
    """All of a small array; of a large one every k-th row and column of its images, position of its sequences, or
    feature, but every entry of the batch.
    """
    wanted = x.size // _LOOKED_AT
    if wanted < 2:
        return x
    batch = next((axis for axis, length in enumerate(x.shape) if length == batch_length), 0)
    order = range(2, x.ndim) if x.ndim > 3 else [*range(1, x.ndim), 0]
    steps = [1] * x.ndim
    for axis in order:
        if axis != batch:
            steps[axis] = max(1, min(wanted, x.shape[axis] // 4))
            wanted = -(-wanted // steps[axis])
    return x[tuple(slice(None, None, step) for step in steps)]
