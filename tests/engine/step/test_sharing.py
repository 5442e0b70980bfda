"""`share=`: steps that train the same parameters by name, with losses, optimizers and models of their own."""

import runpy
import threading
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.linspace(-1, 1, 12).reshape(4, 3)


class Gan(nn.Module):
    def __init__(self, hidden=5):
        self.generator = nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 3))
        self.discriminator = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.to("float64")


class Judge(nn.Module):
    """The discriminator alone, under the same names."""

    def __init__(self, features=4):
        self.discriminator = nn.Sequential(nn.Linear(3, features), nn.BatchNorm1d(features), nn.Linear(features, 1))
        self.scale = nn.Parameter(np.ones(1))
        self.to("float64")


def fool(model, z):
    return nn.softplus(-model.discriminator(model.generator(z))).mean()


def judge(model, batch):
    fake = model.generator(batch["z"]) if hasattr(model, "generator") else batch["z"]
    real, made = model.discriminator(batch["x"]), model.discriminator(gl.stop_gradient(fake))
    return (nn.softplus(-real) + nn.softplus(made)).mean()


BATCH = {"x": X + 1, "z": X}


def pair(optimizers=None, **options):
    optimizers = optimizers or (gl.optim.Adam(0.1), gl.optim.Adam(0.1))
    first = gl.compile_step(Gan(), judge, optimizers[0], BATCH, train="discriminator.*", **options)
    return first, gl.compile_step(Gan(), fool, optimizers[1], X, train="generator.*", share=first, seed=7, **options)


def same(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(array, other[name]) for name, array in one.items())


def test_each_sees_what_the_other_trains_and_the_shared_ones_keep_the_first_seed():
    first, second = pair()
    same(first.parameters(), gl.compile_step(Gan(), judge, gl.optim.SGD(0.1), BATCH).parameters())
    for step, batch, moved in ((first, BATCH, "discriminator."), (second, X, "generator."), (first, BATCH, "disc")):
        before = first.parameters()
        step(batch)
        after = first.parameters()
        same(after, second.parameters())
        same(first.buffers(), second.buffers())
        for name in after:
            assert np.array_equal(before[name], after[name]) == (not name.startswith(moved)), name
    assert (first.steps, second.steps) == (2, 1)
    assert first.buffers()["discriminator.1.num_batches_tracked"] == 2 * 2 + 1
    second.learning_rate = 0.5
    assert first.learning_rate == 0.1


def test_alternating_steps_are_those_of_one_model_trained_by_hand():
    first, second = pair((gl.optim.SGD(0.1), gl.optim.SGD(0.05)))
    values = {**first.parameters(), **first.buffers()}
    model = Gan()
    stored = dict(model.all_stored())

    def gradients(loss_fn, names, batch):
        def loss(trained):
            given = {stored[name]: array for name, array in {**values, **trained}.items()}
            with nn.bind(model, given) as binding:
                result = loss_fn(model, batch)
                return result, {name: binding.buffer(b) for name, b in model.stored_buffers()}

        return gl.value_and_grad(loss, has_aux=True)({name: values[name] for name in names})

    for _ in range(3):
        for step, loss_fn, part, rate, batch in (
            (first, judge, "disc", 0.1, BATCH),
            (second, fool, "gen", 0.05, X),
        ):
            names = [name for name in first.parameters() if name.startswith(part)]
            (loss, buffers), by_name = gradients(loss_fn, names, batch)
            np.testing.assert_allclose(step(batch), loss, rtol=1e-12)
            values |= {name: values[name] - rate * g for name, g in by_name.items()}
            values |= buffers
    for name, array in {**second.parameters(), **second.buffers()}.items():
        np.testing.assert_allclose(array, values[name], rtol=1e-9, atol=1e-12)


def test_models_of_two_classes_share_what_has_the_same_name():
    first = gl.compile_step(Gan(), fool, gl.optim.SGD(0.1), X, train="generator.*")
    start = first.parameters()
    second = gl.compile_step(Judge(), judge, gl.optim.SGD(0.1), BATCH, share=first, seed=3)
    assert first.parameters().keys() == second.parameters().keys() == start.keys() | {"scale"}
    second(BATCH)
    assert not np.array_equal(first.parameters()["discriminator.0.weight"], start["discriminator.0.weight"])
    same(first.parameters(), second.parameters())
    # What the first was compiled with is enough for it, and what is given to one is seen by the other.
    first.set_parameters(start)
    assert all(np.array_equal(array, second.parameters()[name]) for name, array in start.items())
    second.set_parameters({**start, "scale": np.full(1, 3.0)})
    assert first.parameters()["scale"] == 3
    sizes = {name: array.nbytes for name, array in second.parameters().items()}
    own = sum(size for name, size in sizes.items() if name.startswith("disc") or name == "scale")
    assert second.report.parameter_bytes == own


