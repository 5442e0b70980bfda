"""The whole step as one graph: its layout, roles, buffers, accumulation, randomness, and what it refuses."""

import re

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.predict_graph import trace_predict
from gradloom.engine.step.step_graph import parts_of, trace_step
from gradloom.random import key_of_seed

BATCH = {"x": gl.spec((6, 4)), "y": gl.spec((6,), "int64")}


def arrays(rows=6, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((rows, 4)).astype(np.float32), "y": rng.integers(0, 3, rows)}


def mlp(*extra):
    return nn.Sequential(nn.Linear(4, 5), *extra, nn.ReLU(), nn.Linear(5, 3))


def loss_fn(model, batch):
    logits = model(batch["x"])
    return nn.cross_entropy(logits, batch["y"]), {
        "right": (logits.argmax(-1) == batch["y"]).sum(),
        "mean": logits.mean(),
    }


class Mean(nn.Module):
    def __init__(self, width):
        self.mean = nn.Buffer((width,))

    def forward(self, x):
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * gl.stop_gradient(x).mean(axis=0)
        return x - self.mean


def start(model, step, seed=0):
    return [*nn.init_parameters(model, seed).values(), *nn.init_buffers(model).values(), *step.initial_state()]


def run(step, carried, batch, lr=0.1, seed=0):
    return gl.interpret(step.graph, *carried, np.float64(lr), key_of_seed(seed), *(batch[k] for k in sorted(batch)))


def test_inputs_and_outputs_stand_where_the_step_says():
    model = nn.Sequential(nn.Linear(4, 5), Mean(5), nn.Linear(5, 3, bias=False))
    step = trace_step(model, loss_fn, optim.Adam(), BATCH)
    step.graph.verify()
    names = [value.name for value in step.graph.inputs]
    assert [names[i] for i in step.parameter_range] == ["0.weight", "0.bias", "2.weight"]
    assert [names[i] for i in step.buffer_range] == ["1.mean"]
    moments = [f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq") for name in ("0.weight", "0.bias", "2.weight")]
    assert [names[i] for i in step.state_range] == [*moments, "step"]
    assert [names[step.rate_range.start], names[step.key_index]] == ["lr", "key"]
    assert [names[i] for i in step.batch_range] == ["batch.x", "batch.y"]
    assert len(names) == step.batch_range.stop
    assert step.graph.aliases == {i: i for i in range(step.loss_index)}
    assert [step.graph.output_names[i] for i in (step.loss_index, *step.metrics_range)] == ["loss", "mean", "right"]
    assert step.graph.outputs[step.loss_index].type == gl.spec((), "float32")
    text = str(step.graph)
    assert str(gl.parse(text)) == text


def test_nodes_are_forward_backward_or_optimizer_and_updates_carry_the_scope_of_their_module():
    step = trace_step(mlp(), loss_fn, optim.Adam(), BATCH, clip_norm=1.0)
    roles = {node.origin.role for node in step.graph.nodes}
    assert roles == {"forward", "backward", "optimizer"}
    roots = [node for node in step.graph.nodes if node.op.name == "sqrt" and node.origin.scope == "2"]
    assert {node.origin.role for node in roots} == {"optimizer"}
    assert all("test_graph.py:" in node.origin.source for node in step.graph.nodes)


def test_scalars_of_the_optimizer_are_computed_once_for_all_parameters():
    step = trace_step(mlp(), loss_fn, optim.AdamW(), BATCH)
    assert sum(node.op.name == "pow" for node in step.graph.nodes) == 2
    doubles = [node for node in step.graph.nodes if any(v.type.dtype == np.float64 for v in node.outputs)]
    assert all(value.type.shape == () for node in doubles for value in node.outputs)


def test_training_lowers_the_loss_and_counts_the_steps():
    model, batch = mlp(), arrays()
    step = trace_step(model, loss_fn, optim.AdamW(), batch)
    carried, losses = start(model, step), []
    for _ in range(40):
        outputs = run(step, carried, batch, lr=0.03)
        carried = outputs[: step.loss_index]
        losses.append(outputs[step.loss_index])
    assert losses[-1] < 0.2 * losses[0]
    assert outputs[step.metrics_range[1]] == 6
    assert carried[step.state_range[-1]] == 40


def test_a_tied_parameter_has_one_gradient_and_one_state():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    step = trace_step(model, lambda model, x: model(x).sum(), optim.SGD(1.0), gl.spec((3, 4)))
    assert step.parameters == (("0.weight", gl.spec((4, 4))),)
    w, x = nn.init_parameters(model)["0.weight"], arrays(3)["x"]
    ones = np.ones((3, 4), np.float32)
    expected = w - (ones.T @ (x @ w.T) + (ones @ w).T @ x)
    outputs = gl.interpret(step.graph, w, np.int64(0), np.float64(1), key_of_seed(0), x)
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-5, atol=1e-5)


