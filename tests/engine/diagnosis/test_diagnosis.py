"""What a step measures of its layers, and what is said of it."""

import json
import math
from io import StringIO

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.diagnosis.diagnosis import diagnosis_of
from gradloom.engine.step.step_graph import trace_step
from gradloom.random import key_of_seed
from gradloom.tools.find_recipe import make_recipe
from rich.console import Console


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def batch_of(rows, width, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": (scale * rng.standard_normal((rows, width))).astype("float32"), "y": rng.integers(0, 10, rows)}


def diagnosed(model, optimizer, batch, steps=1):
    """The diagnosis of the last of some steps, by the interpreter."""
    traced = trace_step(model, loss_fn, optimizer, batch, diagnose=True)
    carried = [*nn.init_parameters(model).values(), *nn.init_buffers(model).values(), *traced.initial_state()]
    rate = np.float64(optimizer.learning_rate(0))
    for _ in range(steps):
        with np.errstate(all="ignore"):
            results = gl.interpret(traced.graph, *carried, rate, key_of_seed(0), batch["x"], batch["y"])
        carried = results[: len(carried)]
    values = [float(results[i]) for i in traced.statistics_range]
    sizes = {name: t.size for name, t in traced.parameters}
    return diagnosis_of(traced.statistics, values, sizes, steps, float(results[traced.loss_index]), float(rate))


def deep(activation, depth, scale, width=32):
    """Linear layers whose weights have the standard deviation scale / sqrt(width)."""
    layers = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        nn.init.normal_(linear.weight, std=scale / math.sqrt(width))
        nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Net(nn.Module):
    """Functions of activations between modules, tied weights, and a parameter that no module has called."""

    def __init__(self):
        self.fc1 = nn.Linear(6, 8)
        self.fc2 = nn.Linear(8, 8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.fc2.weight
        self.shift = nn.Parameter((8,))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = nn.relu(self.fc1(x) - 0.3)
        x = np.tanh(4 * self.fc2(x) + self.shift)
        return self.head(nn.sigmoid(self.again(x)))


def test_figures_are_those_of_numpy_and_of_the_gradient():
    model, batch = Net(), batch_of(12, 6)
    step = gl.compile_step(model, loss_fn, optim.SGD(0.5), batch, diagnose=True)
    before = step.parameters()
    loss = step(batch)
    after = step.parameters()
    diagnosis = step.diagnosis
    names = [(layer.name, layer.kind) for layer in diagnosis.layers]
    assert names == [
        ("fc1", "Linear"),
        ("", "relu"),
        ("fc2", "Linear"),
        ("", "tanh"),
        ("again", "Linear"),
        ("", "sigmoid"),
        ("head", "Linear"),
        ("", "parameters"),
    ]
    p = {name: value.astype("float64") for name, value in before.items()}

    def tail(which):
        """The loss as a function of the output of layer `which`, and all outputs."""

        def f(change):
            outs = []

            def at(value):
                outs.append(value)
                return value + change if len(outs) - 1 == which else value

            x = at(batch["x"].astype("float64") @ p["fc1.weight"].T + p["fc1.bias"])
            x = at(np.maximum(x - 0.3, 0))
            x = at(x @ p["fc2.weight"].T + p["fc2.bias"])
            x = at(np.tanh(4 * x + p["shift"]))
            x = at(x @ p["fc2.weight"].T + p["again.bias"])
            x = at(1 / (1 + np.exp(-x)))
            x = at(x @ p["head.weight"].T + p["head.bias"])
            return nn.cross_entropy(x, batch["y"]), outs

        return f

    assert diagnosis.step == 1
    assert diagnosis.loss == float(loss)
    for i, layer in enumerate(diagnosis.layers[:-1]):
        _, outs = tail(None)(0.0)
        out = outs[i]
        np.testing.assert_allclose([layer.mean, layer.variance], [out.mean(), out.var()], rtol=1e-5, atol=1e-9)
        assert layer.zeros == pytest.approx((out == 0).mean())
        assert layer.nonfinite == 0
        signal = gl.grad(lambda change, which=i: tail(which)(change)[0])(np.zeros_like(out))
        np.testing.assert_allclose(layer.signal, np.linalg.norm(signal), rtol=1e-4)
    relu, tanh, sigmoid = diagnosis.layers[1], diagnosis.layers[3], diagnosis.layers[5]
    assert relu.dead == (outs[1] == 0).all(axis=0).mean()
    assert tanh.saturated == pytest.approx((np.abs(outs[3]) > 0.97).mean())
    assert sigmoid.saturated == pytest.approx(((outs[5] < 0.015) | (outs[5] > 0.985)).mean())
    change = {name: after[name] - before[name] for name in ("fc2.weight", "fc2.bias")}
    moved, held = np.linalg.norm(change["fc2.weight"]), np.linalg.norm(before["fc2.weight"])
    fc2 = diagnosis.layers[2]
    np.testing.assert_allclose([fc2.update_norm, fc2.weight_norm, fc2.update_ratio], [moved, held, moved / held], 1e-4)
    whole = np.linalg.norm(np.concatenate([part.ravel() for part in change.values()]))
    np.testing.assert_allclose(fc2.gradient_norm, whole / 0.5, rtol=1e-4)
    assert diagnosis.layers[4].parameters == 8, "its weight is that of fc2"
    assert diagnosis.layers[7].parameters == 8


@pytest.mark.parametrize(("scale", "word"), [(0.6, "vanishing"), (math.sqrt(2), ""), (3.0, "exploding")])
def test_fifty_layers_vanish_train_or_explode_by_the_scale_of_their_weights(scale, word):
    said = "\n".join(diagnosed(deep(nn.ReLU, 50, scale), optim.SGD(1e-2), batch_of(64, 32)).findings)
    assert (word in said) if word else not said, said
    if word:
        verb, of = ("shrink by 0.4", "0 to") if word == "vanishing" else ("grow by 2", "0 to")
        assert f"gradients {verb}" in said
        assert f"activations {verb}" in said
        assert f"layer from {of}" in said
        assert "Kaiming initialization would give 1.0" in said


@pytest.mark.parametrize(
    ("model", "optimizer", "scale", "steps", "word"),
    [
        (lambda: deep(nn.Sigmoid, 8, 1.0), optim.SGD(0.1), 1.0, 1, "a sigmoid passes a quarter"),
        (lambda: deep(nn.Tanh, 8, 1.0), optim.SGD(0.1), 1.0, 1, ""),
        (lambda: deep(nn.Tanh, 2, 1.0), optim.SGD(0.1), 1e3, 1, "saturated: 100%"),
        (lambda: deep(nn.ReLU, 3, 1.4), optim.Adam(0.5), 1.0, 1, "learning rate 0.5 is too large"),
        (lambda: deep(nn.ReLU, 3, 1.4), optim.SGD(1e-8), 1.0, 1, "learning rate 1e-08 is too small"),
        (lambda: deep(nn.ReLU, 3, 1.4), optim.SGD(0.0), 1.0, 1, ""),
        (lambda: deep(nn.ReLU, 40, 90.0), optim.SGD(0.1), 1.0, 1, "non-finite values first at 4"),
        (lambda: deep(nn.ReLU, 3, 1.4), optim.AdamW(1e-3), 1.0, 3, ""),
        (lambda: deep(nn.Tanh, 2, 1e-3), optim.AdamW(1e-3), 1.0, 2, ""),
    ],
)
def test_what_stands_out_is_said_and_nothing_else(model, optimizer, scale, steps, word):
    found = diagnosed(model(), optimizer, batch_of(64, 32, scale), steps)
    said = "\n".join(found.findings)
    assert (word in said) if word else not said, said
    if not word:
        assert "nothing stands out" in str(found)


def test_dead_units_are_found_and_what_gets_no_gradient_for_it():
    model = deep(nn.ReLU, 3, 1.4)
    nn.init.constant_(model[2].bias, -50.0)
    said = "\n".join(diagnosed(model, optim.Adam(1e-3), batch_of(64, 32)).findings)
    assert "dead ReLUs at 3, 5: 100% of the units of 3" in said
    assert "no gradient arrives at 0, 2, 4: all that 3 gives is 0" in said


def test_a_sure_answer_is_not_saturated_and_weights_of_zeros_are_a_beginning():
    def binary(model, batch):
        return np.mean((model(batch["x"])[:, 0] - (batch["y"] % 2).astype("float32")) ** 2)

    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1), nn.Sigmoid())
    nn.init.constant_(model[2].bias, 20.0)
    step = gl.compile_step(model, binary, optim.SGD(1e-3), batch_of(16, 32), diagnose=True)
    step(batch_of(16, 32))
    assert step.diagnosis.layers[-1].saturated == 1.0
    assert step.diagnosis.findings == ()
    model = deep(nn.ReLU, 2, 1.4)
    nn.init.zeros_(model[4].weight)
    found = diagnosed(model, optim.Adam(1e-3), batch_of(64, 32))
    assert found.layers[0].signal == 0
    assert found.findings == ()


