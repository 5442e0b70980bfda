"""Spectral norm, weight norm and orthogonal weights, as `torch.nn.utils.parametrizations` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ...tracing.missing_names import attributes_of
from .. import functional as F
from ..module import Module
from . import norms
from .orthogonal import orthogonal
from .parametrize import ParametrizationList, add_list, register_parametrization, stored_parameter

__all__ = [
    "orthogonal",
    "spectral_norm",
    "weight_norm",
]

M = TypeVar("M", bound=Module)


class _SpectralNorm(Module):
    """The weight over its largest singular value, of which the buffers _u and _v are the vectors."""

    def __init__(self, weight: Any, n_power_iterations: int, dim: int, eps: float) -> None:
        self.n_power_iterations = n_power_iterations
        self.dim = dim
        self.eps = eps
        if weight.ndim > 1:
            self._u, self._v = norms.singular_vectors(weight, dim, eps, 2, "original")

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, axis=0, eps=self.eps)
        if self.training:
            matrix = norms.as_matrix(weight, self.dim)
            for _ in range(self.n_power_iterations):
                self._u = norms.left(matrix, self._v, self.eps)
                self._v = norms.right(matrix, self._u, self.eps)
        return norms.over_largest_singular_value(weight, self.dim, self._u, self._v)


class _WeightNorm(Module):
    def __init__(self, axis: int | None) -> None:
        self.axis = axis

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return norms.with_lengths(weight_v, weight_g, self.axis)


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide a weight of `module` by its largest singular value, which `n_power_iterations` in each call in training
    approximate; returns the module.

    The weight is a matrix whose rows are along `dim`: 0, or 1 for transposed convolutions. It goes on as
    `parametrizations.<name>.original`; the vectors are buffers. Miyato et al. 2018, "Spectral normalization for
    generative adversarial networks".
    """
    norms.check_iterations(n_power_iterations)
    weight = stored_parameter(module, name)
    axis = norms.output_axis(module, dim, weight.ndim)
    register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, axis, eps))
    return module


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Compute a weight of `module` of lengths, `parametrizations.<name>.original0`, and directions, `original1`;
    returns the module.

    There is a length for each place along `dim`, or one of all for `None`. The weight begins as it would without.
    Salimans and Kingma 2016, "Weight normalization: a simple reparameterization to accelerate training of deep neural
    networks".
    """
    weight = stored_parameter(module, name)
    axis = norms.length_axis(dim, weight.ndim)
    originals = {"original0": norms.length_parameter(weight, axis, "original1"), "original1": weight}
    add_list(module, name, ParametrizationList([_WeightNorm(axis)], originals, "original1"))
    return module


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.utils.parametrizations")
__dir__ = __all__.copy
