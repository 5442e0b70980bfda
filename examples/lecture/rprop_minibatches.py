"""Rprop works on the whole batch, and fails on mini-batches."""

from __future__ import annotations

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "Rprop fails on mini-batches"
CLAIM = """Rprop looks at signs alone: a weight whose gradient is +0.1 in nine mini-batches and -0.9 in one should
stay, and grows. It works with the whole batch, and RMSProp, which divides by a mean over batches, with both."""


def run(setting: Setting) -> Outcome:
    """Train on the whole batch and on small ones, for the same number of steps."""
    x, y, x_test, y_test = setting.images()
    x, y = x[:1400], y[:1400]
    steps = setting.of(600, 3000)
    rows, curves, accuracy = [], {}, {}
    for name, rule in (("Rprop", gl.optim.Rprop(1e-3)), ("RMSProp", gl.optim.RMSProp(1e-3))):
        for size in (len(x), 8):
            model = perceptron([x.shape[1], 64, 10])
            step = gl.compile_step(model, classifier_loss, rule, batch_spec(size, x.shape[1]), seed=setting.seed)
            losses: list[float] = []
            epochs = max(1, steps * size // len(x))
            watch = gl.callbacks.as_callback(lambda run, losses=losses: losses.append(run.figures["loss"]))
            gl.fit(step, {"x": x, "y": y}, epochs=epochs, seed=setting.seed, callbacks=[watch], progress=False)
            found = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])
            kind = "whole batch" if size == len(x) else f"batches of {size}"
            accuracy[name, size] = found["accuracy"]
            rows.append([name, kind, step.steps, losses[-1], found["accuracy"]])
            curves[f"{name}, {kind}"] = (np.linspace(0, step.steps, len(losses) + 1)[1:], losses)
    agrees = (
        accuracy["Rprop", 8] < accuracy["Rprop", len(x)] - 0.05
        and min(accuracy["RMSProp", 8], accuracy["RMSProp", len(x)], accuracy["Rprop", len(x)]) > accuracy["Rprop", 8]
    )
    seen = f"""With the whole batch Rprop reaches {accuracy["Rprop", len(x)]:.1%} of the test images, with batches of
    8 {accuracy["Rprop", 8]:.1%}; RMSProp {accuracy["RMSProp", len(x)]:.1%} and {accuracy["RMSProp", 8]:.1%}."""
    panel = Panel("training", "step", "loss", curves, log_y=True)
    return Outcome(["optimizer", "", "steps", "training loss", "test accuracy"], rows, seen, agrees, [panel])
