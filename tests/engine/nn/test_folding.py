"""Blocks of images as columns, and back, against torch."""

import gradloom as gl
import numpy as np
import pytest
from against_torch import assert_like_torch
from gradloom import nn

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
GEOMETRIES = [
    {"kernel_size": (2, 3)},
    {"kernel_size": 3, "padding": (1, 2), "stride": 2},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": (2, 3), "stride": (2, 3), "padding": 1},
    {"kernel_size": 2, "dilation": (2, 3), "padding": 1, "stride": (1, 2)},
    {"kernel_size": (5, 7)},
]


@pytest.mark.peers
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_blocks_are_torchs(geometry):
    torch = pytest.importorskip("torch")
    images = RNG.standard_normal((2, 3, 5, 7))
    ours, theirs = nn.Unfold(**geometry), torch.nn.Unfold(**geometry)
    columns = theirs(torch.tensor(images))
    assert_like_torch(ours, theirs, images, second=False)
    np.testing.assert_array_equal(ours(images[0]), theirs(torch.tensor(images[0])))
    sums, wanted = nn.Fold((5, 7), **geometry), torch.nn.Fold((5, 7), **geometry)
    assert_like_torch(sums, wanted, RNG.standard_normal(columns.shape), second=False)
    np.testing.assert_allclose(sums(columns[1].numpy()), wanted(columns[1]), rtol=1e-12)
    assert repr(sums) == repr(wanted)


def test_patches_of_an_image_are_a_view_of_it():
    images = RNG.standard_normal((2, 3, 8, 8)).astype("float32")
    text = str(gl.trace(lambda x: F.unfold(x, 4, stride=4), images))
    assert "gather" not in text
    patches = F.unfold(images, 4, stride=4)
    np.testing.assert_array_equal(patches[1, :, 2], images[1, :, 4:, :4].reshape(-1))
    np.testing.assert_array_equal(F.fold(patches, 8, 4, stride=4), images)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.unfold(np.ones((1, 2, 3, 3)), 4), r"unfold: no block of \(4, 4\) .* fits \(1, 2, 3, 3\) float64"),
        (lambda: F.unfold(np.ones((3, 3)), 2), r"unfold: the input is \(N, C, H, W\)"),
        (lambda: F.fold(np.ones((1, 8, 5)), 3, 2), r"expected \(N, C 4, 4\) for 2 x 2 blocks of \(3, 3\)"),
        (lambda: F.fold(np.ones((1, 7, 4)), 3, 2), r"the input is \(1, 7, 4\) float64"),
        (lambda: F.fold(np.ones(4), 3, 2), r"\(N, C kh kw, L\)"),
        (lambda: F.fold(np.ones((1, 4, 1)), 1, 2), r"fold: no block of \(2, 2\)"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(call, message):
    with pytest.raises(gl.ShapeError, match=rf"{message}.*, at \S*test_folding\.py:\d+"):
        call()
