"""`examples/ddpm.py` learns to take noise away, and trains as the same model in torch does."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.examples import ddpm, digit_images
from trained_against_torch import assert_trains_like_torch

UNET = ddpm.UNet


class Nothing(nn.Module):
    def forward(self, h, time):
        return h


def shallow(width):
    """The network without its middle, which takes half as long to compile."""
    model = UNET(width)
    model.middle1, model.middle2 = Nothing(), Nothing()
    return model


def test_it_learns(monkeypatch):
    kept = np.full(10, 0.6, "float32")
    for name, value in {"TIMES": 10, "KEPT": kept, "SIGNAL": np.cumprod(kept), "UNet": shallow}.items():
        monkeypatch.setattr(ddpm, name, value)
    figures = ddpm.main(["--epochs", "3", "--width", "8", "--lr", "1e-2"])
    assert figures["losses"][-1] < figures["losses"][0] / 2
    assert np.isfinite(figures["distance"])


def test_noise_that_is_named_rightly_is_taken_away_to_the_image():
    image = digit_images.read()[0]["x"][:3]

    def right(x, t):
        """The noise in `x`, where it is this image behind noise."""
        signal = gl.numpy.take(ddpm.SIGNAL, t)[:, None, None, None]
        return (x - np.sqrt(signal) * image) / np.sqrt(1 - signal)

    with gl.random.key(0):
        made = ddpm.sample(right, image.shape)
    np.testing.assert_allclose(made, image, atol=1e-3)


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does(monkeypatch):
    torch = pytest.importorskip("torch")
    T, F = torch.nn, torch.nn.functional
    rng = np.random.default_rng(0)
    noise, times = rng.standard_normal((6, 1, 8, 8)), rng.integers(0, ddpm.TIMES, 6)
    monkeypatch.setattr(gl.random, "normal", lambda shape: noise)
    monkeypatch.setattr(gl.random, "randint", lambda shape, low, high: times)

    class Block(T.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.norm1, self.conv1 = T.GroupNorm(8, inputs), T.Conv2d(inputs, outputs, 3, padding=1)
            self.norm2, self.conv2 = T.GroupNorm(8, outputs), T.Conv2d(outputs, outputs, 3, padding=1)
            self.time = T.Linear(16, outputs)
            self.skip = T.Conv2d(inputs, outputs, 1) if inputs != outputs else T.Identity()

        def forward(self, x, time):
            h = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
            return self.skip(x) + self.conv2(F.silu(self.norm2(h)))

    class UNet(T.Module):
        def __init__(self):
            super().__init__()
            self.time = T.Sequential(T.Linear(8, 16), T.SiLU(), T.Linear(16, 16), T.SiLU())
            self.first, self.down = T.Conv2d(1, 8, 3, padding=1), Block(8, 8)
            self.narrow = T.Conv2d(8, 16, 3, 2, 1)
            self.middle1, self.middle2 = Block(16, 16), Block(16, 16)
            self.wide, self.up = T.ConvTranspose2d(16, 8, 2, 2), Block(16, 8)
            self.last = T.Sequential(T.GroupNorm(8, 8), T.SiLU(), T.Conv2d(8, 1, 3, padding=1))

        def forward(self, x, t):
            angles = t[:, None] * torch.tensor(np.geomspace(1, 0.001, 4, dtype="float32"))
            time = self.time(torch.cat([angles.sin(), angles.cos()], 1).double())
            x = self.down(self.first(x), time)
            h = self.middle2(self.middle1(self.narrow(x), time), time)
            return self.last(self.up(torch.cat([x, self.wide(h)], 1), time))

    def loss_fn(model, images):
        signal = torch.tensor(ddpm.SIGNAL)[times][:, None, None, None]
        noisy = signal.sqrt() * images + (1 - signal).sqrt() * torch.tensor(noise)
        return F.mse_loss(model(noisy, torch.tensor(times).float()), torch.tensor(noise))

    images = digit_images.read()[0]["x"].astype("float64")
    assert_trains_like_torch(
        ddpm.UNet(width=8),
        UNet(),
        ddpm.loss_fn,
        loss_fn,
        [images[i : i + 6] for i in range(0, 24, 6)],
        gl.optim.Adam(1e-3),
        lambda parameters: torch.optim.Adam(parameters, 1e-3),
        tolerance=1e-5,  # angles, roots and their sines are float32, of other libraries
    )
