"""A rule for all parameters at once: it evaluates the loss again, has state of its own, and reads layers."""

import math

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

BATCH = {"x": np.random.default_rng(0).standard_normal((6, 4)), "y": np.random.default_rng(1).standard_normal((6, 3))}


def loss_fn(model, batch):
    return nn.mse_loss(model(batch["x"]), batch["y"])


class BestOfThree(optim.Optimizer):
    """Descent at the best of three rates, tried in a loop; it keeps the flat gradients of the last two steps."""

    def __init__(self, lr):
        object.__setattr__(self, "lr", lr)

    def init_all(self, types):
        count = sum(math.prod(type.shape) for type in types.values())
        return {
            "history": optim.StateSpec(gl.spec((2, count), "float32")),
            "tried": optim.StateSpec(gl.spec((), "int64")),
        }

    def update_all(self, given):
        def moved(rate):
            return {name: p - given.gradients[name] * rate.astype(p.dtype) for name, p in given.parameters.items()}

        def body(best, rate):
            loss, _ = given.evaluate(moved(rate))
            better = loss < best[0]
            return (np.where(better, loss, best[0]), np.where(better, rate, best[1])), loss

        rates = given.lr * np.array([0.25, 1.0, 4.0])
        start = (given.loss.astype("float32") * 0 + np.float32(np.inf), given.lr * 0)
        (_, rate), _ = gl.scan(body, start, rates)
        flat = gl.numpy.concatenate([g.reshape(-1) for g in given.gradients.values()])
        history = gl.numpy.stack([given.state["history"][1], flat])
        return moved(rate), {"history": history, "tried": given.state["tried"] + 3}


def test_a_rule_may_evaluate_the_loss_again_in_a_loop_and_keep_arrays_of_no_parameter():
    batch = {name: a.astype("float32") for name, a in BATCH.items()}
    step = gl.compile_step(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), loss_fn, BestOfThree(0.1), batch)
    assert {n: a.shape for n, a in step.state().items()} == {"history": (2, 43), "tried": (), "step": ()}
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    for i in range(2):
        before = step.parameters()

        def loss_at(parameters):
            return nn.mse_loss(nn.functional_call(model, parameters, batch["x"]), batch["y"])

        _, gradients = gl.value_and_grad(loss_at)(before)
        tried = [
            {name: p - np.float32(rate) * gradients[name] for name, p in before.items()} for rate in (0.025, 0.1, 0.4)
        ]
        best = min(tried, key=lambda parameters: float(loss_at(parameters)))
        step(batch)
        for name, array in step.parameters().items():
            np.testing.assert_allclose(array, best[name], rtol=1e-5, atol=1e-6)
        flat = np.concatenate([gradients[name].ravel() for name in before])
        np.testing.assert_allclose(step.state()["history"][1], flat, rtol=1e-5, atol=1e-6)
        assert step.state()["tried"] == 3 * (i + 1)


class OfLayers(optim.Optimizer):
    """Descent along gradients that are computed again from the inputs of layers and the cotangents of their outputs."""

    def __init__(self, lr):
        object.__setattr__(self, "lr", lr)

    def init_all(self, types):
        return {}

    @property
    def tapped(self):
        return lambda call: isinstance(call.module, nn.Linear)

    def update_all(self, given):
        new = {}
        for tap in given.taps:
            (x,), (g,) = tap.call.inputs, tap.cotangents
            rate = given.lr.astype(x.dtype)
            for name, gradient in (("weight", g.T @ x), ("bias", g.sum(axis=0))):
                name = f"{tap.call.path}.{name}"
                new[name] = given.parameters[name] - gradient * rate
        return new, {}


def test_a_rule_may_read_the_inputs_of_layers_and_the_cotangents_of_their_outputs():
    batch = {name: a.astype("float32") for name, a in BATCH.items()}
    ends = []
    for optimizer in (optim.SGD(0.1), OfLayers(0.1)):
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        step = gl.compile_step(model, loss_fn, optimizer, batch)
        for _ in range(3):
            step(batch)
        ends.append(step.parameters())
    for name, array in ends[0].items():
        np.testing.assert_allclose(ends[1][name], array, rtol=1e-5, atol=1e-6)


class Wrong(optim.Optimizer):
    def __init__(self, new, state):
        object.__setattr__(self, "lr", 0.1)
        object.__setattr__(self, "result", (new, state))

    def init_all(self, types):
        return {"count": optim.StateSpec(gl.spec((), "int64"))}

    def update_all(self, given):
        return self.result


@pytest.mark.parametrize(
    ("new", "state", "message"),
    [
        ({"no": np.zeros(3)}, {}, "Wrong updates the parameter no, which there is not"),
        ({"0.bias": np.zeros(3)}, {}, r"makes the parameter 0\.bias, float32 of shape \(5,\), float64 of shape \(3,\)"),
        ({}, {"count": np.zeros(3)}, r"makes the state count, int64 of shape \(\), float64 of shape \(3,\)"),
    ],
)
def test_what_a_rule_gives_has_the_names_and_types_of_what_it_was_given(new, state, message):
    batch = {name: gl.spec(a.shape) for name, a in BATCH.items()}
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    with pytest.raises(TypeError, match=message):
        gl.plan_step(model, loss_fn, Wrong(new, state), batch)


def test_a_rule_of_neither_kind_says_what_it_lacks():
    class Nothing(optim.Optimizer):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no init_parameter: a rule for one parameter defines"):
        Nothing(0.1).init_all({"w": gl.spec(3)})


def test_a_rule_of_one_parameter_is_not_named_as_what_is_for_pytrees():
    with pytest.raises(TypeError, match=r"Old\.update: .* are for pytrees.*write update_parameter for the rule of one"):

        class Old(optim.Optimizer):
            def update(self, parameter, gradient, state, scalars):
                return parameter, {}
