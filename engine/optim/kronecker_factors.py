"""The Kronecker-factored curvature of layers, G ⊗ A: of samples at the output of a layer, and of rows at its input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import ArrayType, finfo
from .. import array_api as xp
from ..array_api import linalg
from ..nn import Module
from ..nn.taps import Tap
from ..tracing.tracer import located
from .layer_rows import has_rows, input_rows, output_rows
from .quadratic_model import added


@dataclass(frozen=True, eq=False)
class FactoredLayer:
    """A layer with a curvature of its own: its weight, and its bias if that is trained with it."""

    path: str
    module: Any
    weight: str
    bias: str | None

    def names(self) -> list[str]:
        """Its parameters."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def sizes(self, weight: ArrayType) -> tuple[int, int]:
        """The sizes of G and of A: rows and columns of the gradient as a matrix, the bias being the last column."""
        return weight.shape[0], math.prod(weight.shape[1:]) + (self.bias is not None)


def factored_layers(model: Module) -> tuple[FactoredLayer, ...]:
    """The layers of a model that multiply one weight, and that alone hold it and their bias."""
    names = {parameter: name for name, parameter in model.stored_parameters()}
    modules = list(model.named_modules())
    holders = [parameter for _, module in modules for _, parameter in module.named_parameters(recurse=False)]
    found: list[FactoredLayer] = []
    for path, module in modules:
        own = [p for _, p in module.named_parameters(recurse=False)]
        if has_rows(module) and all(holders.count(p) == 1 for p in own):
            layer: Any = module
            bias = None if layer.bias is None else names[layer.bias]
            found.append(FactoredLayer(path, module, names[layer.weight], bias))
    return tuple(found)


def calls_of(layer: FactoredLayer, taps: Sequence[Tap]) -> list[Tap]:
    """The calls of a layer that the loss reads. Raises `ValueError` where there is none, or one whose arrays are not
    known.
    """
    found = [tap for tap in taps if tap.call.path == layer.path]
    name = layer.path or "the model"
    instead = (
        f"train it by another optimizer: gl.optim.groups({{{layer.path + '.*'!r}: gl.optim.Adam(1e-3)}}, default=...)"
    )
    for tap in found:
        if tap.call.skipped or not tap.call.inputs or not tap.call.outputs:
            why = tap.call.skipped or "it was called with an array that is no part of the step"
            raise ValueError(located(f"KFAC: the curvature of {name} is not known: {why}; {instead}"))
    found = [tap for tap in found if tap.cotangents[0] is not None]
    if not found:
        what = f"KFAC: {name} is read and was not called, and its curvature comes from its calls"
        raise ValueError(located(f"{what}; write layer(x), or {instead}"))
    return found


def input_factor(layer: FactoredLayer, taps: Sequence[Tap]) -> Any:
    """A: the mean of a aᵀ over the rows a of all calls, with a 1 as the last element of a where there is a bias."""
    rows = [input_rows(layer.module, tap.call.inputs[0]) for tap in taps]
    count = max(sum(x.shape[0] for x in rows), 1)
    products = added([x.T @ x for x in rows]) / count
    if layer.bias is None:
        return products
    means = xp.expand_dims(added([xp.sum(x, axis=0) for x in rows]) / count, 0)
    one = np.ones((1, 1), products.dtype)
    return xp.concat([xp.concat([products, means.T], axis=1), xp.concat([means, one], axis=1)], axis=0)


def output_factor(layer: FactoredLayer, taps: Sequence[Tap], samples: Mapping[Any, Any]) -> Any:
    """G: the sum of s sᵀ over the rows s of the samples of all calls."""
    rows = [output_rows(layer.module, samples[tap]) for tap in taps]
    return added([s.T @ s for s in rows])


def damped_roots(outer: Any, inner: Any, damping: Any) -> tuple[Any, Any]:
    """Cholesky factors of G + √damping/π and of A + π √damping, π² being the mean eigenvalue of A over that of G."""
    pi = xp.sqrt(_mean_eigenvalue(inner) / _mean_eigenvalue(outer))
    root = xp.astype(xp.sqrt(damping), outer.dtype)
    return _root(outer, root / pi), _root(inner, root * pi)


def preconditioned(layer: FactoredLayer, gradients: Mapping[str, Any], roots: tuple[Any, Any]) -> dict[str, Any]:
    """The gradients of a layer times the inverse of the curvature that has these Cholesky factors."""
    weight = gradients[layer.weight]
    matrix = xp.reshape(weight, (weight.shape[0], math.prod(weight.shape[1:])))
    if layer.bias is not None:
        matrix = xp.concat([matrix, xp.expand_dims(gradients[layer.bias], 1)], axis=1)
    both = _solved(roots[1], _solved(roots[0], matrix).T).T
    if layer.bias is None:
        return {layer.weight: xp.reshape(both, weight.shape)}
    return {layer.weight: xp.reshape(both[:, :-1], weight.shape), layer.bias: both[:, -1]}


def _mean_eigenvalue(factor: Any) -> Any:
    """The trace over the size; 1 where that is 0, so that the other factor is damped as if alone."""
    mean = linalg.trace(factor) / max(factor.shape[0], 1)
    return xp.where(mean > 0, mean, factor.dtype.type(1))


def _root(factor: Any, damping: Any) -> Any:
    """The Cholesky factor of `factor` + damping; what rounding takes from the least eigenvalue is added too."""
    rounding = linalg.trace(factor) * float(10 * finfo(factor.dtype).eps)
    return linalg.cholesky(factor + xp.maximum(damping, rounding) * np.eye(factor.shape[0], dtype=factor.dtype))


def _solved(root: Any, right: Any) -> Any:
    half = linalg.solve_triangular(root, right, lower=True)
    return linalg.solve_triangular(root, half, trans=1, lower=True)
