"""`examples/vae.py` makes digits of noise, and trains as the same model in torch does."""

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import digit_images, vae
from trained_against_torch import assert_trains_like_torch


def test_it_learns_and_makes_digits(capsys):
    figures = vae.main(["--epochs", "6"])
    assert figures["bounds"][-1] < 26.5 < figures["bounds"][0]
    assert figures["distance"] < 3  # that of the mean of all digits, again and again, is more than 4
    assert "%%" in capsys.readouterr().out


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does(monkeypatch):
    torch = pytest.importorskip("torch")
    T = torch.nn
    noise = np.random.default_rng(0).standard_normal((20, 3))
    monkeypatch.setattr(gl.random, "normal", lambda shape: noise)

    class VAE(T.Module):
        def __init__(self):
            super().__init__()
            self.encoder = T.Sequential(T.Flatten(), T.Linear(64, 30), T.ReLU())
            self.mean, self.log_variance = T.Linear(30, 3), T.Linear(30, 3)
            self.decoder = T.Sequential(T.Linear(3, 30), T.ReLU(), T.Linear(30, 64), T.Unflatten(1, (1, 8, 8)))

    def loss_fn(model, batch):
        h = model.encoder(batch["x"])
        mean, log_variance = model.mean(h), model.log_variance(h)
        logits = model.decoder(mean + torch.exp(log_variance / 2) * torch.tensor(noise))
        pixels = T.functional.binary_cross_entropy_with_logits(logits, batch["x"], reduction="sum")
        return (pixels - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()) / len(mean)

    x = digit_images.read()[0]["x"].astype("float64")
    assert_trains_like_torch(
        vae.VAE(side=8, hidden=30, latent=3),
        VAE(),
        vae.loss_fn,
        loss_fn,
        [{"x": x[i : i + 20]} for i in range(0, 80, 20)],
        gl.optim.Adam(1e-3),
        lambda parameters: torch.optim.Adam(parameters, 1e-3),
    )