def test_what_the_loss_does_not_read_is_left_alone_and_what_it_reads_by_zero_decays():
    """As torch leaves a parameter whose `grad` is None, and updates one whose `grad` is zero."""

    class Reader(nn.Module):
        def __init__(self):
            self.body = nn.Linear(4, 3)
            self.unused, self.stopped, self.compared, self.looped_and_stopped = (
                nn.Parameter(np.ones(3, np.float32)) for _ in range(4)
            )
            self.floored, self.times_zero, self.looped, self.begun = (
                nn.Parameter(np.ones(3, np.float32)) for _ in range(4)
            )

        def forward(self, x):
            def turn(carry, _):
                return np.floor(carry + self.looped) + gl.stop_gradient(self.looped_and_stopped), carry

            last, _ = gl.scan(turn, self.begun, length=2)
            switch = np.where(self.compared > 0, 1.0, 2.0).astype("float32")
            read = np.floor(self.floored) + self.times_zero * 0 + last + gl.stop_gradient(self.stopped)
            return self.body(x) * switch + read

    model, batch = Reader(), {"x": np.ones((2, 4), np.float32), "y": np.zeros(2, np.int64)}
    optimizer = optim.AdamW(0.1, weight_decay=0.5)
    step = trace_step(model, loss_fn, optimizer, batch)
    outputs = dict(zip(step.graph.output_names, run(step, start(model, step), batch)))
    for name in ("unused", "stopped", "compared", "looped_and_stopped"):
        np.testing.assert_array_equal(outputs[name], np.ones(3, np.float32))
        assert not outputs[f"exp_avg_sq.{name}"].any()
    for name in ("floored", "times_zero", "looped", "begun"):
        np.testing.assert_allclose(outputs[name], np.full(3, 0.95), rtol=1e-6)


def test_a_frozen_parameter_keeps_its_value_and_has_no_state():
    model, batch = mlp(), arrays()
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    step = trace_step(model, loss_fn, optim.Adam(), batch)
    assert [name for name, _ in step.state] == [
        "exp_avg.2.weight",
        "exp_avg.2.bias",
        "exp_avg_sq.2.weight",
        "exp_avg_sq.2.bias",
        "step",
    ]
    before = start(model, step)
    after = run(step, before, batch)
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[2] != before[2]).any()
    model[2].weight.requires_grad = model[2].bias.requires_grad = False
    with pytest.raises(ValueError, match="nothing to train: all parameters of the model are frozen"):
        trace_step(model, loss_fn, optim.Adam(), batch)


def test_buffers_go_from_step_to_step_and_are_read_in_prediction():
    model, batch = mlp(Mean(5)), arrays()
    step = trace_step(model, loss_fn, optim.SGD(0.0), batch)
    carried = start(model, step)
    values = nn.init_parameters(model)
    hidden = batch["x"] @ values["0.weight"].T + values["0.bias"]
    outputs = run(step, run(step, carried, batch, lr=0)[: step.loss_index], batch, lr=0)
    np.testing.assert_allclose(outputs[step.buffer_range[0]], 0.75 * hidden.mean(0), rtol=1e-5, atol=1e-6)
    predict = trace_predict(model, lambda model, x: {"logits": model(x)}, [batch["x"]])
    predict.graph.verify()
    result = gl.interpret(predict.graph, *outputs[: predict.argument_range.start], batch["x"])
    centred = np.maximum(hidden - outputs[step.buffer_range[0]], 0)
    np.testing.assert_allclose(result[0], centred @ values["3.weight"].T + values["3.bias"], rtol=1e-4, atol=1e-5)
    assert predict.graph.output_names == ("logits",)


def test_accumulation_gives_the_step_of_the_whole_batch():
    model, batch = mlp(), arrays(12)
    whole = trace_step(model, loss_fn, optim.AdamW(), batch)
    parts = trace_step(model, loss_fn, optim.AdamW(), batch, accumulate=3, clip_norm=10.0)
    one, three = run(whole, start(model, whole), batch), run(parts, start(model, parts), batch)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    buffered = mlp(Mean(5))
    assert trace_step(buffered, loss_fn, optim.SGD(0.1), batch, accumulate=2).buffers == (("1.mean", gl.spec(5)),)


