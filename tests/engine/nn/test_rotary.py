"""Rotary position embeddings: as the papers' code says, in both conventions, at any places."""

import gradloom as gl
import numpy as np
import pytest
from against_torch import assert_like_torch
from gradloom import nn

F = nn.functional
RNG = np.random.default_rng(0)


def complex_turns(x, positions, base):
    """Meta's LLaMA: neighbours as complex numbers, times e^(i angle)."""
    angles = positions[..., None] * base ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def halves(x):
    """The order in which pairs of halves are neighbours."""
    return x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(x.shape)


@pytest.mark.parametrize("base", [10000.0, 500.0])
def test_both_conventions_turn_pairs(base):
    x = RNG.standard_normal((2, 3, 5, 8))
    wanted = complex_turns(x, np.arange(5), base)
    np.testing.assert_allclose(F.rotary_embedding(x, interleaved=True, base=base), wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(halves(F.rotary_embedding(x, base=base)), complex_turns(halves(x), np.arange(5), base))
    later = F.rotary_embedding(x.swapaxes(1, 2), np.array([0, 3, 1, 7, 2]), interleaved=True, offset=4, axis=-3)
    np.testing.assert_allclose(later.swapaxes(1, 2), complex_turns(x, np.array([4, 7, 5, 11, 6]), 10000.0))
    by_batch = RNG.integers(0, 50, (2, 1, 5))
    np.testing.assert_allclose(F.rotary_embedding(x, by_batch, interleaved=True), complex_turns(x, by_batch, 10000.0))


def test_a_part_of_the_elements_is_turned():
    x = RNG.standard_normal((3, 5, 10))
    for interleaved in (False, True):
        y = nn.RotaryEmbedding(4, interleaved=interleaved)(x)
        np.testing.assert_array_equal(y[..., 4:], x[..., 4:])
        np.testing.assert_array_equal(y[..., :4], F.rotary_embedding(x[..., :4], interleaved=interleaved))


def test_products_of_queries_and_keys_depend_on_their_distance_alone():
    q, k = RNG.standard_normal((2, 6, 8))
    scores = [F.rotary_embedding(q, offset=o) @ F.rotary_embedding(k, offset=o).T for o in (0, 1000)]
    np.testing.assert_allclose(*scores, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_positions_of_a_program_give_what_known_ones_do(dtype):
    x = RNG.standard_normal((2, 3, 5, 6)).astype(dtype)
    places = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])[:, None]

    def both(x, places, offset):
        return [F.rotary_embedding(x, places, offset=offset, interleaved=i).astype(dtype) for i in (False, True)]

    for mine, interleaved in zip(gl.compile(both)(x, places, np.int64(7)), (False, True)):
        assert mine.dtype == dtype
        tolerance = 2e-6 if dtype == "float32" else 1e-13
        known = F.rotary_embedding(x, places + 7, interleaved=interleaved)
        assert known.dtype == dtype
        np.testing.assert_allclose(mine, known, rtol=tolerance, atol=tolerance)


@pytest.mark.peers
def test_derivatives_are_those_of_the_turn():
    torch = pytest.importorskip("torch")
    angles = torch.arange(5.0)[:, None] * 10000.0 ** (-torch.arange(0, 6, 2).double() / 6)
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()

    def theirs(x):  # as Hugging Face writes it
        return x * cos + torch.cat([-x[..., 3:], x[..., :3]], -1) * sin

    assert_like_torch(F.rotary_embedding, theirs, RNG.standard_normal((2, 5, 6)))


def test_what_cannot_be_turned_is_refused():
    x = np.ones((2, 5, 6), np.float32)
    for call, message in (
        (lambda: F.rotary_embedding(x[..., :5]), r"5 elements of \(2, 5, 5\) float32 are no pairs"),
        (lambda: F.rotary_embedding(x, rotary_dim=8), "8 elements"),
        (lambda: F.rotary_embedding(x, np.arange(4)), r"positions \(4,\) int64 are no \(5,\)"),
        (lambda: F.rotary_embedding(x, axis=-1), "axis -1 .* is the one that is turned"),
        (lambda: F.rotary_embedding(x.astype(int)), "floats of"),
        (lambda: nn.RotaryEmbedding(3), "an even number"),
    ):
        with pytest.raises(gl.ShapeError, match=rf"{message}.*, at \S*test_rotary\.py:\d+"):
            call()
    with pytest.raises(gl.TracingError, match="positions are numbers"):
        F.rotary_embedding(x, np.ones(5, bool))
