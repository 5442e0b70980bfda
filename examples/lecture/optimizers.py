"""All optimizers on one problem, as in the figure of the Adam paper."""

from __future__ import annotations

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "Every optimizer on one problem (the Adam paper's figure)"
CLAIM = """Methods that divide by a running size of the gradient (Adagrad, RMSProp, Adam) lower the training loss of a
network faster than SGD; Adam is among the fastest, without much tuning."""

_RATES = {
    "SGD": (gl.optim.SGD, (0.03, 0.1, 0.3)),
    "SGD, momentum": (lambda lr: gl.optim.SGD(lr, momentum=0.9, nesterov=True), (0.01, 0.03, 0.1)),
    "Adagrad": (gl.optim.Adagrad, (0.003, 0.01, 0.03)),
    "RMSProp": (gl.optim.RMSProp, (0.001, 0.003, 0.01)),
    "Adadelta": (gl.optim.Adadelta, (0.3, 1.0, 3.0)),
    "Adam": (gl.optim.Adam, (0.001, 0.003, 0.01)),
    "AdamW": (gl.optim.AdamW, (0.001, 0.003, 0.01)),
    "NAdam": (gl.optim.NAdam, (0.001, 0.003, 0.01)),
    "RAdam": (gl.optim.RAdam, (0.001, 0.003, 0.01)),
    "Adamax": (gl.optim.Adamax, (0.001, 0.003, 0.01)),
    "Adafactor": (gl.optim.Adafactor, (0.01, 0.03, 0.1)),
    "Lion": (gl.optim.Lion, (0.0001, 0.0003, 0.001)),
    "Muon, with AdamW": (
        lambda lr: gl.optim.groups({gl.optim.ndim(2): gl.optim.Muon(lr)}, default=gl.optim.AdamW(1e-3)),
        (0.003, 0.01, 0.03),
    ),
}


def run(setting: Setting) -> Outcome:
    """Train two hidden layers on the digits by each, with the best of three rates by the final loss."""
    x, y, *_ = setting.images()
    rows, curves, final = [], {}, {}
    for name, (make, rates) in _RATES.items():
        best: tuple[float, float, list[float]] | None = None
        for rate in rates:
            model = perceptron([x.shape[1], 128, 128, 10])
            step = gl.compile_step(model, classifier_loss, make(rate), batch_spec(128, x.shape[1]), seed=setting.seed)
            try:
                history = gl.fit(step, {"x": x, "y": y}, epochs=setting.of(20, 100), seed=setting.seed, progress=False)
            except FloatingPointError:
                continue
            losses = history["loss"]
            if best is None or losses[-1] < best[1]:
                best = rate, losses[-1], losses
        assert best is not None
        final[name] = best[1]
        rows.append([name, best[0], best[2][4], best[1]])
        curves[name] = (np.arange(1, len(best[2]) + 1), best[2])
    order = sorted(final, key=lambda name: final[name])
    adaptive = max(final[name] for name in ("RMSProp", "Adam", "Adagrad"))
    agrees = adaptive < final["SGD"] and "Adam" in order[: len(order) // 2]
    seen = f"""The order by training loss after {len(curves["SGD"][0])} epochs is {", ".join(order)}; SGD has
    {final["SGD"] / final["Adam"]:.1f} times the loss of Adam."""
    panel = Panel("training", "epoch", "loss", curves, log_y=True)
    return Outcome(["optimizer", "best rate", "loss, epoch 5", "final loss"], rows, seen, agrees, [panel])
