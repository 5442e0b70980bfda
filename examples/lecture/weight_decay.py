"""L2 regularization and decoupled weight decay, for SGD and for Adam."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "AdamW is not Adam with L2 regularization"
CLAIM = """Decaying weights by a factor and adding λ|w|²/2 to the loss are the same for SGD, and differ for Adam,
which divides the gradient of the penalty by its running size: weights with large gradients are then hardly decayed."""


def run(setting: Setting) -> Outcome:
    """Train the digits both ways, with the same decay and no other difference."""
    x, y, x_test, y_test = setting.images()
    decay, epochs = 0.1, setting.of(20, 60)

    def with_penalty(model: Any, batch: Any) -> Any:
        squares = sum((p * p).sum() for p in (model[0].weight, model[0].bias, model[2].weight, model[2].bias))
        return classifier_loss(model, batch) + decay / 2 * squares

    runs = {
        ("SGD", "decayed"): (gl.optim.SGD(0.05, weight_decay=decay), classifier_loss),
        ("SGD", "penalty"): (gl.optim.SGD(0.05), with_penalty),
        ("Adam", "decayed"): (gl.optim.AdamW(2e-3, weight_decay=decay), classifier_loss),
        ("Adam", "penalty"): (gl.optim.Adam(2e-3), with_penalty),
    }
    rows, norms, final = [], {}, {}
    for (optimizer, kind), (rule, loss) in runs.items():
        model = perceptron([x.shape[1], 64, 10])
        step = gl.compile_step(model, loss, rule, batch_spec(32, x.shape[1]), seed=setting.seed)
        seen_norms: list[float] = []
        watch = _Norms(seen_norms)
        gl.fit(step, {"x": x, "y": y}, epochs=epochs, seed=setting.seed, callbacks=[watch], progress=False)
        found = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])
        final[optimizer, kind] = np.concatenate([p.ravel() for p in step.parameters().values()])
        norms[f"{optimizer}, {kind}"] = (np.arange(1, epochs + 1), seen_norms)
        rows.append([f"{optimizer}, {kind}", seen_norms[-1], found["accuracy"]])
    apart = {
        name: float(
            np.linalg.norm(final[name, "decayed"] - final[name, "penalty"]) / np.linalg.norm(final[name, "decayed"])
        )
        for name in ("SGD", "Adam")
    }
    agrees = apart["SGD"] < 1e-3 and apart["Adam"] > 0.1
    seen = f"""The parameters that come of decay and of penalty differ by {apart["SGD"]:.0e} of their norm with SGD,
    which is rounding, and by {apart["Adam"]:.2f} with Adam."""
    panel = Panel("norm of all weights", "epoch", "norm", norms)
    return Outcome(["", "norm of the weights", "test accuracy"], rows, seen, agrees, [panel])


class _Norms(gl.callbacks.Callback):
    """Notes the norm of all parameters after each epoch."""

    def __init__(self, norms: list[float]) -> None:
        self._norms = norms

    def on_epoch_end(self, run: Any) -> None:
        parameters = run.step.parameters().values()
        self._norms.append(float(np.sqrt(sum(float((p.astype(float) ** 2).sum()) for p in parameters))))
