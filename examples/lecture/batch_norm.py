"""Batch norm allows larger learning rates."""

from __future__ import annotations

import gradloom as gl
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Batch norm at learning rates x1, x5 and x30"
CLAIM = """Batch norm is one of the most effective means against vanishing gradients: with it a network trains faster,
and can be trained at learning rates 5 and 30 times as large."""

_RATE = 0.01


def _network(pixels: int, normed: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((pixels, 128), (128, 128), (128, 128), (128, 128)):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normed else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 10))


def run(setting: Setting) -> Outcome:
    """Train with and without, by SGD with momentum at three rates."""
    x, y, x_test, y_test = setting.images()
    rows, curves, losses = [], {}, {}
    for normed in (False, True):
        for factor in (1, 5, 30):
            rule = gl.optim.SGD(_RATE * factor, momentum=0.9)
            step = gl.compile_step(
                _network(x.shape[1], normed), classifier_loss, rule, batch_spec(32, x.shape[1]), seed=setting.seed
            )
            name = f"{'batch norm' if normed else 'without'}, x{factor}"
            try:
                history = gl.fit(step, {"x": x, "y": y}, epochs=setting.of(8, 40), seed=setting.seed, progress=False)
                losses[normed, factor] = history["loss"][-1]
                curves[name] = (history["epoch"], history["loss"])
                accuracy = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"]
            except FloatingPointError:
                losses[normed, factor], accuracy = float("inf"), 0.1
            rows.append([name, losses[normed, factor], accuracy])
    trained = all(losses[True, factor] < 1 for factor in (1, 5, 30))
    agrees = trained and losses[True, 1] < losses[False, 1] and losses[False, 30] > 1.5
    seen = f"""With batch norm the training loss ends at {losses[True, 1]:.3f}, {losses[True, 5]:.3f} and
    {losses[True, 30]:.3f} at x1, x5 and x30; without at {losses[False, 1]:.3f}, {losses[False, 5]:.3f} and
    {losses[False, 30]:.3f} (a guess has 2.303)."""
    panel = Panel("training", "epoch", "loss", curves, log_y=True)
    return Outcome(["", "training loss", "test accuracy"], rows, seen, agrees, [panel])
