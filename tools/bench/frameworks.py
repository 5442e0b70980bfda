"""The names that Gradloom, PyTorch and JAX have in common here, so that a model can be written once for all three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine import array_api, nn
from ...engine.tracing.transforms import grad


@dataclass(frozen=True)
class Framework:
    """Layers under the names of `torch.nn`, functions under those of `torch.nn.functional`, and those of arrays under
    NumPy's, arguments by place; `grad` of a function of one array, and `constant`, which makes an array of NumPy's one
    of the framework's.
    """

    nn: Any
    functional: Any
    numpy: Any
    grad: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
    constant: Callable[[Any], Any]


def of_gradloom() -> Framework:
    """Gradloom's own."""
    return Framework(nn, nn.functional, array_api, grad, np.asarray)


def of_torch() -> Framework:
    """PyTorch's."""
    import torch  # pyright: ignore[reportMissingImports]

    return Framework(torch.nn, torch.nn.functional, torch, torch.func.grad, torch.from_numpy)


def of_jax() -> Framework:
    """JAX's, with layers of this package."""
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    from . import jax_layers

    return Framework(jax_layers, jax_layers, jnp, jax.grad, jnp.asarray)
