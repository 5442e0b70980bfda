"""Activations forward, and gradients backward, through 50 layers of three scales."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting

TITLE = "Vanishing and exploding: 50 layers at three scales of initialization"
CLAIM = """Through L layers the signal goes as a power of L: with weights of variance t² and ReLU, E|x|² is multiplied
by m t²/2 in each layer, forward and backward. It stays 1 for t² = 2/m (Kaiming-He); for others it vanishes or explodes.
"""

_DEPTH, _WIDTH = 50, 256
_SCALES = {"0.8 of it": 0.8, "t² = 2/m": 1.0, "1.25 of it": 1.25}


class _Deep(nn.Module):
    """ReLU layers without biases; each has its input, and the gradient of that, taken out."""

    def __init__(self, scale: float) -> None:
        std = scale * (2 / _WIDTH) ** 0.5
        self.layers = nn.ModuleList([nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(_DEPTH)])
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=std)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = nn.relu(layer(x))
        return x


def _measured(scale: float, setting: Setting) -> tuple[Any, Any]:
    """The mean square of what comes out of each layer, and of the gradient of what goes into it."""
    rng = np.random.default_rng(setting.seed)
    x = rng.standard_normal((setting.of(256, 2048), _WIDTH)).astype("float32")
    target = rng.standard_normal(x.shape).astype("float32")
    model = _Deep(scale)
    initial = nn.init_parameters(model, setting.seed)
    weights = [initial[f"layers.{i}.weight"] for i in range(_DEPTH)]

    def signals(weights: list[Any], x: Any, target: Any) -> Any:
        def loss(shifts: list[Any]) -> Any:
            """Shifts of zero: their gradients are those of each layer's input."""
            h, squares = x, []
            for weight, shift in zip(weights, shifts):
                h = nn.relu((h + shift) @ weight.T)
                squares.append((h * h).mean())
            return (h * target).sum(), squares

        shifts = [np.zeros_like(x) for _ in weights]
        gradients, squares = gl.grad(loss, has_aux=True)(shifts)
        return squares, [(g * g).mean() for g in gradients]

    forward, backward = gl.compile(signals)(weights, x, target)
    return np.array(forward, float), np.array(backward, float)


def run(setting: Setting) -> Outcome:
    """Measure both ways, and fit the factor of a layer."""
    depths = np.arange(1, _DEPTH + 1)
    rows, forward_curves, backward_curves, agrees = [], {}, {}, True
    for name, scale in _SCALES.items():
        forward, backward = _measured(scale, setting)
        factors = [float(np.exp(np.polyfit(depths, np.log(s), 1)[0])) for s in (forward, backward[::-1])]
        agrees = agrees and all(abs(np.log(factor / scale**2)) < 0.05 for factor in factors)
        rows.append([name, forward[-1], factors[0], backward[0], factors[1], scale**2])
        forward_curves[name] = (depths, forward)
        backward_curves[name] = (depths, backward / backward[-1])
    panels = [
        Panel("forward", "layer", "mean square of activations", forward_curves, log_y=True),
        Panel("backward", "layer", "mean square of gradients", backward_curves, log_y=True),
    ]
    seen = f"""At 0.8 of the right scale the mean square of activations falls to {rows[0][1]:.1e} after 50 layers, at
    1.25 of it it grows to {rows[2][1]:.1e}; at the right one it is {rows[1][1]:.2f}. The fitted factors of a layer are
    those of the lecture within 5%, forward and backward."""
    if not agrees:
        seen = "A fitted factor of a layer is further than 5% from the lecture's."
    columns = [
        "scale",
        "last activations²",
        "factor forward",
        "first gradients²",
        "factor backward",
        "lecture's factor",
    ]
    return Outcome(columns, rows, seen, agrees, panels)
