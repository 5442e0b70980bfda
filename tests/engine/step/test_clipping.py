"""Clipping by the norm of all gradients, where squares leave the range of the dtype, and where there are many."""

import math

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine.step.clipping import clipped


def clip(gradients, clip_norm):
    """By native code."""
    with np.errstate(all="ignore"):
        return gl.compile(lambda *given: clipped(list(given), clip_norm, None))(*gradients)


def expected(gradients, clip_norm):
    """In exact arithmetic, as torch's formula says."""
    norm = math.hypot(*(float(g) for gradient in gradients for g in gradient.ravel()))
    factor = min(clip_norm / (norm + 1e-6), 1.0)
    return [g.astype("longdouble") * factor for g in gradients]


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float64", "float64"), ("float32", "float64")])
def test_the_norm_is_right_where_squares_overflow_and_underflow(dtypes):
    rng = np.random.default_rng(0)
    for scale in (1e25, 1e37, 1e19, 1.0, 1e-3, 1e-30, 1e-40):
        gradients = [(rng.standard_normal(n) * scale).astype(dtype) for n, dtype in zip((7, 300), dtypes)]
        for clip_norm in (1.0, 1e-8, 1e30):
            for got, want in zip(clip(gradients, clip_norm), expected(gradients, clip_norm)):
                tiny = float(np.finfo(got.dtype).smallest_subnormal)
                np.testing.assert_allclose(got, want, rtol=4e-7 if got.dtype == "float32" else 1e-14, atol=tiny)


def test_float64_has_a_norm_up_to_its_end():
    for scale in (1e200, 1.7e308):
        gradients = [np.full(4, scale), np.full(3, -scale)]
        first, second = clip(gradients, 1.0)
        np.testing.assert_allclose(first, 1 / math.sqrt(7), rtol=1e-14)
        np.testing.assert_allclose(second, -1 / math.sqrt(7), rtol=1e-14)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinite_gradients_and_nans_do_what_they_do_in_torch(dtype):
    torch = pytest.importorskip("torch")
    for bad in ([math.inf, 1.0], [-math.inf, math.inf], [math.nan, 1.0], [math.nan, math.inf], [0.0, 0.0]):
        gradients = [np.array(bad, dtype), np.array([2.0, 0.0, -3.0], dtype)]
        peers = [torch.nn.Parameter(torch.zeros(len(g), dtype=getattr(torch, dtype))) for g in gradients]
        for peer, gradient in zip(peers, gradients):
            peer.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(peers, 1.0)
        for got, peer in zip(clip(gradients, 1.0), peers):
            np.testing.assert_allclose(got, peer.grad.numpy(), rtol=1e-6)


def test_the_norm_of_millions_of_entries_keeps_its_digits():
    gradients = [np.full(3_000_000, 0.1, "float32"), np.ones(1, "float32")]
    first, second = clip(gradients, 1.0)
    np.testing.assert_allclose(second, 1 / (math.sqrt(3_000_000 * float(np.float32(0.1)) ** 2 + 1) + 1e-6), rtol=1e-7)
    np.testing.assert_allclose(first, 0.1 * second[0], rtol=3e-7)


def test_an_empty_gradient_has_norm_0():
    first, second = clip([np.empty((0, 3)), np.array([3.0, 4.0])], 1.0)
    assert first.shape == (0, 3)
    np.testing.assert_allclose(second, [0.6, 0.8], rtol=1e-6)
