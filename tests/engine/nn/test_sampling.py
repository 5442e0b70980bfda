"""Grids and sampling at them, against torch: values and both gradients, in every mode."""

from __future__ import annotations

import itertools
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom.nn import functional as F

RNG = np.random.default_rng(0)
IMAGE, VOLUME = np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2, 2))


@pytest.mark.peers
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_sampling_agrees_with_torch(padding_mode: str) -> None:
    torch = pytest.importorskip("torch")
    shapes = ((2, 3, 5, 4), (2, 1, 1, 3), (2, 3, 3, 5, 4), (1, 2, 1, 3, 2))
    for mode, corners, shape in itertools.product(("bilinear", "nearest", "bicubic"), (True, False), shapes):
        axes = len(shape) - 2
        if mode == "bicubic" and axes == 3:
            continue
        x, grid = RNG.normal(size=shape), RNG.uniform(-2, 2, size=(shape[0], *(3, 6, 2)[:axes], axes))
        options: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": corners}
        theirs = [torch.tensor(x, requires_grad=True), torch.tensor(grid, requires_grad=True)]
        expected = torch.nn.functional.grid_sample(*theirs, **options)
        np.testing.assert_allclose(F.grid_sample(x, grid, **options), expected.detach().numpy(), atol=1e-12)

        def loss(x: Any, grid: Any, options: Any = options) -> Any:
            return gnp.sum(F.grid_sample(x, grid, **options) ** 2)

        (expected**2).sum().backward()
        for one, other in zip(gl.grad(loss, argnums=(0, 1))(x, grid), theirs):
            np.testing.assert_allclose(one, other.grad.numpy(), atol=1e-10)


@pytest.mark.peers
def test_grids_agree_with_torch() -> None:
    torch = pytest.importorskip("torch")
    for size, corners in itertools.product(((2, 3, 5, 4), (2, 3, 2, 6), (2, 3, 4, 2, 5)), (True, False)):
        theta = RNG.normal(size=(2, len(size) - 2, len(size) - 1))
        expected = torch.nn.functional.affine_grid(torch.tensor(theta), size, align_corners=corners).numpy()
        np.testing.assert_allclose(F.affine_grid(theta, size, corners), expected, atol=1e-12)


def test_compiled_and_places_that_are_no_numbers() -> None:
    x, grid = RNG.normal(size=(2, 3, 5, 4)), RNG.uniform(-2, 2, size=(2, 3, 6, 2))
    compiled = gl.compile(lambda x, grid: F.grid_sample(x, grid, align_corners=False))
    np.testing.assert_allclose(compiled(x, grid), F.grid_sample(x, grid), atol=1e-12)
    grid[0, 0, 0] = np.nan, np.inf
    assert compiled(x, grid).shape == (2, 3, 3, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.grid_sample(VOLUME, np.ones((1, 2, 2, 2, 3)), "bicubic"), ValueError, "'bicubic' is for images"),
        (lambda: F.grid_sample(VOLUME, np.ones((1, 2, 2, 2, 2))), gl.ShapeError, "the grid"),
        (lambda: F.grid_sample(IMAGE, np.ones((2, 2, 2, 2))), gl.ShapeError, "the grid"),
        (lambda: F.grid_sample(IMAGE, np.ones((1, 2, 2, 2)), "cubic"), ValueError, "mode is one of"),
        (lambda: F.grid_sample(np.ones((1, 1, 2, 2), "f"), np.ones((1, 2, 2, 2))), TypeError, "floats of one dtype"),
        (lambda: F.affine_grid(np.ones((1, 2, 3)), (2, 1, 3, 3)), gl.ShapeError, r"theta is \(N, 2, 3\)"),
        (lambda: F.affine_grid(np.ones((1, 3, 4)), (1, 1, 3, 3)), gl.ShapeError, r"or \(N, 3, 4\) for a size"),
        (lambda: F.affine_grid(np.ones((1, 2, 3)), (1, 1, 0, 3)), gl.ShapeError, "no pixels"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