def test_a_batch_runs_in_the_next_number_of_parts_that_divides_it(caplog):
    for k, parts in ((1, 1), (2, 2), (3, 3), (4, 6), (5, 6), (6, 6), (7, 6)):
        assert trace_step(mlp(), loss_fn, optim.SGD(0.1), BATCH, accumulate=k).parts == parts
    assert re.match(
        r"accumulate=4 does not divide a batch of 6, which runs in 6 parts, at \S*test_graph.py:\d+$",
        caplog.messages[0],
    )
    assert len(caplog.messages) == 2
    leaves = [gl.spec(shape) for shape in ((3,), (), (24, 4), (24,), (7, 7))]
    assert [parts_of(leaves, k) for k in (1, 2, 3, 4, 5, 7, 13, 30)] == [1, 2, 3, 4, 6, 8, 24, 24]
    assert [parts_of(some, 4) for some in ([], [gl.spec(())], [gl.spec((0, 2))], [gl.spec((8,))])] == [4, 4, 1, 4]


def test_dropout_differs_between_steps_and_seeds_and_repeats_for_a_seed():
    model, batch = mlp(nn.Dropout(0.5)), arrays()
    step = trace_step(model, loss_fn, optim.SGD(0.0), batch)
    carried = start(model, step)
    first = run(step, carried, batch)
    second = run(step, first[: step.loss_index], batch)
    losses = [out[step.loss_index] for out in (first, second, run(step, carried, batch, seed=1))]
    assert len(set(map(float, losses))) == 3
    assert run(step, carried, batch)[step.loss_index] == losses[0]
    predict = trace_predict(model, lambda model, x: model(x), [batch["x"]])
    assert "random_bits" not in {node.op.name for node in predict.graph.nodes}


def test_a_checkpointed_layer_changes_no_bit():
    class Checkpointed(nn.Residual):
        def forward(self, x):
            return gl.checkpoint(super().forward)(x)

    batch = arrays()
    results = []
    for kind in (nn.Residual, Checkpointed):
        model = mlp(kind(nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Dropout(0.3))))
        step = trace_step(model, loss_fn, optim.AdamW(), batch)
        results.append((step, run(step, start(model, step), batch)))
    assert "recompute" in {node.origin.role for node in results[1][0].graph.nodes}
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_penalty_on_the_gradient_is_trained_through():
    def penalized(model, batch):
        slope = gl.grad(lambda x: model(x).sum())(batch["x"])
        return nn.cross_entropy(model(batch["x"]), batch["y"]) + (slope * slope).sum()

    model, batch = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to("float64"), arrays()
    batch["x"] = batch["x"].astype(np.float64)
    step = trace_step(model, penalized, optim.SGD(1.0), batch)
    carried = start(model, step)
    moved = run(step, carried, batch, lr=1e-6)
    loss, new_loss = moved[step.loss_index], run(step, moved[: step.loss_index], batch)[step.loss_index]
    gradients = [(before - after) / 1e-6 for before, after in zip(carried[:4], moved[:4])]
    np.testing.assert_allclose(loss - new_loss, 1e-6 * sum((g * g).sum() for g in gradients), rtol=1e-3)


