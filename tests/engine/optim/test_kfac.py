"""K-FAC: its curvature against formulas, optima to all digits, and what it says where it has no curvature."""

import math
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.optim.fisher_samples import _rooted
from gradloom.engine.optim.layer_rows import input_rows, output_rows
from gradloom.engine.step.step_graph import trace_step
from gradloom.engine.tracing.random import key_of_seed
from second_order import F64, crossed, run, squared

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 5))
Y = X @ RNG.standard_normal((5, 3)) + 0.1 * RNG.standard_normal((64, 3))
LABELS = RNG.integers(0, 3, 64)


def network(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8, **F64), nn.Tanh(), nn.Linear(8, outputs, **F64))


# Optima.


def test_linear_regression_is_solved_to_ten_digits():
    step, losses = run(optim.KFAC(1.0), nn.Linear(5, 3, **F64), squared, {"x": X, "y": Y}, 40)
    best, *_ = np.linalg.lstsq(np.c_[X, np.ones(64)], Y, rcond=None)
    found = step.parameters()
    np.testing.assert_allclose(found["weight"], best[:5].T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found["bias"], best[5], rtol=0, atol=1e-10)
    assert np.diff(losses).max() <= 1e-12


def test_a_network_is_fitted_to_ten_digits_and_adam_needs_five_times_as_many_steps():
    target = np.tanh(X @ RNG.standard_normal((5, 3))) @ RNG.standard_normal((3, 2))
    batch = {"x": X, "y": target}
    _, ours = run(optim.KFAC(), network(2), squared, batch, 400)
    assert ours[-1] < 1e-10
    theirs = min(run(optim.Adam(lr), network(2), squared, batch, 400)[1][-1] for lr in (1e-3, 1e-2, 1e-1))
    assert ours[80] < theirs


def test_with_one_output_and_next_to_no_damping_a_step_is_newtons():
    optimizer = optim.KFAC(1.0, momentum=0.0, damping=1e-14, adapt_damping=False)
    step, _ = run(optimizer, nn.Linear(5, 1, **F64), squared, {"x": X, "y": Y[:, :1]}, 1)
    best, *_ = np.linalg.lstsq(np.c_[X, np.ones(64)], Y[:, :1], rcond=None)
    np.testing.assert_allclose(step.parameters()["weight"], best[:5].T, rtol=0, atol=1e-6)


# Curvature.


def layer(cls: Any, *args: Any, **options: Any) -> nn.Module:
    return cls(*args, **options, **F64)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (layer(nn.Linear, 4, 3), (5, 4)),
        (layer(nn.Linear, 4, 3, bias=False), (2, 3, 4)),
        (layer(nn.Linear, 4, 3), (4,)),
        (layer(nn.Linear, 4, 3), (0, 4)),
        (layer(nn.Conv1d, 2, 3, 3, padding=1, stride=2), (2, 2, 7)),
        (layer(nn.Conv1d, 2, 3, 2), (2, 5)),
        (layer(nn.Conv2d, 2, 3, (2, 3), padding="same", padding_mode="circular"), (2, 2, 4, 5)),
        (layer(nn.Conv2d, 1, 2, 3, padding="same", dilation=2), (2, 1, 5, 6)),
        (layer(nn.Conv2d, 3, 2, (3, 1), stride=(2, 1), padding="valid"), (2, 3, 5, 4)),
        (layer(nn.Conv3d, 1, 2, 2, padding=(0, 1, 0), padding_mode="replicate"), (2, 1, 3, 3, 2)),
    ],
    ids=str,
)
def test_the_gradient_of_a_weight_is_the_product_of_rows(module: Any, shape: tuple[int, ...]):
    x = RNG.standard_normal(shape)
    values = nn.init_parameters(module)
    cotangent = RNG.standard_normal(nn.functional_call(module, values, x).shape)

    def total(weight: Any) -> Any:
        return np.sum(nn.functional_call(module, {**values, "weight": weight}, x) * cotangent)

    gradient = gl.grad(total)(values["weight"])
    product = output_rows(module, cotangent).T @ input_rows(module, x)
    np.testing.assert_allclose(product.reshape(gradient.shape), gradient, rtol=1e-12, atol=1e-12)


