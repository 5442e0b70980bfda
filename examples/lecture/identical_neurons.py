"""Neurons that begin alike stay alike."""

from __future__ import annotations

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "Identical neurons stay identical"
CLAIM = """Initialization must break the symmetry: neurons of a layer that have the same weights get the same gradient,
and have the same weights after any number of steps, as if the layer had one neuron."""

_WIDTH = 64


def run(setting: Setting) -> Outcome:
    """Train with constant and with random initial weights."""
    x, y, x_test, y_test = setting.images()
    rows, curves = [], {}
    spread: dict[str, float] = {}
    for name in ("all 0.05", "random"):
        model = perceptron([x.shape[1], _WIDTH, 10])
        if name == "all 0.05":
            for module in (model[0], model[2]):
                nn.init.constant_(module.weight, 0.05)
        step = gl.compile_step(
            model, classifier_loss, gl.optim.Adam(3e-3), batch_spec(32, x.shape[1]), seed=setting.seed
        )
        if name == "all 0.05":  # the classes differ, or nothing could be learned at all
            given = step.parameters()
            rng = np.random.default_rng(setting.seed)
            given["2.weight"] = np.repeat(rng.normal(0, 0.05, (10, 1)), _WIDTH, axis=1).astype("float32")
            given["0.bias"] = np.zeros_like(given["0.bias"])
            step.set_parameters(given)
        history = gl.fit(step, {"x": x, "y": y}, epochs=setting.of(15, 60), seed=setting.seed, progress=False)
        weights = step.parameters()["0.weight"]
        spread[name] = float(np.abs(weights - weights[:1]).max())
        rank = int(np.linalg.matrix_rank(weights, tol=1e-4))
        found = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])
        rows.append([name, spread[name], rank, history["loss"][-1], found["accuracy"]])
        curves[name] = (history["epoch"], history["loss"])
    agrees = spread["all 0.05"] < 1e-3 * spread["random"] and rows[0][-1] < rows[1][-1]
    seen = f"""After training, the {_WIDTH} neurons that began alike differ by {spread["all 0.05"]:.1e} at most, those
    that began at random by {spread["random"]:.2f}; the weight has rank {rows[0][2]}, and the accuracy is
    {rows[0][-1]:.0%} in place of {rows[1][-1]:.0%}."""
    columns = ["initial weights", "largest difference of neurons", "rank", "training loss", "test accuracy"]
    return Outcome(columns, rows, seen, agrees, [Panel("training", "epoch", "loss", curves)])
