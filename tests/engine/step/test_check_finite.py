"""Steps that stop where something is not finite, and say what made it."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim


class Net(nn.Module):
    """A layer whose result goes through `middle`."""

    def __init__(self, middle):
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 1)
        self.middle = middle

    def forward(self, x):
        return self.outer(self.middle(self.inner(x), x))


def loss_fn(model, batch):
    return np.mean(model(batch["x"]) ** 2)


def batch_of(value=1.25):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (6, 4)).astype("float32")
    x[2, 1] = value
    return {"x": x}


def compiled(middle, optimizer=None, loss_fn=loss_fn, **options):
    return gl.compile_step(
        Net(middle), loss_fn, optimizer or optim.Adam(1e-2), batch_of(), check_finite=True, threads=1, **options
    )


def everything(step):
    return {**step.parameters(), **step.buffers(), **step.state()}


def assert_stops(step, batch, *parts):
    """The step goes on after one that stops, and is then where it would be without it."""
    step(batch_of())
    before = everything(step)
    with pytest.raises(FloatingPointError) as caught:
        step(batch)
    for part in ("has changed nothing", *parts):
        assert part in str(caught.value), caught.value
    for name, array in everything(step).items():
        np.testing.assert_array_equal(array, before[name], name)
    assert np.isfinite(step(batch_of()))


@pytest.mark.parametrize(
    ("middle", "value", "parts"),
    [
        (lambda h, x: h + np.log(x), 0.0, ["`log` made an infinity", "log(0) is -inf at [2, 1]"]),
        (lambda h, x: h + np.log(x), -2.0, ["`log` made NaN", "log(-2) is nan at [2, 1]"]),
        (lambda h, x: h * (x - 1) / (x - 1), 1.0, ["`div` made NaN", "div(0, 0)"]),
        (lambda h, x: h + np.exp(x), 100.0, ["`exp` made an infinity", "exp(100) is inf at [2, 1]"]),
        (lambda h, x: h + np.sqrt(x), -1.0, ["`sqrt` made NaN", "sqrt(-1)"]),
        # The value is finite, and its derivative by h is not.
        (lambda h, x: h + np.arcsin(h * 0 + x / 2), 2.0, [", in its derivative"]),
        # The famous one: the branch that is not taken.
        (lambda h, x: np.where(x > 0, np.log(np.maximum(x, 0) + h * 0), h), 0.0, [", in its derivative", "div(0, 0)"]),
        (lambda h, x: h + x, np.nan, ["the input batch.x holds nan at [2, 1]"]),
        (lambda h, x: h + x, -np.inf, ["the input batch.x holds -inf at [2, 1]"]),
    ],
)
def test_the_first_operation_is_named_with_its_line_and_numbers_and_nothing_is_changed(middle, value, parts):
    line = [] if parts[0].startswith("the input") else [f"test_check_finite.py:{middle.__code__.co_firstlineno}"]
    assert_stops(compiled(middle), batch_of(value), *parts, *line)


def test_a_mask_of_infinities_is_no_fault_and_a_row_without_anything_is():
    def middle(h, x):
        scores = np.where(x > 0, h, -np.inf)
        return nn.softmax(scores, axis=-1) + nn.softmax(np.where(x > 0, h, -np.inf), axis=-1)

    step = compiled(middle)
    step(batch_of(-1.0))
    masked = batch_of()
    masked["x"][3] = -1.0
    assert_stops(step, masked, "`sub` made NaN", "sub(-inf, -inf)")


def test_what_made_it_is_named_in_the_module_that_called_it():
    class Log(nn.Module):
        def forward(self, x):
            return np.log(x)

    class Outer(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList([nn.Linear(4, 4), Log()])

        def forward(self, x):
            return self.layers[0](x) + self.layers[1](x)

    step = gl.compile_step(Outer(), loss_fn, optim.SGD(0.1), batch_of(), check_finite=True)
    assert_stops(step, batch_of(0.0), "in layers.1")


def test_an_update_that_overflows_is_stopped_too():
    step = compiled(lambda h, x: h, optim.SGD(1e30))
    before = everything(step)
    with pytest.raises(FloatingPointError, match=r"made an infinity.*in the update"):
        step({"x": batch_of()["x"] * 1e12})
    for name, array in everything(step).items():
        np.testing.assert_array_equal(array, before[name], name)


def test_parameters_that_are_not_finite_are_named():
    step = compiled(lambda h, x: h)
    step.set_parameters({**step.parameters(), "inner.bias": np.full(4, np.nan, "float32")})
    with pytest.raises(FloatingPointError, match=r"the input inner.bias holds nan at \[0\]"):
        step(batch_of())


def test_it_is_found_in_the_body_of_a_loop():
    def middle(h, x):
        return gl.scan(lambda carry, column: (carry + np.log(column)[:, None], None), h, x.T)[0]

    assert_stops(compiled(middle), batch_of(0.0), "`log` made an infinity", "in iteration 1 of a loop")


def test_the_derivative_of_a_loop_is_told_by_the_op_that_makes_a_nan_of_infinities():
    def loss_fn(model, batch):
        def add(carry, row):
            return np.exp(3 * carry + model.inner(row).sum()), None

        return gl.scan(add, np.asarray(1.5, "float32"), batch["x"] - 1)[0]

    step = compiled(lambda h, x: h, optim.SGD(0.1), loss_fn)
    with pytest.raises(FloatingPointError, match=r"`exp` made an infinity .*; then `\w+` made NaN at .* in iteration"):
        step(batch_of())


def test_it_is_found_in_a_while_loop_and_in_the_branch_that_runs():
    def middle(h, x):
        root = gl.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, np.exp(c[1])), (0, x.max()))[1]
        part = gl.cond(x.min() > 0.2, lambda x: x * 0, lambda x: np.log(x), x.min())
        return h + gl.stop_gradient(root) * 1e-3 + part

    step = compiled(middle)
    step({"x": batch_of()["x"] * 0.3 + 0.2})
    small = {"x": batch_of()["x"] * 0.1 + 0.2}
    large, zero = dict(small), {"x": small["x"].copy()}
    large["x"] = small["x"] + 10
    zero["x"][2, 1] = 0.0
    for batch, parts in (
        (large, ("`exp` made an infinity", "in iteration 1 of a loop")),
        (zero, ("`log` made an infinity", "log(0) is -inf")),
    ):
        with pytest.raises(FloatingPointError) as caught:
            step(batch)
        assert all(part in str(caught.value) for part in parts), caught.value


def test_bits_are_those_of_a_step_that_does_not_check():
    batch = {"x": np.random.default_rng(0).standard_normal((512, 4)).astype("float32")}
    steps = [
        gl.compile_step(Net(lambda h, x: np.tanh(h)), loss_fn, optim.AdamW(1e-2), batch, check_finite=on, clip_norm=1.0)
        for on in (False, True)
    ]
    for _ in range(3):
        assert steps[0](batch) == steps[1](batch)
    for name, array in everything(steps[0]).items():
        np.testing.assert_array_equal(array, everything(steps[1])[name])


def test_an_infinite_metric_is_no_error():
    def with_metric(model, batch):
        return loss_fn(model, batch), {"worst": np.max(1.0 / (batch["x"] - batch["x"]))}

    _, metrics = compiled(lambda h, x: h, loss_fn=with_metric)(batch_of())
    assert not np.isfinite(metrics["worst"])