def test_sharing_goes_in_chains_and_joins_steps_that_were_apart():
    chain = [gl.compile_step(Gan(), fool, gl.optim.SGD(0.1), X)]
    chain.append(gl.compile_step(Gan(), judge, gl.optim.SGD(0.1), BATCH, share=chain[0]))
    chain.append(gl.compile_step(Gan(), fool, gl.optim.SGD(0.1), X, share=chain[1]))

    class Critic(nn.Module):
        def __init__(self):
            self.value = nn.Linear(3, 1, dtype="float64")

    class Both(Critic):
        def __init__(self):
            super().__init__()
            self.generator = Gan().generator

    def square(model, x):
        return (model.value(model.generator(x) if hasattr(model, "generator") else x) ** 2).mean()

    apart = gl.compile_step(Critic(), square, gl.optim.SGD(0.1), X, seed=1)
    predict = apart.bind(lambda model, x: model.value(x))
    before = predict(X)
    chain.append(gl.compile_step(Both(), square, gl.optim.SGD(0.1), X, share=[chain[0], apart, chain[1]]))
    np.testing.assert_array_equal(predict(X), before)
    chain.append(apart)
    for step in chain:
        step(BATCH if step is chain[1] else X)
        for other in chain:
            same(other.parameters(), step.parameters())
    assert not np.array_equal(predict(X), before)
    assert len({id(step._current()) for step in chain}) == 1
    arenas = {id(s.executable.arena) for step in chain for s in step._signatures.values()}
    assert arenas == {id(chain[0]._current().arena)}
    assert chain[0]._current().arena.nbytes == max(step.report.arena_bytes for step in chain)


class Named(nn.Module):
    """Arrays under names, of which some may be tied."""

    def __init__(self, tied=(), **arrays):
        for name, array in arrays.items():
            setattr(self, name, array)
        for name, other in tied:
            setattr(self, name, self._parameters[other])


def sums(model, x):
    return sum((p * p).sum() for p in model.parameters()) + x.sum()


def named(share=None, **arrays):
    return gl.compile_step(Named(**arrays), sums, gl.optim.SGD(0.1), X, share=share)


def p(*shape, dtype="float64"):
    return nn.Parameter(shape, dtype, nn.init.ones())


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        ({"a": p(2), "b": p(3)}, {"a": p(4), "b": p(3)}, r"a is float64 of shape \(4,\) here, and .*\(2,\) there"),
        ({"a": p(2)}, {"a": p(2, dtype="float32")}, r"a is float32 of shape \(2,\) here, and float64 of shape"),
        ({"a": p(2), "b": nn.Buffer((2,), "float64")}, {"a": p(2), "b": p(2)}, "b is a parameter here, and a buffer"),
        ({"a": p(2)}, {"b": p(2), "c": p(1)}, "no name in common; here are b, c, there a"),
        ({"a": p(2), "b": p(2)}, {"a": p(2), "tied": [("b", "a")]}, "a and b are two arrays there, and one tied"),
        ({"a": p(2), "tied": [("b", "a")]}, {"a": p(2), "b": p(2)}, "a and b are one tied parameter there, and two"),
    ],
)
def test_models_that_do_not_agree_are_refused_with_what_differs_and_nothing_changes(there, here, message):
    step = named(**there)
    before, live = step.parameters(), step._current()
    with pytest.raises(ValueError, match=message):
        gl.plan_step(Named(**here), sums, gl.optim.SGD(0.1), X, share=step)
    with pytest.raises(ValueError, match=message):
        named(step, **here)
    same(step.parameters(), before)
    assert step._current() is live


def test_a_tied_parameter_is_shared_by_any_of_its_names():
    first = named(a=p(2), tied=[("b", "a")])
    second = named(first, b=p(2), c=p(1))
    assert second.parameters().keys() == {"a", "c"}
    second(X)
    np.testing.assert_allclose(first.parameters()["a"], 0.8)
    second.set_parameters({"b": np.full(2, 5.0), "c": np.ones(1)})
    np.testing.assert_array_equal(first.parameters()["a"], 5.0)


