"""Spectral and weight norm under the older names of `torch.nn.utils`: what a weight is computed of stands beside it."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from ....ir import Array, DType
from ...tracing.keywords import tells_keywords
from ...tracing.tracer import located
from ..module import Module
from ..parameter import Parameter, Stored
from . import norms
from .parametrize import stored_parameter

M = TypeVar("M", bound=Module)


class _SpectralNorm:
    """<name> as <name>_orig over its largest singular value, of which <name>_u and <name>_v are the vectors."""

    def __init__(self, name: str, n_power_iterations: int, axis: int, eps: float) -> None:
        self.name = name
        self.n_power_iterations = n_power_iterations
        self.axis = axis
        self.eps = eps

    def value(self, module: Module) -> Any:
        """The weight of one more power iteration, in training."""
        weight = getattr(module, f"{self.name}_orig")
        if module.training:
            matrix = norms.as_matrix(weight, self.axis)
            for _ in range(self.n_power_iterations):
                setattr(module, f"{self.name}_v", norms.right(matrix, getattr(module, f"{self.name}_u"), self.eps))
                setattr(module, f"{self.name}_u", norms.left(matrix, getattr(module, f"{self.name}_v"), self.eps))
        return self.computed(weight, getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v"))

    def stored(self, module: Module) -> Stored:
        """The weight before it is divided."""
        return stored_parameter(module, f"{self.name}_orig")

    def computed(self, weight: Any, u: Any, v: Any) -> Any:
        """The weight, of its parts in the order of `parts`."""
        return norms.over_largest_singular_value(weight, self.axis, u, v)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of what it is computed of, that of its shape first."""
        return (f"{self.name}_orig", f"{self.name}_u", f"{self.name}_v")


class _WeightNorm:
    """<name> as the lengths <name>_g and the directions <name>_v."""

    def __init__(self, name: str, axis: int | None) -> None:
        self.name = name
        self.axis = axis

    def value(self, module: Module) -> Any:
        """The weight."""
        return self.computed(*(getattr(module, part) for part in self.parts))

    def stored(self, module: Module) -> Stored:
        """The directions, before their lengths are changed."""
        return stored_parameter(module, f"{self.name}_v")

    def computed(self, v: Any, g: Any) -> Any:
        """The weight, of its parts in the order of `parts`."""
        return norms.with_lengths(v, g, self.axis)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of what it is computed of, that of its shape first."""
        return (f"{self.name}_v", f"{self.name}_g")


@tells_keywords
def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """As `parametrizations.spectral_norm`, with <name>_orig, and the buffers <name>_u and <name>_v, in the module."""
    norms.check_iterations(n_power_iterations)
    weight = stored_parameter(module, name)
    axis = norms.output_axis(module, dim, weight.ndim)
    del module._parameters[name]
    setattr(module, f"{name}_orig", weight)
    u, v = norms.singular_vectors(weight, axis, eps, 1, f"{name}_orig")
    setattr(module, f"{name}_u", u)
    setattr(module, f"{name}_v", v)
    module._computed[name] = _SpectralNorm(name, n_power_iterations, axis, eps)
    return module


@tells_keywords
def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """As `parametrizations.weight_norm`, with the lengths <name>_g and the directions <name>_v in the module."""
    weight = stored_parameter(module, name)
    axis = norms.length_axis(dim, weight.ndim)
    del module._parameters[name]
    setattr(module, f"{name}_g", norms.length_parameter(weight, axis, f"{name}_v"))
    setattr(module, f"{name}_v", weight)
    module._computed[name] = _WeightNorm(name, axis)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Make <name> a plain parameter again, which begins as what was computed of the initial values; returns the module.

    Raises `ValueError` where it has no spectral norm.
    """
    return _removed(module, name, _SpectralNorm, "spectral_norm")


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Make <name> a plain parameter again, which begins as what was computed of the initial values; returns the module.

    Raises `ValueError` where it has no weight norm.
    """
    return _removed(module, name, _WeightNorm, "weight_norm")


def _removed(module: M, name: str, kind: type[_SpectralNorm] | type[_WeightNorm], what: str) -> M:
    rule = module._computed.get(name)
    if not isinstance(rule, kind):
        raise ValueError(located(f"{what} of {name!r} not found in {type(module).__name__}"))
    stored = cast("dict[str, Stored]", {**module._parameters, **module._buffers})
    parts = {part: stored[part] for part in rule.parts}
    weight = cast(Parameter, parts[rule.parts[0]])
    for part in parts:
        delattr(module, part)
    del module._computed[name]
    first = partial(_computed_first, rule=rule, parts=parts)
    setattr(module, name, Parameter(weight.type, requires_grad=weight.requires_grad).initialize(first))
    return module


def _computed_first(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: DType, rule: Any, parts: dict[str, Stored]
) -> Array:
    seed = int(generator.integers(2**31))
    return rule.computed(*(stored.initial(part, seed) for part, stored in parts.items()))
