"""Functions of float64 arrays against their like in torch: values, gradients and second derivatives, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest

TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def assert_like_torch(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, second: bool = True) -> None:
    """Compare `ours(*arrays)` with `theirs(*tensors)`, the gradients of a weighted sum of squares of the result, and
    the gradients of those along a direction.
    """
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    value = gl.compile(ours)(*arrays)
    assert value.shape == tuple(expected.shape)
    np.testing.assert_allclose(value, expected.detach().numpy(), **TIGHT)

    rng = np.random.default_rng(1)
    weight = rng.standard_normal(tuple(expected.shape))
    directions = [rng.standard_normal(a.shape) for a in arrays]
    places = tuple(range(len(arrays)))
    loss = (expected * expected * torch.tensor(weight)).sum()
    first = torch.autograd.grad(loss, tensors, create_graph=second)

    def our_loss(*xs: Any) -> Any:
        y = ours(*xs)
        return (y * y * weight).sum()

    def along(*xs: Any) -> Any:
        gradients = gl.grad(our_loss, argnums=places)(*xs)
        return sum((g * d).sum() for g, d in zip(gradients, directions))

    for mine, other in zip(gl.compile(gl.grad(our_loss, argnums=places))(*arrays), first, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), **TIGHT)
    if second:
        inner = sum((g * torch.tensor(d)).sum() for g, d in zip(first, directions))
        for mine, other in zip(
            gl.compile(gl.grad(along, argnums=places))(*arrays), torch.autograd.grad(inner, tensors), strict=True
        ):
            np.testing.assert_allclose(mine, other.numpy(), **TIGHT)
