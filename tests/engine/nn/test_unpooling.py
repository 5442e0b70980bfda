"""Max unpooling and fractional max pooling against torch, indices included, and what they refuse."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from against_torch import assert_like_torch
from gradloom import ShapeError, TracingError, nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
SHAPES = {1: (2, 3, 9), 2: (2, 3, 11, 9), 3: (2, 2, 7, 8, 9)}
X = {n: RNG.standard_normal(shape) for n, shape in SHAPES.items()}
POOLS = [(1, (3, 2, 1)), (2, (3, 2, 1)), (2, ((2, 3), None, 0)), (2, (2, 2, 0)), (3, (2, 2, 0))]


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "window"), POOLS, ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_unpooling_is_torchs(ndim: int, window: tuple[Any, ...], batched: bool) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = X[ndim] if batched else X[ndim][0]
    values, places = getattr(functional, f"max_pool{ndim}d")(torch.tensor(x), *window, return_indices=True)
    name = f"max_unpool{ndim}d"
    ours, theirs = getattr(F, name), getattr(functional, name)
    size = x.shape[-ndim:]
    expected = theirs(values, places, *window, output_size=size)
    for found in (
        ours(values.numpy(), places.numpy(), *window, output_size=(*SHAPES[ndim][:2], *size)),
        getattr(nn, f"MaxUnpool{ndim}d")(*window)(values.numpy(), places.numpy(), output_size=size),
    ):
        np.testing.assert_array_equal(found, expected)
    assert_like_torch(
        lambda y: ours(y, places.numpy(), *window, output_size=size),
        lambda y: theirs(y, places, *window, output_size=size),
        values.numpy(),
    )


def test_what_cannot_be_unpooled() -> None:
    x = RNG.standard_normal((1, 1, 8))
    values, places = F.max_pool1d(x, 2, return_indices=True)
    np.testing.assert_array_equal(F.max_unpool1d(values, places, 2).nonzero()[2], np.sort(places[0, 0]))
    with pytest.raises(ShapeError, match=r"output_size is between \[7\] and \[9\] here, got \(10,\)"):
        F.max_unpool1d(values, places, 2, output_size=(10,))
    with pytest.raises(TracingError, match=r"indices are integers of the input's shape .*return_indices=True"):
        F.max_unpool1d(values, places[..., 1:], 2)
    with pytest.raises(IndexError):
        gl.compile(lambda v, p: F.max_unpool1d(v, p, 2))(values, places + 8)


@pytest.mark.peers
@pytest.mark.parametrize(("ndim", "size", "count"), [(2, 2, 4), (2, (3, 2), (1, 5)), (3, 2, (3, 4, 5))], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fractional_pooling_is_torchs(ndim: int, size: Any, count: Any, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    name = f"fractional_max_pool{ndim}d"
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    x = X[ndim].astype(dtype)
    samples = RNG.random((*x.shape[:2], ndim)).astype(dtype)
    options = {"output_size": count, "return_indices": True}
    layer = getattr(nn, f"FractionalMaxPool{ndim}d")(size, **options, _random_samples=samples)
    value, places = gl.compile(lambda x: ours(x, size, **options, _random_samples=samples))(x)
    expected, indices = theirs(torch.tensor(x), size, **options, _random_samples=torch.tensor(samples))
    for found in ((value, places), nn.functional_call(layer, layer.state_dict(), x)):
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], indices)
    if dtype == "float64":
        assert_like_torch(
            lambda x: ours(x, size, count, _random_samples=samples),
            lambda x: theirs(x, size, count, _random_samples=torch.tensor(samples)),
            x,
        )


def test_fractional_pooling_draws_by_the_key() -> None:
    def pooled(seed: int) -> Any:
        with gl.random.key(seed):
            return nn.FractionalMaxPool2d(2, output_ratio=0.5)(X[2])

    first, again, other = pooled(0), pooled(0), pooled(1)
    assert first.shape == (2, 3, 5, 4)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert np.isin(first, X[2]).all()
    with pytest.raises(ValueError, match="takes one of output_size and output_ratio"):
        nn.FractionalMaxPool2d(2)
    with pytest.raises(ShapeError, match=r"\(11, 4\) windows of \(2, 2\) do not fit"):
        F.fractional_max_pool2d(X[2], 2, (11, 4), _random_samples=np.zeros((2, 3, 2)))