def test_what_is_no_step_is_refused_and_so_are_two_arrays_of_one_name():
    step, other = named(a=p(2)), named(a=p(2))
    for wrong in (Named(a=p(2)), "step", [step, None], step.parameters()):
        with pytest.raises(TypeError, match=r"share is a step of gl.compile_step, or a list of steps, got"):
            named(wrong, a=p(2))
    with pytest.raises(ValueError, match="a is another array in each of two steps"):
        named([step, other], a=p(2))
    assert named([], a=p(2)).parameters().keys() == {"a"}


def test_a_step_that_fails_to_compile_leaves_those_it_would_share_with_apart(monkeypatch):
    first, second = named(a=p(2)), named(b=p(300))

    def failing(*args):
        raise MemoryError("no memory for machine code")

    with monkeypatch.context() as patch:
        patch.setattr(gl.Step, "_add", failing)
        with pytest.raises(MemoryError, match="machine code"):
            named([first, second], a=p(2), b=p(300), c=p(2))
    assert first.parameters().keys() == {"a"}
    assert first._current() is not second._current()
    for step in (first, second):
        assert all(s.executable.arena is step._current().arena for s in step._signatures.values())
    first(X)
    np.testing.assert_allclose(first.parameters()["a"], 0.8)


def test_a_checkpoint_of_one_has_all_parameters_and_its_own_state(tmp_path):
    first, second = pair()
    for _ in range(2):
        first(BATCH), second(X)
    first.save(tmp_path / "first.safetensors")
    second.save(tmp_path / "second.safetensors")
    expected = [(first(BATCH), second(X)) for _ in range(2)]
    again = pair()
    again[0].load(tmp_path / "first.safetensors")
    same(again[1].parameters(), again[0].parameters())
    assert (again[0].steps, again[1].steps) == (2, 0)
    again[1].load(tmp_path / "second.safetensors")
    assert [(again[0](BATCH), again[1](X)) for _ in range(2)] == expected


def test_a_checkpoint_from_before_others_shared_is_enough(tmp_path):
    first = gl.compile_step(Gan(), fool, gl.optim.SGD(0.1), X, train="generator.*")
    first(X)
    first.save(tmp_path / "alone.safetensors")
    saved = first.parameters()
    second = gl.compile_step(Judge(), judge, gl.optim.SGD(0.1), BATCH, share=first)
    second(BATCH)
    first.load(tmp_path / "alone.safetensors")
    assert all(np.array_equal(array, second.parameters()[name]) for name, array in saved.items())


def test_two_threads_run_one_step_at_a_time_also_when_a_third_begins_to_share():
    steps = list(pair((gl.optim.SGD(1e-3), gl.optim.SGD(1e-3))))
    failures = []

    def train(step, batch):
        try:
            for _ in range(200):
                step(batch)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=args) for args in zip(steps, (BATCH, X))]
    for thread in threads:
        thread.start()
    third = gl.compile_step(Gan(), fool, gl.optim.SGD(1e-3), X, share=steps[0])
    for thread in threads:
        thread.join()
    assert not failures
    assert [step.steps for step in steps] == [200, 200]
    assert third.buffers()["discriminator.1.num_batches_tracked"] == 600
    assert third._current() is steps[0]._current() is steps[1]._current()


def test_a_bound_function_of_one_step_is_seen_by_the_other():
    first, second = pair()

    def halve(model):
        for layer in (model.generator[0], model.generator[2]):
            layer.weight = layer.weight / 2

    weight = first.parameters()["generator.0.weight"]
    second.bind(halve)()
    np.testing.assert_array_equal(first.parameters()["generator.0.weight"], weight / 2)
    run = first.bind(lambda model, z: model.generator(z))
    np.testing.assert_allclose(run(X), second.bind(lambda model, z: model.generator(z))(X))


def test_the_example_of_adversarial_training_runs(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["adversarial.py", "--steps", "8"])
    runpy.run_path(str(Path(gl.__file__).parent / "examples/adversarial.py"), run_name="__main__")
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 9
    assert np.isfinite([float(number) for number in rows[-1].split()[:4]]).all()