def test_samples_have_the_hessian_as_their_mean():
    p = RNG.dirichlet(np.ones(4), (2, 3))
    blocks = p[..., None] * np.eye(4) - p[..., None] * p[..., None, :]
    columns = [_rooted(blocks, np.broadcast_to(np.eye(4)[j], p.shape)) for j in range(4)]
    factor = np.stack(columns, axis=-1)
    np.testing.assert_allclose(factor @ factor.swapaxes(-1, -2), blocks, atol=1e-14)
    indefinite = np.diag([1.0, -1.0])
    np.testing.assert_allclose(_rooted(indefinite, np.ones(2)), [1, 0])


def test_factors_are_moments_of_inputs_and_the_hessian_by_the_output():
    model = nn.Linear(5, 3, **F64)
    step, _ = run(optim.KFAC(stat_decay=0.9), model, squared, {"x": X, "y": Y}, 1)
    rows = np.c_[X, np.ones(64)]
    np.testing.assert_allclose(step.state()["input_factor.weight"], rows.T @ rows / 64, rtol=1e-12)
    np.testing.assert_allclose(np.diag(step.state()["output_factor.weight"]), 2 / 3, rtol=1e-12)
    for _ in range(30):
        step({"x": 2 * X, "y": Y})
    rows[:, :5] *= 2
    np.testing.assert_allclose(step.state()["input_factor.weight"], rows.T @ rows / 64, rtol=0.1)
    # Samples of 64 rows, averaged over some steps: off the diagonal there is nothing but chance.
    np.testing.assert_allclose(step.state()["output_factor.weight"], 2 / 3 * np.eye(3), atol=0.1)


def test_the_empirical_curvature_is_that_of_the_entries_gradients():
    model = nn.Linear(5, 3, **F64)
    begin = nn.init_parameters(model)
    step, _ = run(optim.KFAC(fisher="empirical"), model, squared, {"x": X, "y": Y}, 1)
    residual = X @ begin["weight"].T + begin["bias"] - Y
    each = 2 * residual / 3
    np.testing.assert_allclose(step.state()["output_factor.weight"], each.T @ each / 64, rtol=1e-12)


def test_a_layer_that_is_called_twice_has_the_rows_of_both_calls():
    class Twice(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(5, 5, **F64)

        def forward(self, x):
            return self.layer(np.tanh(self.layer(x)))

    begin = nn.init_parameters(Twice())
    batch = {"x": X, "y": X[:, ::-1].copy()}
    step, losses = run(optim.KFAC(), Twice(), squared, batch, 30)
    assert losses[-1] < 0.3 * losses[0]
    step = gl.compile_step(Twice(), squared, optim.KFAC(), batch)
    step(batch)
    middle = np.tanh(X @ begin["layer.weight"].T + begin["layer.bias"])
    rows = np.c_[np.concatenate([X, middle]), np.ones(128)]
    np.testing.assert_allclose(step.state()["input_factor.layer.weight"], rows.T @ rows / 128, rtol=1e-12)


class Mixed(nn.Module):
    """Layers of all kinds: with factors, without, and with a weight that two of them hold."""

    def __init__(self):
        self.table = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 6, 3, padding=1)
        self.depthwise = nn.Conv1d(6, 6, 3, groups=6)
        self.norm = nn.LayerNorm(6)
        self.drop = nn.Dropout(0.1)
        self.one = nn.Linear(6, 6, bias=False)
        self.two = nn.Linear(6, 6, bias=False)
        self.two.weight = self.one.weight
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        x = self.conv(np.swapaxes(self.table(ids), 1, 2))
        x = self.norm(np.mean(self.depthwise(np.tanh(x)), axis=2))
        return self.head(self.two(np.tanh(self.one(self.drop(x)))))


