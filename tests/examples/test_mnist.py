"""`examples/mnist.py` learns digits, within a budget too, and trains as the same model in torch does."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.examples import digit_images, mnist
from trained_against_torch import assert_trains_like_torch


def test_it_learns_and_saves_what_loads(tmp_path):
    path = tmp_path / "digits.safetensors"
    figures = mnist.main(["--epochs", "4", "--lr", "4e-3", "--save", str(path)])
    assert figures["accuracy"] > 0.9
    _, test = digit_images.read()
    classify = gl.load(mnist.Net(side=8), path).bind(lambda model, x: model(x).argmax(axis=1))
    assert np.mean(classify(test["x"]) == test["y"]) == pytest.approx(figures["accuracy"])


def test_mnist_has_larger_images(tmp_path):
    path = tmp_path / "mnist.npz"
    x, y = np.zeros((8, 28, 28), np.uint8), np.arange(8, dtype=np.uint8)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    train, _ = digit_images.read(path)
    assert train["x"].shape == (8, 1, 28, 28)
    report = gl.plan_step(mnist.Net(side=28), mnist.loss_fn, gl.optim.Adam(), train).report
    assert report.parameter_bytes == 4 * 1_199_882  # as many as torch's example has


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does():
    torch = pytest.importorskip("torch")
    T = torch.nn

    class Net(T.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = T.Conv2d(1, 32, 3), T.Conv2d(32, 64, 3)
            self.fc1, self.fc2 = T.Linear(256, 128), T.Linear(128, 10)

        def forward(self, x):
            x = T.functional.relu(self.conv2(T.functional.relu(self.conv1(x))))
            return self.fc2(T.functional.relu(self.fc1(T.functional.max_pool2d(x, 2).flatten(1))))

    model = mnist.Net(side=8)
    model.dropout1, model.dropout2 = nn.Identity(), nn.Identity()
    train, _ = digit_images.read()
    train["x"] = train["x"].astype("float64")
    batches = list(gl.data.batches(train, 32))[:4]
    assert_trains_like_torch(
        model,
        Net(),
        mnist.loss_fn,
        lambda model, batch: T.functional.cross_entropy(model(batch["x"]), batch["y"]),
        batches,
        gl.optim.AdamW(1e-3),
        lambda parameters: torch.optim.AdamW(parameters, 1e-3),
    )
