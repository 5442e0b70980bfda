"""The scale of initial weights that keeps the signal at 1, for each activation and distribution."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting

TITLE = "Initialization: E|x_i|² stays 1 through 50 layers"
CLAIM = """Weights of variance 2/m (Kaiming-He) for ReLU, and 1/m (LeCun) for linear layers, keep E|x_i|² at 1
through any number of layers, whether they are normal, uniform of the same variance, or orthogonal."""

_DEPTH, _WIDTH = 50, 256
_KINDS: dict[str, tuple[Any, str]] = {
    "ReLU, Kaiming normal": (nn.init.kaiming_normal_, "relu"),
    "ReLU, Kaiming uniform": (nn.init.kaiming_uniform_, "relu"),
    "ReLU, orthogonal · √2": (lambda weight: nn.init.orthogonal_(weight, gain=2**0.5), "relu"),
    "linear, LeCun normal": (nn.init.lecun_normal_, "linear"),
    "linear, LeCun uniform": (nn.init.lecun_uniform_, "linear"),
    "ReLU, LeCun normal (too small)": (nn.init.lecun_normal_, "relu"),
}


@gl.compile
def _linear(weights: list[Any], x: Any) -> Any:
    """The mean square of what comes out of each linear layer."""
    squares = []
    for weight in weights:
        x = x @ weight.T
        squares.append((x * x).mean())
    return squares


@gl.compile
def _relu(weights: list[Any], x: Any) -> Any:
    """The mean square of what comes out of each ReLU layer, of whose values half are 0."""
    squares = []
    for weight in weights:
        x = nn.relu(x @ weight.T)
        squares.append((x * x).mean())
    return squares


def _squares(kind: Any, activation: str, setting: Setting) -> Any:
    """The mean square of what comes out of each layer, where what goes in has 1."""
    layers = nn.ModuleList([nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(_DEPTH)])
    for layer in layers:
        if "kaiming" in getattr(kind, "__name__", ""):
            kind(layer.weight, nonlinearity="relu")
        else:
            kind(layer.weight)
    initial = nn.init_parameters(layers, setting.seed)

    x = np.random.default_rng(setting.seed).standard_normal((256, _WIDTH)).astype("float32")
    weights = [initial[f"{i}.weight"] for i in range(_DEPTH)]
    return np.array((_relu if activation == "relu" else _linear)(weights, x), float)


def run(setting: Setting) -> Outcome:
    """Send a batch through 50 layers, several times with other weights."""
    rows, curves = [], {}
    for name, (kind, activation) in _KINDS.items():
        seeds = range(setting.of(3, 20))
        found = [_squares(kind, activation, Setting(setting.full, setting.data, seed)) for seed in seeds]
        mean = np.exp(np.mean(np.log(found), axis=0))
        factor = float((mean[-1] / mean[0]) ** (1 / (_DEPTH - 1)))
        rows.append([name, mean[0], mean[-1], factor])
        curves[name] = (np.arange(1, _DEPTH + 1), mean)
    agrees = all(abs(row[3] - 1) < 0.03 for row in rows[:-1]) and abs(rows[-1][3] - 0.5) < 0.03
    seen = f"""A layer multiplies the mean square by {min(r[3] for r in rows[:-1]):.3f} to
    {max(r[3] for r in rows[:-1]):.3f} with the right scales, and by {rows[-1][3]:.3f} with half the variance."""
    panel = Panel("mean square", "layer", "E|x_i|²", curves, log_y=True)
    return Outcome(["layers and weights", "first", "last", "factor of a layer"], rows, seen, agrees, [panel])
