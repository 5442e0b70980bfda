"""Functions that are bound to a step: several at once, in training, with draws, and with what they assign."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


def squares(model, batch):
    return (model(batch) ** 2).mean()


def step_of(model, seed=0, rate=0.1):
    return gl.compile_step(model, squares, gl.optim.SGD(rate), X, seed=seed)


def forward(model, x):
    return model(x)


def test_several_functions_come_as_a_tuple_and_share_parameters_and_arena():
    step = step_of(nn.Linear(4, 2))
    predict, norm = step.bind(forward, lambda model: (model.weight**2).sum())
    assert isinstance(step.bind(forward, training=True), type(predict))
    np.testing.assert_allclose(norm(), (step.parameters()["weight"] ** 2).sum(), rtol=1e-6)
    before = predict(X)
    step(X)
    values = step.parameters()
    np.testing.assert_allclose(predict(X), X @ values["weight"].T + values["bias"], rtol=1e-5)
    assert not np.array_equal(predict(X), before)
    arenas = {id(bound.executable.arena) for f in (predict, norm) for bound in f._signatures.values()}
    assert arenas == {id(step._live.arena)}


def test_a_name_that_an_argument_does_not_have_is_told_with_those_that_it_has():
    bound = step_of(nn.Linear(4, 2)).bind(lambda model, batch, scale=1.0: model(batch["y"]) * scale)
    with pytest.raises(KeyError, match="y") as caught:
        bound({"x": X})
    assert caught.value.__notes__ == ["the argument has x"]


def test_arguments_come_by_position_or_by_name():
    step = step_of(nn.Linear(4, 2))
    scaled = step.bind(lambda model, x, by=2.0, *, keyword=1.0: model(x) * by * keyword)
    expected = scaled(X, 3.0)
    np.testing.assert_array_equal(scaled(by=3.0, x=X), expected)
    np.testing.assert_array_equal(scaled(X, by=3.0), expected)
    for wrong, message in (
        ({"y": X}, "<lambda>: got an unexpected keyword argument 'y'|<lambda>: missing a required argument: 'x'"),
        ({"x": X, "keyword": 2.0}, "a bound function has arguments with places; keyword cannot be given one"),
    ):
        with pytest.raises(TypeError, match=message):
            scaled(**wrong)


def test_a_bound_function_that_is_given_the_model_says_that_it_has_it():
    step = step_of(nn.Linear(4, 2))
    with pytest.raises(TypeError, match=r"has its model already; .* as predict\(x\), at .*test_bind.py"):
        step.bind(forward)(step._model, X)


def test_what_is_no_function_is_refused_and_nothing_to_bind_too():
    model = nn.Linear(4, 2)
    step = step_of(model)
    for wrong in (model, None, "forward"):
        with pytest.raises(TypeError, match=r"step.bind takes a function.*write step.bind\(lambda model, x"):
            step.bind(forward, wrong)
    part = step_of(nn.Sequential(nn.Linear(4, 2)))
    with pytest.raises(TypeError, match=r"got a Linear; write step.bind\(lambda model, x: model.get_submodule\('0'\)"):
        part.bind(part._model[0])
    with pytest.raises(TypeError, match=r"step.bind takes a function; write"):
        step.bind()
    for wrong in (-1, 0.5, "a"):
        with pytest.raises(ValueError, match="a seed is 0 or more"):
            step.bind(forward, key=wrong)


def test_in_training_dropout_draws_anew_in_every_call_and_the_same_from_the_same_key():
    step = step_of(nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5)))
    evaluated, trained = step.bind(forward), step.bind(forward, training=True)
    assert np.array_equal(evaluated(X), evaluated(X))
    one, other = step.bind(forward, forward, training=True, key=5)
    first, second = one(X), one(X)
    assert not np.array_equal(first, second)
    assert np.array_equal(other(X), first)
    assert np.array_equal(other(X), second)
    assert np.array_equal(one(X, key=5), first)
    assert np.array_equal(trained(X, key=5), first)
    with gl.random.key(5):
        eager = nn.functional_call(step._model, step.parameters(), X, training=True)
    np.testing.assert_allclose(first, eager, rtol=1e-5, atol=1e-6)
    assert np.array_equal(other(X), one(X))  # a call with a key does not count
    zeros = (first == 0).mean()
    assert 0.35 < zeros < 0.65
    np.testing.assert_allclose(first[first != 0], 2 * evaluated(X)[first != 0], rtol=1e-6)
    with pytest.raises(ValueError, match="a seed is 0 or more"):
        one(X, key=-1)


def test_without_a_key_draws_follow_from_the_seed_of_the_step():
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))
    first, second, again = step_of(model), step_of(model, seed=1), step_of(model)
    draws = [[f(X) == 0 for f in step.bind(forward, forward, training=True)] for step in (first, second, again)]
    assert np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0][0], draws[1][0])
    assert not np.array_equal(draws[0][0], draws[0][1])


def test_a_key_at_the_end_of_int64_goes_on_at_its_other_end():
    predict = step_of(nn.Linear(4, 2)).bind(lambda model: gl.random.uniform(8))
    predict._base[()] = np.iinfo(np.int64).max
    assert not np.array_equal(predict(), predict())


def test_a_function_in_training_moves_running_statistics_and_one_in_evaluation_does_not():
    step = step_of(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    start = step.buffers()
    evaluated, trained = step.bind(forward, lambda model, x: model(x).sum()), step.bind(forward, training=True)
    evaluated[0](X)
    evaluated[1](X)
    assert all(np.array_equal(start[name], array) for name, array in step.buffers().items())
    values = step.parameters()
    hidden = X @ values["0.weight"].T + values["0.bias"]
    np.testing.assert_allclose(trained(X).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(step.buffers()["1.running_mean"], 0.1 * hidden.mean(axis=0), rtol=1e-4)
    assert all(np.array_equal(values[name], array) for name, array in step.parameters().items())


class Memory(nn.Module):
    """Counts its calls, and remembers the last input."""

    def __init__(self):
        self.linear = nn.Linear(4, 2)
        self.last = nn.Buffer((4,))
        self.calls = nn.Buffer((), "int64")

    def forward(self, x):
        return self.linear(x)

    def push(self, x, i):
        rows = gl.numpy.asarray(np.array([3, 0]))[i]  # raises IndexError when it runs
        self.last, self.calls = x, self.calls + 1
        return self.last.sum(), rows


def test_what_a_function_assigns_is_from_then_on_the_content_of_the_buffer(tmp_path):
    step = step_of(Memory())
    push, read = step.bind(Memory.push, lambda model: {"last": model.last, "calls": model.calls})
    assert push(X[0], 1) == (X[0].sum(), 0)
    assert push(X[1], 0) == (X[1].sum(), 3)
    np.testing.assert_array_equal(read()["last"], X[1])
    assert read()["calls"] == step.buffers()["calls"] == 2
    with pytest.raises(IndexError):
        push(X[2], 2)
    assert read()["calls"] == 2
    np.testing.assert_array_equal(step.buffers()["last"], X[1])
    step(X)
    assert step.buffers()["calls"] == 2
    step.save(tmp_path / "memory.safetensors")
    push(X[0], 0)
    step.load(tmp_path / "memory.safetensors")
    assert read()["calls"] == 2


class Pair(nn.Module):
    """A network, and a target that is trained by no gradient."""

    def __init__(self):
        self.online = nn.Linear(4, 2)
        self.target = nn.Linear(4, 2)
        for parameter in self.target.parameters():
            parameter.requires_grad = False

    def follow(self, rate):
        for t, o in ((self.target, self.online),):
            t.weight = t.weight + rate * (o.weight - t.weight)
            t.bias = t.bias + rate * (o.bias - t.bias)


def test_a_function_moves_a_target_after_the_parameters_that_are_trained():
    step = gl.compile_step(
        Pair(),
        lambda model, x: ((model.online(x) - gl.stop_gradient(model.target(x))) ** 2).mean(),
        gl.optim.SGD(0.1),
        X,
    )
    before = step.parameters()
    assert step.bind(Pair.follow)(0.25) is None
    after = step.parameters()
    for name in ("weight", "bias"):
        target, online = before[f"target.{name}"], before[f"online.{name}"]
        np.testing.assert_allclose(after[f"target.{name}"], target + 0.25 * (online - target), rtol=1e-6)
        np.testing.assert_array_equal(after[f"online.{name}"], online)


def test_a_step_assigns_what_it_does_not_train_and_nothing_else():
    def chased(model, x):
        loss = ((model.online(x) - gl.stop_gradient(model.target(x))) ** 2).mean()
        model.follow(0.5)
        return loss

    step = gl.compile_step(Pair(), chased, gl.optim.SGD(0.1), X)
    before = step.parameters()
    step(X)
    after = step.parameters()
    expected = (before["target.weight"] + before["online.weight"]) / 2
    np.testing.assert_allclose(after["target.weight"], expected, rtol=1e-6)
    assert not np.array_equal(after["online.weight"], before["online.weight"])

    def wrong(model, x):
        model.online.weight = model.target.weight
        return (model.online(x) ** 2).mean()

    with pytest.raises(TypeError, match=r"parameter online.weight cannot be assigned.*does not train.*test_bind"):
        gl.compile_step(Pair(), wrong, gl.optim.SGD(0.1), X)


def test_an_assignment_of_another_shape_or_dtype_names_the_parameter():
    step = step_of(Memory())
    for function, message in (
        (lambda model: setattr(model, "last", model.last[:2]), r"buffer last is f32\[4\] and stays so"),
        (lambda model: setattr(model.linear, "bias", model.calls), r"parameter linear.bias is f32\[2\] and stays so"),
    ):
        with pytest.raises(TypeError, match=message):
            step.bind(function)()


class Cache(nn.Module):
    def __init__(self, length):
        self.linear = nn.Linear(8, 8)
        self.keys = nn.Buffer((2, length, 8))
        self.length = nn.Buffer((), "int64")

    def push(self, x):
        new = self.linear(x)[:, None]
        self.keys = gl.numpy.dynamic_update_slice(self.keys, new, (0, self.length, 0))
        self.length = self.length + 1
        return self.keys.sum(axis=(1, 2)), new.sum()


def test_a_cache_is_written_in_its_own_memory():
    x = np.ones((2, 8), np.float32)
    step = gl.compile_step(Cache(50), lambda model, x: (model.linear(x) ** 2).mean(), gl.optim.SGD(0.1), x)
    push, project = step.bind(Cache.push, lambda model, x: model.linear(x))
    rows = []
    for k in range(3):
        total, new = push(k * x)
        rows.append(project(k * x))
        np.testing.assert_allclose(total, np.sum(rows, axis=(0, 2)), rtol=1e-5)
        np.testing.assert_allclose(new, rows[-1].sum(), rtol=1e-5)
    np.testing.assert_array_equal(step.buffers()["keys"][:, :3], np.stack(rows, axis=1))
    (bound,) = push._signatures.values()
    plan = bound.executable.plan
    assert not plan.copied_back
    (written,) = [node for node in plan.graph.nodes if node.op.changes is not None]
    assert plan.in_place[written] == {0: 0}
    assert plan.locations[written.output].place == "input"
    assert plan.arena_bytes < step.buffers()["keys"].nbytes
