"""ε inside and outside of the root, and initial moments in place of bias correction."""

from __future__ import annotations

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "ε inside and outside of the root; m₀ = g₀, v₀ = g₀² in place of bias correction"
CLAIM = """ε bounds the step where v is small: in g/√(v+ε) as its root does in g/(√v+ε). A small one changes little in
either place; a large one inside of the root damps far more than the same outside. Moments that begin at g₀ and g₀² need
no bias correction."""


def run(setting: Setting) -> Outcome:
    """Train the digits by Adam in these variants."""
    x, y, x_test, y_test = setting.images()
    variants = {
        "outside, 1e-8": {"eps": 1e-8},
        "inside, 1e-8": {"eps": 1e-8, "eps_inside_root": True},
        "inside, 1e-16": {"eps": 1e-16, "eps_inside_root": True},
        "outside, 1e-2": {"eps": 1e-2},
        "inside, 1e-2": {"eps": 1e-2, "eps_inside_root": True},
        "inside, 1e-4": {"eps": 1e-4, "eps_inside_root": True},
        "m₀ = g₀, v₀ = g₀²": {"eps": 1e-8, "init_moments": "gradient"},
    }
    rows, curves, loss = [], {}, {}
    for name, options in variants.items():
        model = perceptron([x.shape[1], 128, 10])
        rule = gl.optim.Adam(1e-3, **options)
        step = gl.compile_step(model, classifier_loss, rule, batch_spec(32, x.shape[1]), seed=setting.seed)
        history = gl.fit(step, {"x": x, "y": y}, epochs=setting.of(10, 40), seed=setting.seed, progress=False)
        accuracy = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"]
        loss[name] = history["loss"][-1]
        rows.append([name, history["loss"][0], loss[name], accuracy])
        curves[name] = (history["epoch"], history["loss"])
    small = [loss["outside, 1e-8"], loss["inside, 1e-8"], loss["inside, 1e-16"]]
    agrees = max(small) < 1.1 * min(small) and loss["inside, 1e-2"] > 2 * loss["outside, 1e-2"]
    agrees = agrees and abs(np.log(loss["inside, 1e-4"] / loss["outside, 1e-2"])) < 0.5
    agrees = agrees and loss["m₀ = g₀, v₀ = g₀²"] < 1.1 * min(small)
    seen = f"""With a small ε the final losses are {min(small):.4f} to {max(small):.4f}. With 1e-2 inside the root it is
    {loss["inside, 1e-2"]:.3f}, with 1e-2 outside {loss["outside, 1e-2"]:.3f}, near that with its square inside
    ({loss["inside, 1e-4"]:.3f}). Without bias correction, from g₀ and g₀², it is {loss["m₀ = g₀, v₀ = g₀²"]:.4f}."""
    panel = Panel("training", "epoch", "loss", curves, log_y=True)
    return Outcome(["Adam", "loss, epoch 1", "final loss", "test accuracy"], rows, seen, agrees, [panel])
