"""`outputs=`: the norm of the gradients and recorded values among the metrics of a step."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)


class Block(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return nn.record("out", np.tanh(nn.record("before", self.linear(x))))


class Net(nn.Module):
    def __init__(self):
        self.layers = [Block(), Block()]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def loss_fn(model, x):
    y = model(x)
    nn.record("largest", y.max())
    return (y**2).mean()


def compiled(outputs, loss=loss_fn, model=None, **options):
    return gl.compile_step(model or Net(), loss, gl.optim.SGD(0.1), X, outputs=outputs, **options)


def test_the_norm_of_the_gradients_is_that_before_clipping_and_changes_no_bit():
    plain = gl.compile_step(Net(), loss_fn, gl.optim.SGD(0.1), X, clip_norm=1e-3)
    step = compiled("gradient_norm", clip_norm=1e-3)
    for _ in range(3):
        expected = np.sqrt(sum((g.astype(float) ** 2).sum() for g in step.gradients(X).values()))
        loss, metrics = step(X)
        assert loss == plain(X)
        assert metrics.keys() == {"gradient_norm"}
        assert metrics["gradient_norm"].dtype == np.float32
        np.testing.assert_allclose(metrics["gradient_norm"], expected, rtol=1e-6)
    for name, array in plain.parameters().items():
        np.testing.assert_array_equal(array, step.parameters()[name])


def test_the_norm_is_right_where_squares_overflow():
    step = gl.compile_step(
        nn.Linear(3, 1, bias=False, dtype="float64"),
        lambda m, x: m(x).sum() * 1e200,
        gl.optim.SGD(0.0),
        X.astype(float),
        outputs=["gradient_norm"],
    )
    np.testing.assert_allclose(
        step(X.astype(float))[1]["gradient_norm"], 1e200 * float(np.linalg.norm(X.sum(0))), rtol=1e-6
    )


def test_recorded_values_are_chosen_by_patterns_below_the_paths_of_their_modules():
    step = compiled(["layers.*.out", "largest"])
    values = step.parameters()
    x, expected = X, {}
    for i in range(2):
        x = np.tanh(x @ values[f"layers.{i}.linear.weight"].T + values[f"layers.{i}.linear.bias"])
        expected[f"layers.{i}.out"] = x
    _, metrics = step(X)
    assert metrics.keys() == {*expected, "largest"}
    for name, array in expected.items():
        np.testing.assert_allclose(metrics[name], array, rtol=1e-5, atol=1e-6)
    assert metrics["largest"] == metrics["layers.1.out"].max()
    assert compiled("*")(X)[1].keys() == {"gradient_norm", "largest"} | {
        f"layers.{i}.{name}" for i in range(2) for name in ("before", "out")
    }
    _, halves = compiled("layers.1.out", accumulate=2)(X)
    np.testing.assert_allclose(halves["layers.1.out"], expected["layers.1.out"], rtol=1e-5, atol=1e-6)


def test_what_is_not_asked_for_costs_nothing():
    def without(model, x):
        for layer in model.layers:
            x = np.tanh(layer.linear(x))
        return (x**2).mean()

    reports = [gl.plan_step(Net(), loss, gl.optim.SGD(0.1), X).report for loss in (loss_fn, without)]
    assert reports[0].total_bytes == reports[1].total_bytes
    assert reports[0].flops == reports[1].flops
    np.testing.assert_array_equal(nn.record("x", X), X)


def test_outputs_stand_beside_the_metrics_of_the_loss_function():
    step = compiled("gradient_norm", lambda m, x: (loss_fn(m, x), {"mean": m(x).mean()}))
    assert step(X)[1].keys() == {"gradient_norm", "mean"}
    with pytest.raises(ValueError, match="'largest' is the name of a metric of loss_fn too"):
        compiled("largest", lambda m, x: (loss_fn(m, x), {"largest": m(x).mean()}))
    with pytest.raises(gl.TracingError, match="loss_fn returns as a tuple; return them as a dict"):
        compiled("largest", lambda m, x: (loss_fn(m, x), (m(x).mean(),)))


def test_a_module_that_is_called_twice_records_twice():
    block = Block()
    model = nn.Sequential(block, block)
    _, metrics = compiled("0.out*", lambda m, x: (m(x) ** 2).mean(), model)(X)
    assert metrics.keys() == {"0.out", "0.out.1"}


def test_what_a_step_does_not_have_is_refused_with_what_it_has():
    with pytest.raises(ValueError, match=r"outputs: 'gradientnorm' names nothing.*nn.record"):
        compiled("gradientnorm")
    for wrong in (3, [None], lambda name: True):
        with pytest.raises(TypeError, match="outputs is 'gradient_norm', a name or pattern"):
            compiled(wrong)
    for name, value in (("", X), (3, X), ("x", {"a": X}), ("x", "text")):
        with pytest.raises(TypeError, match=r"nn.record takes .*test_outputs"):
            nn.record(name, value)

    def looped(model, x):
        total, _ = gl.scan(lambda c, row: (nn.record("carry", c + model(row).sum()), None), np.float32(0), x)
        return total

    with pytest.raises(gl.TracingError, match="'carry' is recorded in the body of a loop"):
        compiled("carry", looped)
    assert np.isfinite(compiled((), looped)(X))


def test_the_steps_of_other_outputs_load_each_others_checkpoints(tmp_path):
    step = compiled("gradient_norm")
    step.save(tmp_path / "one.safetensors")
    compiled("largest").load(tmp_path / "one.safetensors")
    assert gl.plan_step(Net(), loss_fn, gl.optim.SGD(0.1), X, outputs="gradient_norm").report.total_bytes == (
        step.report.total_bytes
    )