IDS = {"x": RNG.integers(0, 7, (32, 6)), "y": RNG.integers(0, 3, 32)}
MIXED = optim.KFAC(update_every=3, weight_decay=1e-4)


def test_training_resumes_to_the_same_bits_and_its_state_is_counted(tmp_path: Any):
    step, losses = run(MIXED, Mixed(), crossed, IDS, 4)
    assert np.all(np.isfinite(losses))
    step.save(tmp_path / "step.safetensors")
    more = [float(step(IDS)) for _ in range(4)]
    end = step.parameters() | step.state()
    assert more[-1] < losses[0]
    again = gl.compile_step(Mixed(), crossed, MIXED, IDS)
    again.load(tmp_path / "step.safetensors")
    assert [float(again(IDS)) for _ in range(4)] == more
    for name, array in (again.parameters() | again.state()).items():
        assert array.tobytes() == end[name].tobytes(), name
    state = step.state()
    factored = ("conv.weight", "head.weight")
    kinds = ("output_factor", "input_factor", "output_root", "input_root")
    assert {n for n in state if n.split(".")[0] in kinds} == {f"{k}.{name}" for k in kinds for name in factored}
    assert state["input_factor.conv.weight"].shape == (13, 13)
    assert state["output_factor.conv.weight"].shape == (6, 6)
    diagonal = {n.partition(".")[2] for n in state if n.startswith("diagonal")}
    assert diagonal == {"table.weight", "depthwise.weight", "depthwise.bias", "norm.weight", "norm.bias", "one.weight"}
    assert step.report.state_bytes == sum(a.nbytes for a in state.values()) + 16
    step.report.check()


def test_parts_of_a_batch_threads_and_the_interpreter_agree():
    model = nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3, **F64), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3, **F64)
    )
    batch, optimizer = {"x": X, "y": LABELS}, optim.KFAC()
    _, losses = run(optimizer, model, crossed, batch, 4, threads=1)
    _, threaded = run(optimizer, model, crossed, batch, 4, threads=2)
    assert losses == threaded
    _, parts = run(optimizer, model, crossed, batch, 4, accumulate=4)
    np.testing.assert_allclose(parts, losses, rtol=1e-10)
    traced = trace_step(model, crossed, optimizer, batch)
    carried = [*nn.init_parameters(model).values(), *traced.initial_state()]
    for loss in losses[:2]:
        outputs = gl.interpret(traced.graph, *carried, np.float64(optimizer.lr), key_of_seed(0), *batch.values())
        carried = outputs[: len(carried)]
        np.testing.assert_allclose(outputs[traced.loss_index], loss, rtol=1e-10)


# Beside other optimizers.


def test_groups_and_averages_hold_it():
    optimizer = optim.EMA(optim.groups({"0.*": optim.Adam(1e-2)}, default=optim.KFAC()), decay=0.9)
    step, losses = run(optimizer, network(), squared, {"x": X, "y": Y}, 20)
    assert losses[-1] < 0.5 * losses[0]
    assert "input_factor.2.weight" in step.state()
    assert "exp_avg.0.weight" in step.state()


def test_frozen_biases_and_weights_have_no_curvature():
    model = network()
    model[0].bias.requires_grad_(False)
    model[2].weight.requires_grad_(False)
    step, losses = run(optim.KFAC(), model, squared, {"x": X, "y": Y}, 10)
    assert losses[-1] < losses[0]
    assert step.state()["input_factor.0.weight"].shape == (5, 5)
    assert {n for n in step.state() if n.startswith("diagonal")} == {"diagonal.2.bias"}


