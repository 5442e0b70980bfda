"""The siamese network knows pairs of the same digit, and trains as torch's."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import siamese
from trained_against_torch import assert_trains_like_torch

RNG = np.random.default_rng(0)


def test_it_runs_and_points_tell_more_than_pixels():
    figures = siamese.main(["--epochs", "3"])
    assert figures["pairs"] > 0.7
    assert figures["points"] > figures["pixels"] > 0.5


def test_half_of_the_pairs_are_of_one_digit_and_none_is_of_one_image():
    batch = {"x": np.arange(400.0), "y": RNG.integers(0, 10, 400)}
    pairs = siamese.pairs(batch, RNG)
    assert (pairs["a"] != pairs["b"]).all()
    np.testing.assert_array_equal(batch["y"] == batch["y"][pairs["b"].astype(int)], pairs["same"])
    assert 0.4 < pairs["same"].mean() < 0.6


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs():
    torch = pytest.importorskip("torch")
    n = torch.nn

    class Siamese(n.Module):
        def __init__(self):
            super().__init__()
            layers = [n.Conv2d(1, 32, 3, padding=1), n.ReLU(), n.MaxPool2d(2)]
            layers += [n.Conv2d(32, 64, 3, padding=1), n.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(256, 32)]
            self.embed = n.Sequential(*layers)

        def forward(self, a, b):
            return n.functional.pairwise_distance(self.embed(a), self.embed(b))

    def loss_fn(model, batch):
        distance = model(batch["a"], batch["b"])
        return torch.where(batch["same"], distance**2, torch.relu(1.5 - distance) ** 2).mean()

    batches = [
        {"a": RNG.random((7, 1, 8, 8)), "b": RNG.random((7, 1, 8, 8)), "same": RNG.random(7) < 0.5} for _ in range(4)
    ]
    ours, our_loss = siamese.Siamese(), siamese.contrastive_loss(1.5)
    adam, make = gl.optim.Adam(2e-3), partial(torch.optim.Adam, lr=2e-3)
    assert_trains_like_torch(ours, Siamese(), our_loss, loss_fn, batches, adam, make)