def test_data_that_is_not_a_number_is_found():
    batch = batch_of(16, 32)
    batch["x"][3, 4] = np.nan
    found = diagnosed(deep(nn.ReLU, 2, 1.4), optim.SGD(0.1), batch)
    assert found.findings[0].startswith("non-finite values first at 0: 6.25%")


def test_a_step_that_runs_in_tiles_still_does_and_its_bits_are_those_of_one_that_measures_nothing(tmp_path):
    batch = batch_of(4096, 32)
    options = {"threads": 1}
    plain, measuring = (
        gl.compile_step(deep(nn.ReLU, 3, 1.4, 32), loss_fn, optim.Adam(1e-3), batch, diagnose=on, **options)
        for on in (False, True)
    )
    assert plain.report.loops, "else it proves nothing"
    assert [loop.length for loop in measuring.report.loops] == [loop.length for loop in plain.report.loops]
    assert measuring.report.arena_bytes < 1.15 * plain.report.arena_bytes
    for _ in range(2):
        assert plain(batch) == measuring(batch)
    for name, value in plain.parameters().items():
        np.testing.assert_array_equal(value, measuring.parameters()[name])
    measuring.save(tmp_path / "step.safetensors")
    plain.load(tmp_path / "step.safetensors")  # which would warn of settings that change bits
    layer = measuring.diagnosis.layers[1]
    assert 0.4 < layer.zeros < 0.6
    assert layer.nonfinite == 0