def test_a_step_that_makes_the_loss_larger_is_not_taken():
    model = network()
    batch = {"x": 100 * X, "y": 100 * Y}
    step = gl.compile_step(model, squared, optim.KFAC(1e3, momentum=0.9), batch)
    before = step.parameters()
    first = step(batch)
    assert step(batch) == first
    assert all(np.array_equal(array, before[name]) for name, array in step.parameters().items())
    assert step.state()["damping"] == pytest.approx(16e-3)


@pytest.mark.parametrize("optimizer", [optim.KFAC(), optim.NaturalGradient()])
def test_a_batch_that_is_not_finite_leaves_the_parameters_as_they_are(optimizer: optim.Optimizer):
    step, losses = run(optimizer, network(), squared, {"x": X, "y": Y}, 2)
    before = step.parameters()
    assert np.isnan(step({"x": np.where(X > 2, np.nan, X), "y": Y}))
    for name, array in step.parameters().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert all(np.isfinite(array).all() for array in step.state().values())
    assert step({"x": X, "y": Y}) < losses[-1]


@pytest.mark.parametrize("optimizer", [optim.KFAC(), optim.NaturalGradient()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_at_the_optimum_what_the_loss_does_not_depend_on_stays(optimizer: optim.Optimizer, dtype: str):
    batch = {"x": X.astype(dtype), "y": RNG.integers(0, 3, 64)}
    model = nn.Linear(5, 3, dtype=dtype)
    step, _ = run(optimizer, model, lambda m, b: nn.cross_entropy(m(b["x"]), b["y"]), batch, 300)
    # The mean of all logits is free.
    begin = model.state_dict(seed=0)["weight"].mean(axis=0)
    assert np.abs(step.parameters()["weight"].mean(axis=0) - begin).max() < (0.01 if dtype == "float32" else 1e-9)
    assert step.state()["damping"] <= 1e-3


@pytest.mark.parametrize("optimizer", [optim.KFAC(), optim.NaturalGradient()])
def test_a_loss_that_is_not_convex_in_the_output_becomes_smaller(optimizer: optim.Optimizer):
    def saturating(model: Any, batch: Any) -> Any:
        return np.mean(np.tanh(model(batch) + 1) ** 2)

    # At the beginning it curves down along every direction.
    _, losses = run(optimizer, nn.Linear(5, 1, **F64), saturating, np.ones((1, 5)), 40)
    assert losses[-1] < 1e-3 * losses[0]


def test_a_layer_without_outputs_has_empty_factors():
    model = nn.Sequential(nn.Linear(5, 3, **F64), nn.Linear(3, 0, **F64))
    step, _ = run(optim.KFAC(), model, lambda m, b: squared(m[0], b) + np.sum(m(b["x"])), {"x": X, "y": Y}, 1)
    assert step.state()["output_factor.1.weight"].shape == (0, 0)


# Refusals.


def refused(model: nn.Module, loss_fn: Callable[..., Any], optimizer: Any = None) -> Any:
    return gl.plan_step(model, loss_fn, optimizer or optim.KFAC(), {"x": X, "y": Y})


class Looped(nn.Module):
    def __init__(self):
        self.cell = nn.Linear(5, 5, **F64)
        self.head = nn.Linear(5, 3, **F64)

    def forward(self, x):
        last, _ = gl.scan(lambda h, _: (np.tanh(self.cell(h)), None), x, length=3)
        return self.head(last)


class Two(nn.Linear):
    def forward(self, input):
        y = super().forward(input)
        return y, 2 * y


class Read(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(5, 3, **F64)

    def forward(self, x):
        return x @ self.layer.weight.T


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        (lambda: optim.KFAC(damping=0), ValueError, "KFAC: damping is above 0, got 0"),
        (lambda: optim.KFAC(damping_decay=1.5), ValueError, "damping_decay is above 0 and at most 1, got 1.5"),
        (lambda: optim.KFAC(stat_decay=1), ValueError, "stat_decay is 0 or more and below 1, got 1"),
        (lambda: optim.KFAC(momentum=-1), ValueError, "momentum is 0 or more and below 1, got -1"),
        (lambda: optim.KFAC(update_every=0), ValueError, "update_every is a whole number of steps, 1 or more, got 0"),
        (lambda: optim.KFAC(fisher="true"), ValueError, "fisher is 'output' or 'empirical', got 'true'"),
        (lambda: optim.KFAC(kl_clip=1), TypeError, "KFAC has no argument 'kl_clip'"),
        (lambda: optim.KFAC(optim.OneCycle(1.0, 10)), None, ""),
        (lambda: optim.KFAC(optim.OneCycle(1.0, 10, cycle_momentum=True)), ValueError, "write cycle_momentum=False"),
        (
            lambda: refused(nn.GRU(5, 3, **F64), lambda m, b: np.sum(m(b["x"])[0])),
            ValueError,
            "no trained parameter is",
        ),
        (lambda: refused(Looped(), squared), ValueError, r"the curvature of cell is not known: it was called in a p"),
        (lambda: refused(Looped(), squared, optim.groups({"cell.*": optim.Adam()}, default=optim.KFAC())), None, ""),
        (lambda: refused(Read(), squared), ValueError, "layer is read and was not called"),
        (
            lambda: refused(network(), lambda m, b: squared(m, b) + squared(m, b)),
            ValueError,
            "called the model 2 times",
        ),
        (
            lambda: refused(network(), lambda m, b: np.mean(m[2](np.tanh(m[0](b["x"]))))),
            ValueError,
            "the model 0 times",
        ),
        (lambda: refused(network(1025), lambda m, b: np.mean(m(b["x"]) ** 2)), ValueError, "by 1025 classes is too la"),
        (lambda: refused(network(1025), lambda m, b: np.mean(m(b["x"])), optim.KFAC(fisher="empirical")), None, ""),
        (
            lambda: refused(
                nn.Sequential(nn.Linear(5, 3, **F64), Two(3, 3, **F64)), lambda m, b: np.sum(sum(m(b["x"])) ** 2)
            ),
            ValueError,
            "the loss reads 2 arrays that the model gives",
        ),
        (
            lambda: refused(nn.Sequential(nn.Linear(5, 3, **F64)), lambda m, b: squared(gl.checkpoint(m), b)),
            NotImplementedError,
            "which gl.checkpoint computes twice",
        ),
    ],
)
def test_what_it_cannot_train_is_said(case: Callable[[], Any], error: type[Exception] | None, message: str):
    if error is None:
        assert case()
        return
    with pytest.raises(error, match=message):
        case()


def test_a_scalar_output_and_an_output_of_one_axis_are_rows_of_one():
    for loss in (lambda m, b: np.mean((m(b["x"])[:, 0] - b["y"]) ** 2), None):

        class Flat(nn.Module):
            def __init__(self):
                self.layer = nn.Linear(5, 1, **F64)

            def forward(self, x):
                return self.layer(x)[:, 0]

        model = nn.Linear(5, 1, **F64) if loss else Flat()
        _, losses = run(optim.KFAC(1.0), model, loss or squared, {"x": X, "y": Y[:, 0]}, 25)
        best = np.linalg.lstsq(np.c_[X, np.ones(64)], Y[:, 0], rcond=None)[1][0] / 64
        assert math.isclose(losses[-1], best, rel_tol=1e-9)


@pytest.mark.parametrize("optimizer", [optim.KFAC(1.0), optim.NaturalGradient()])
def test_the_rounding_of_the_loss_does_not_keep_it_from_the_optimum(optimizer: optim.Optimizer):
    scales = np.array([1, 10, 100, 0.1, 0.01])
    step, _ = run(optimizer, nn.Linear(5, 3, **F64), squared, {"x": X * scales, "y": Y}, 150)
    best, *_ = np.linalg.lstsq(np.c_[X, np.ones(64)], Y, rcond=None)
    np.testing.assert_allclose(step.parameters()["weight"] * scales, best[:5].T, rtol=0, atol=1e-10)
