"""Optimizers on bare pytrees: with NumPy, inside a compiled function, and beside the step of a model."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

X = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
Y = np.random.default_rng(1).standard_normal((6, 3)).astype("float32")


def parameters_of(dtype="float32"):
    rng = np.random.default_rng(2)
    shapes = {"0": {"weight": (5, 4), "bias": (5,)}, "2": {"weight": (3, 5), "bias": (3,)}}
    return {i: {n: rng.standard_normal(s).astype(dtype) for n, s in layer.items()} for i, layer in shapes.items()}


def flat(parameters):
    return {f"{i}.{name}": array for i, layer in parameters.items() for name, array in layer.items()}


def loss_fn(parameters, x, y):
    hidden = np.tanh(x @ parameters["0"]["weight"].T + parameters["0"]["bias"])
    return np.mean((hidden @ parameters["2"]["weight"].T + parameters["2"]["bias"] - y) ** 2)


def model_loss(model, batch):
    return nn.mse_loss(model(batch["x"]), batch["y"])


def model_of():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


MATRICES = {optim.ndim(2): optim.Muon(0.02)}
OPTIMIZERS = {
    "sgd": optim.SGD(0.1, momentum=0.9),
    "adamw": optim.AdamW(optim.WarmUp(optim.Cosine(0.1, 5), 2)),
    "groups": optim.groups({"*.bias": {"lr": optim.Step(0.1, 2)}}, default=optim.NAdam(0.01)),
    "muon": optim.groups(MATRICES, default=optim.ASGD(0.1)),
    "averages": optim.EMA(optim.SWA(optim.Lion(0.01), 1, 2), 0.5),
    "eight bits": optim.Adam8bit(0.01, min_8bit_size=8, block_size=6),
    "adafactor": optim.Adafactor(0.1),
    "one cycle": optim.Adam(optim.OneCycle(0.1, 6, cycle_momentum=True)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_a_step_with_numpy_and_compiled(name):
    optimizer = OPTIMIZERS[name]
    step = gl.compile_step(model_of(), model_loss, optimizer, {"x": X, "y": Y})
    step.set_parameters(flat(parameters_of()))

    @gl.compile
    def train(parameters, state):
        loss, gradients = gl.value_and_grad(loss_fn)(parameters, X, Y)
        return *optimizer.update(parameters, gradients, state), loss

    eager = compiled = (parameters_of(), optimizer.init(parameters_of()))
    assert {n: (a.shape, a.dtype) for n, a in step.state().items()} == {
        n: (a.shape, a.dtype) for n, a in eager[1].items()
    }
    for _ in range(4):
        loss = step({"x": X, "y": Y})
        *compiled, found = train(*compiled)
        np.testing.assert_allclose(found, loss, rtol=1e-5)
        gradients = gl.grad(loss_fn)(eager[0], X, Y)
        eager = optimizer.update(eager[0], gradients, eager[1])
    exact = name != "eight bits"  # of which a rounding of the gradient may flip a code
    for parameters, state in (eager, compiled):
        for key, array in step.parameters().items():
            assert flat(parameters)[key].dtype == np.float32
            np.testing.assert_allclose(flat(parameters)[key], array, rtol=1e-3, atol=1e-4 if exact else 0.02)
        if exact:
            for key, array in step.state().items():
                np.testing.assert_allclose(state[key], array, rtol=1e-3, atol=1e-4, err_msg=key)
        assert all(type(leaf) is np.ndarray for leaf in [*flat(parameters).values(), *state.values()])
        assert state["step"] == 4


SCHEDULES = [
    optim.Constant(0.5),
    optim.Constant(0.5, 0.25, 3),
    optim.StepDecay(0.5, 3, 0.5),
    optim.Step(0.5, 4, 0.3),
    optim.MultiStep(0.5, [2, 5, 5, 20], 0.3),
    optim.Linear(0.5, total_iters=7),
    optim.Exponential(0.5, 0.9),
    optim.Polynomial(0.5, 9, 2.0),
    optim.Cosine(0.5, 10, 0.1),
    optim.CosineWarmRestarts(0.5, 3),
    optim.CosineWarmRestarts(0.5, 2, 3, 0.1),
    optim.Cyclic(0.1, 0.5, 3, 5),
    optim.Cyclic(0.1, 0.5, 2, mode="triangular2"),
    optim.Cyclic(0.1, 0.5, 2, mode="exp_range", gamma=0.9),
    optim.OneCycle(0.5, 20),
    optim.OneCycle(0.5, 20, three_phase=True, anneal_strategy="linear"),
    optim.Lambda(0.5, lambda step: 1 / (1 + step)),
    optim.WarmUp(0.5, 4),
    optim.WarmUp(optim.Cosine(0.5, 5), 0),
    optim.Sequential([optim.Linear(0.5, total_iters=4), 0.25, optim.Exponential(0.1, 0.5)], [4, 8]),
    lambda step: 0.5 * 0.9**step,
]


def test_schedules_are_traced_with_the_number_of_steps_in_the_state():
    """Descent along a gradient of -1 moves a parameter by the rate."""
    optimizers = [optim.SGD(schedule) for schedule in SCHEDULES]

    @gl.compile
    def moved(step):
        zero, minus = np.zeros(()), -np.ones(())
        return [o.update(zero, minus, {**o.init(zero), "step": step})[0] for o in optimizers]

    for step in [*range(24), 100, 1000]:
        expected = [optimizer.learning_rate(step) for optimizer in optimizers]
        np.testing.assert_allclose(moved(np.asarray(step)), expected, rtol=1e-12, atol=1e-15, err_msg=str(step))


def test_what_cannot_be_traced_says_to_give_the_rate_and_that_is_taken():
    def branching(step):
        return 0.5 if step < 3 else 0.25

    p, g = np.ones(3), np.ones(3)
    for schedule, error, message in (
        (branching, gl.TracingError, "branching is traced here"),
        (optim.Chained([optim.Exponential(0.5, 0.9)]), NotImplementedError, "the rate of Chained follows from that of"),
        (optim.Multiplicative(0.5, lambda step: 0.9), NotImplementedError, "the rate of Multiplicative follows"),
    ):
        optimizer = optim.SGD(schedule)
        state = optimizer.init(p)
        with pytest.raises(error) as found:
            gl.trace(lambda p, g, state, o=optimizer: o.update(p, g, state), p, g, state)
        assert message in "".join([str(found.value), *getattr(found.value, "__notes__", [])])
        fast = gl.compile(lambda p, g, state, lr, o=optimizer: o.update(p, g, state, lr=lr))
        new, state = fast(p, g, state, optimizer.learning_rate(0))
        np.testing.assert_allclose(new, optimizer.update(p, g, optimizer.init(p))[0])
        assert state["step"] == 1


def test_a_plateau_follows_the_loss_that_is_given():
    optimizer = optim.SGD(optim.ReduceOnPlateau(0.5, patience=0))
    p = np.ones(3)
    state = optimizer.init(p)
    for loss in (1.0, 1.0, 2.0):
        p, state = optimizer.update(p, np.ones(3), state, loss=loss)
    np.testing.assert_allclose(p, 1 - 0.5 - 0.5 - 0.05)
    assert state["plateau_lr"] == 0.5 * 0.1 * 0.1
    with pytest.raises(ValueError, match=r"ReduceOnPlateau follows the loss; write update\(\.\.\., loss=loss\)"):
        optimizer.update(p, p, state)


def test_leaves_without_a_gradient_are_left_alone_and_groups_match_paths():
    optimizer = optim.groups({"head.*": {"lr": 0.5}}, default=optim.AdamW(0.1))
    p = {"head": [np.ones(2), np.ones(2)], "body": (np.ones(3),)}
    new, state = optimizer.update(p, {"head": [np.ones(2), None], "body": (np.ones(3),)}, optimizer.init(p))
    np.testing.assert_array_equal(new["head"][1], p["head"][1])
    np.testing.assert_allclose(new["head"][0], 1 - 0.5 * 0.01 - 0.5)
    np.testing.assert_allclose(new["body"][0], 1 - 0.1 * 0.01 - 0.1)
    assert {"exp_avg.head.0", "exp_avg.head.1", "exp_avg.body.0"} <= state.keys()
    new, _ = optimizer.update(new, {"head": [None, None], "body": (np.ones(3),)}, state, lr={"default": 0.0})
    with pytest.raises(KeyError, match="no parameter has its learning rate from a group 'no'"):
        optimizer.update(p, p, state, lr={"no": 0.0})


def test_updates_stand_in_the_body_of_a_loop():
    optimizer = optim.EMA(optim.AdamW(0.1), 0.5)
    p = parameters_of("float64")

    def body(carry, _):
        parameters, state = carry
        return optimizer.update(parameters, gl.grad(loss_fn)(parameters, X, Y), state), 0.0

    looped, _ = gl.compile(lambda p, s: gl.scan(body, (p, s), np.zeros(5)))(p, optimizer.init(p))
    eager = (p, optimizer.init(p))
    for _ in range(5):
        eager = optimizer.update(eager[0], gl.grad(loss_fn)(eager[0], X, Y), eager[1])
    for (_, ours), (_, theirs) in zip(flat(looped[0]).items(), flat(eager[0]).items()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


ADAMW = optim.AdamW(0.1)
P = {"w": np.ones(3), "b": np.ones(())}


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: ADAMW.init({"n": np.arange(3)}), TypeError, "parameters: n is int64; what is trained is float32 or"),
        (
            lambda: ADAMW.init(model_of()),
            TypeError,
            "parameters: this is a Sequential, a module; give its arrays by name",
        ),
        (lambda: ADAMW.init({}), ValueError, "there is nothing to train: the parameters are a pytree without leaves"),
        (lambda: ADAMW.init({"a.b": np.ones(1), "a": {"b": np.ones(1)}}), ValueError, r"two leaves .* the path a\.b"),
        (lambda: ADAMW.update(P, ADAMW.init(P), P), TypeError, r"the gradients are .*write update\(parameters, grad"),
        (lambda: ADAMW.update(P, P, 3), TypeError, r"the state is a dict, as AdamW\.init\(parameters\) gives it"),
        (lambda: ADAMW.update(P, P, optim.SGD().init(P)), ValueError, r"without exp_avg\.b, exp_avg\.w, exp_avg_sq"),
        (lambda: ADAMW.update(P, {**P, "w": np.ones(4)}, ADAMW.init(P)), TypeError, r"gradient of w is .*\(4,\), the"),
        (lambda: ADAMW.update(P, P, ADAMW.init(P), lr=-1), ValueError, "rate of 'default' is a number of 0 or more"),
        (lambda: optim.SGD(lambda step: -1.0).update(P, P, {"step": 3}), ValueError, "rate for step 3 is -1.0"),
        (lambda: optim.groups({"q": {}}, ADAMW).init(P), ValueError, "'q' matches no parameter; near names are"),
        (lambda: optim.Muon().init(P), ValueError, "b: Muon is for matrices"),
    ],
)
def test_what_does_not_fit_is_told(act, error, message):
    with pytest.raises(error, match=message):
        act()