def test_layers_in_a_loop_are_seen_by_their_parameters_and_it_is_said():
    class Looped(nn.Module):
        def __init__(self):
            self.cell = nn.Linear(32, 32)
            self.head = nn.Linear(32, 10)

        def forward(self, x):
            return self.head(gl.scan(lambda h, _: (np.tanh(self.cell(h)), None), x, None, length=3)[0])

    found = diagnosed(Looped(), optim.SGD(0.1), batch_of(8, 32))
    assert [layer.name for layer in found.layers] == ["head", "cell"]
    assert found.layers[1].variance is None
    assert found.layers[1].gradient_norm > 0
    assert "called inside a loop or a vmap, and seen by their parameters alone: cell" in str(found)


def test_it_is_written_as_json_svg_and_a_page_without_network(tmp_path):
    found = diagnosed(deep(nn.ReLU, 5, 60.0), optim.SGD(1e4), batch_of(8, 32, 1e30))
    whole = json.loads(found.to_json())
    assert whole["schema"] == "gradloom.diagnosis/1"
    assert [layer["name"] for layer in whole["layers"]] == [layer.name for layer in found.layers]
    assert whole["layers"][-1]["variance"] in ("nan", "inf")
    page = found.to_html(tmp_path / "page.html", title="A & B")
    assert "A &amp; B" in page
    assert (tmp_path / "page.html").read_text("utf-8") == page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    console = Console(width=80, file=StringIO())
    console.print(found)
    assert "9  ReLU" in console.file.getvalue()
    assert "weight" in console.file.getvalue()
    assert "…" not in console.file.getvalue()
    assert "saturated" not in console.file.getvalue(), "which no layer has"
    found.plot(tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text("utf-8").startswith("<svg")


def test_other_pictures_need_matplotlib_and_say_so(tmp_path, monkeypatch):
    found = diagnosed(deep(nn.ReLU, 2, 1.4), optim.SGD(0.1), batch_of(8, 32))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib is not installed.*\.svg needs none"):
        found.plot(tmp_path / "curves.png")


def test_a_step_without_it_says_how_to_get_one():
    batch = batch_of(4, 32)
    step = gl.compile_step(deep(nn.ReLU, 1, 1.4), loss_fn, optim.SGD(0.1), batch)
    with pytest.raises(RuntimeError, match="without diagnose=True"):
        _ = step.diagnosis
    step = gl.compile_step(deep(nn.ReLU, 1, 1.4), loss_fn, optim.SGD(0.1), batch, diagnose=True)
    with pytest.raises(RuntimeError, match="no step was done yet"):
        _ = step.diagnosis


@pytest.mark.parametrize("name", ["digits", "resnet"])
def test_nothing_stands_out_of_healthy_recipes(name):
    recipe = make_recipe(name)
    model, optimizer = recipe.model, recipe.optimizer
    rows = 16
    rng = np.random.default_rng(0)
    width = recipe.batch["x"].shape[1]
    batch = {"x": rng.standard_normal((rows, width)).astype("float32"), "y": rng.integers(0, 10, rows)}
    traced = trace_step(model, recipe.loss_fn, optimizer, batch, diagnose=True)
    carried = [*nn.init_parameters(model).values(), *nn.init_buffers(model).values(), *traced.initial_state()]
    for step in range(3):
        rate = np.float64(optimizer.learning_rate(step))
        results = gl.interpret(traced.graph, *carried, rate, key_of_seed(0), batch["x"], batch["y"])
        carried = results[: len(carried)]
    values = [float(results[i]) for i in traced.statistics_range]
    sizes = {name: t.size for name, t in traced.parameters}
    assert diagnosis_of(traced.statistics, values, sizes, 3, float(results[traced.loss_index]), 1e-3).findings == ()