def test_a_batch_of_float64_for_a_float32_model_is_pointed_out():
    with pytest.warns(UserWarning, match=r"batch.x is float64 and the parameters are float32.*astype\('float32'\)"):
        trace_step(mlp(), loss_fn, optim.SGD(0.1), {"x": gl.spec((2, 4), "float64"), "y": gl.spec(2, "int64")})


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            lambda model, batch: model(batch["x"]),
            r"its loss has shape \(6, 3\) \(computed at .*\); take .mean\(\) or .sum\(\)",
        ),
        (lambda model, batch: batch["y"].sum(), "must return a float scalar, its loss is int64"),
        (lambda model, batch: None, "must return a float scalar, it returned NoneType"),
        (lambda model, batch: (model(batch["x"]).sum(), 1, 2), "returned 3 values; return the loss, or"),
        (lambda model, batch: (model(batch["x"]).sum(), {"name": "text"}), "the metric name is of type str"),
    ],
)
def test_a_loss_function_that_returns_no_scalar_is_told_so(fn, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trace_step(mlp(), fn, optim.SGD(0.1), BATCH)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clip_norm": 0.0}, ValueError, "clip_norm is a number above 0, got 0.0"),
        ({"clip_value": -1}, ValueError, "clip_value is a number above 0"),
        ({"accumulate": 0}, ValueError, "accumulate is a whole number of 1 or more"),
        ({"optimizer": 0.1}, TypeError, "optimizer is one of gl.optim, such as gl.optim.AdamW"),
        ({"model": print}, TypeError, "model is a gl.nn.Module"),
        ({"batch": {"x": "text"}}, TypeError, "batch.x is of type str; use arrays or specs"),
        ({"model": nn.Sequential()}, ValueError, "nothing to train: the model has no parameters"),
    ],
)
def test_options_that_make_no_sense_are_named(options, error, message):
    given = {"model": mlp(), "optimizer": optim.SGD(0.1), "batch": BATCH, **options}
    with pytest.raises(error, match=message):
        trace_step(given.pop("model"), loss_fn, given.pop("optimizer"), given.pop("batch"), **given)


def test_a_label_that_is_no_class_stops_the_step():
    model, batch = mlp(), arrays()
    step = trace_step(model, loss_fn, optim.SGD(0.1), batch)
    batch["y"][2] = 3
    with pytest.raises(IndexError, match="index 3 is out of range for 3"):
        run(step, start(model, step), batch)


def test_metrics_may_be_any_pytree_and_a_bare_array():
    step = trace_step(mlp(), lambda m, b: (m(b["x"]).mean(), m(b["x"])), optim.SGD(0.1), BATCH)
    assert step.metrics == (("", gl.spec((6, 3))),)
    assert step.graph.output_names[step.metrics_range[0]] == "metrics"
    step = trace_step(mlp(), lambda m, b: m(b["x"]).mean(), optim.SGD(0.1), BATCH)
    assert step.metrics_tree is None
    assert not step.metrics


def test_a_loss_that_depends_on_no_parameter_is_an_error():
    with pytest.raises(TypeError, match="a loss that depends on no trained parameter"):
        trace_step(nn.Linear(3, 2), lambda model, x: (x * x).mean(), optim.SGD(0.1), np.ones((4, 3), "float32"))


def test_a_loss_that_is_no_function_is_an_error():
    with pytest.raises(TypeError, match="loss_fn is a function of"):
        trace_step(nn.Linear(3, 2), 3, optim.SGD(0.1), np.ones((4, 3), "float32"))  # pyright: ignore


def test_updates_that_are_copied_are_those_that_were_traced():
    class Net(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

        def forward(self, x):
            for layer in self.layers:
                x = np.tanh(layer(x))
            return x

    batch = {"x": np.ones((2, 4), np.float32), "y": np.zeros(2, np.int64)}
    for optimizer in (optim.SGD(0.1, 0.9, nesterov=True), optim.AdamW(0.1, amsgrad=True)):
        step = trace_step(Net(), loss_fn, optimizer, batch)
        by_layer = [
            [(n.op.name, n.attrs, n.origin.source) for n in step.graph.nodes if n.origin.scope == f"layers.{i}"
             and n.origin.role == "optimizer"]
            for i in range(3)
        ]  # fmt: skip
        assert by_layer[0]
        assert by_layer[0] == by_layer[1] == by_layer[2]
        carried = start(Net(), step)
        outputs = run(step, carried, batch)
        places = [name for name, _ in step.parameters]
        gradient = gl.grad(lambda values: loss_fn(Bound(values), batch)[0])(dict(zip(places, carried)))
        scalars = optimizer.scalars(np.asarray(0), np.asarray(optimizer.learning_rate(0)), np.dtype("float32"))
        state = {kind: np.zeros((4, 4), np.float32) for kind in optimizer.init_parameter(gl.spec((4, 4)))}
        for name in ("layers.0.weight", "layers.2.weight"):
            i = places.index(name)
            new, _ = optimizer.update_parameter(carried[i], gradient[name], state, scalars)
            np.testing.assert_allclose(outputs[i], new, rtol=1e-4, atol=1e-6)


class Bound:
    """Three layers with given values, as a model."""

    def __init__(self, values):
        self.values = values

    def __call__(self, x):
        for i in range(3):
            x = np.tanh(x @ self.values[f"layers.{i}.weight"].T + self.values[f"layers.{i}.bias"])
        return x
