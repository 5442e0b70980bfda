"""A network fits random labels, and learns nothing from them."""

from __future__ import annotations

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "Random labels are fitted, with chance on the test"
CLAIM = """The same network, trained by the same method, fits true labels and generalizes, or fits labels drawn at
random and does not: so it is not its size that keeps it from overfitting."""


def run(setting: Setting) -> Outcome:
    """Train on true and on random labels until they are fitted."""
    x, y, x_test, y_test = setting.images()
    x, y = x[:1024], y[:1024]
    rng = np.random.default_rng(setting.seed)
    rows, curves, found = [], {}, {}
    for name, labels in (("true", y), ("random", rng.integers(0, 10, len(y)))):
        data = {"x": x, "y": labels}
        model = perceptron([x.shape[1], 512, 512, 10])
        step = gl.compile_step(
            model, classifier_loss, gl.optim.Adam(1e-3), batch_spec(64, x.shape[1]), seed=setting.seed
        )
        history = gl.fit(step, data, epochs=setting.of(120, 200), seed=setting.seed, progress=False)
        train = gl.evaluate(step, data, [gl.metrics.accuracy])["accuracy"]
        test = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"]
        found[name] = train, test
        first = next((e for e, loss in zip(history["epoch"], history["loss"]) if loss < 0.1), None)
        rows.append([name, train, test, "-" if first is None else first])
        curves[f"{name} labels"] = (history["epoch"], history["loss"])
    agrees = min(found["true"]) > 0.9 and found["random"][0] > 0.99 and found["random"][1] < 0.2
    seen = f"""Of the random labels {found["random"][0]:.1%} are fitted, and {found["random"][1]:.1%} of the test
    images are told right, of ten classes; of the true ones {found["true"][0]:.1%} and {found["true"][1]:.1%}."""
    columns = ["labels", "training accuracy", "test accuracy", "epochs to a loss of 0.1"]
    return Outcome(columns, rows, seen, agrees, [Panel("training", "epoch", "loss", curves, log_y=True)])
