"""How deep a plain network can be trained with saturating activations and with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "Saturating activations stop training at a smaller depth"
CLAIM = """Where an activation saturates, its derivative is near 0, and the gradient vanishes with depth: sigmoid stops
first, whose derivative is 1/4 at most; tanh and the activations that do not saturate go much deeper."""

_KINDS: dict[str, Callable[[], Any]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "leaky ReLU": nn.LeakyReLU,
    "ELU": nn.ELU,
    "SiLU": nn.SiLU,
}
_GAINS = {"sigmoid": 1.0, "tanh": 5 / 3, "ReLU": 2**0.5, "leaky ReLU": 2**0.5, "ELU": 1.2, "SiLU": 1.6}
_WIDTH = 64


def run(setting: Setting) -> Outcome:
    """Train plain networks of several depths, each activation with weights of its own scale."""
    x, y, x_test, y_test = setting.images()
    depths = (2, 4, 8, 16, 32, 64) if setting.full else (2, 4, 8, 16, 32)
    rows, curves = [], {}
    for name, kind in _KINDS.items():
        found = []
        for depth in depths:
            model = perceptron([x.shape[1], *[_WIDTH] * depth, 10], kind)
            for module in model:
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=_GAINS[name] * module.in_features**-0.5)
            step = gl.compile_step(
                model,
                classifier_loss,
                gl.optim.Adam(5e-4),
                batch_spec(32, x.shape[1]),
                clip_norm=1.0,
                seed=setting.seed,
            )
            gl.fit(step, {"x": x, "y": y}, epochs=setting.of(6, 20), seed=setting.seed, progress=False)
            found.append(gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"])
        rows.append([name, *found])
        curves[name] = (depths, found)
    deepest = {row[0]: max((d for d, a in zip(depths, row[1:]) if a > 0.8), default=0) for row in rows}
    agrees = all(deepest["sigmoid"] < deepest[name] for name in _KINDS if name != "sigmoid")
    depth = {name: str(found or f"less than {depths[0]}") for name, found in deepest.items()}
    seen = f"""The deepest network that tells four test images of five right has
    {", ".join(f"{found} layers with {name}" for name, found in depth.items())};
    {depths[-1]} is the most that was tried."""
    panel = Panel("test accuracy", "layers of width 64", "accuracy", curves, log_x=True)
    return Outcome(["activation", *[f"{depth} layers" for depth in depths]], rows, seen, agrees, [panel])
