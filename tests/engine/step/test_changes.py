"""What is assigned after a step was compiled takes effect, or is an error; what a step does not train is told."""

import warnings
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

X, Y = np.ones((4, 4), "float32"), np.zeros((4, 3), "float32")


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch[0]), batch[1])


def compiled(model: nn.Module) -> gl.Step:
    return gl.compile_step(model, loss_fn, optim.SGD(0.1), (X, Y))


def test_a_step_has_no_other_attributes():
    step = compiled(nn.Linear(4, 3))
    with pytest.raises(AttributeError, match=r"step\.lr = 0\.5 would have no effect.*write step\.learning_rate = 0\.5"):
        step.lr = 0.5
    for name in ("threads", "seed", "steps", "optimizer", "memory"):
        with pytest.raises(AttributeError, match=rf"step\.{name} = 2 would have no effect.*test_changes"):
            setattr(step, name, 2)
    step.learning_rate = np.float32(0.5)
    assert step.learning_rate == 0.5
    for rate in (True, "0.5", -1, np.inf, np.nan, 10**400):
        with pytest.raises(ValueError, match="a learning rate is a number of 0 or more"):
            step.learning_rate = rate


def test_a_model_that_was_changed_is_not_trained_as_it_was():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    step = compiled(model)
    before = step.parameters()

    def refused(change: str) -> None:
        with pytest.raises(RuntimeError, match=f"the model was changed after the step was compiled.*{change}"):
            step((X, Y))
        for name, array in step.parameters().items():
            np.testing.assert_array_equal(array, before[name])

    model.eval()
    refused("training was True and is False")
    assert step.bind(lambda model, x: model(x))(X).shape == (4, 3)
    model.train()
    model[0].weight.requires_grad = False
    refused(r"0\.weight\.requires_grad was True and is False")
    model[0].weight.requires_grad = True
    model[1].p = 0.25
    refused(r"1\.p was 0\.5 and is 0\.25")
    model[1].p = 0.5
    model.extra = nn.Linear(3, 3)
    refused(r"extra\.training is new")
    del model.extra
    assert np.isfinite(step((X, Y)))
    nn.Linear(2, 2).eval()  # another model
    assert np.isfinite(step((X, Y)))


def test_train_has_no_effect_in_evaluation_and_says_so():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    step = compiled(model)
    with pytest.raises(RuntimeError, match=r"train\(\) has no effect here.*test_changes"):
        step.bind(lambda model, x: model.train()(x))(X)
    step.bind(lambda model, x: model.eval()(x))(X)
    assert model.training
    assert np.isfinite(step((X, Y)))


def test_an_array_that_is_used_like_a_weight_is_told_once():
    class Net(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(4, 4)
            self.w, self.unused, self.scale = np.ones((3, 4), "float32"), np.ones(3), np.ones(())

        def forward(self, x: Any) -> Any:
            return self.a(x) @ self.w.T * self.scale.astype("float32")

    message = r"Net: w is a NumPy array, used at .*test_changes.*self\.w = nn\.Parameter\(array\)"
    with pytest.warns(UserWarning, match=message) as told:
        step = compiled(Net())
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step((X[:2], Y[:2]))


def test_dropout_of_everything_gives_zeros_and_zero_gradients():
    for layer, shape in ((nn.Dropout(1.0), (4, 3)), (nn.Dropout2d(1.0), (2, 3, 2, 2)), (nn.Dropout1d(1.0), (2, 3, 2))):
        x = np.full(shape, 1e38, "float32")
        model = nn.Sequential(nn.Linear(shape[-1], shape[-1]), layer)
        step = gl.compile_step(model, lambda model, x: ((model(x) - 1) ** 2).sum(), optim.SGD(1.0), x)
        before = step.parameters()
        assert step(x) == np.prod(shape)
        for name, array in step.parameters().items():
            np.testing.assert_array_equal(array, before[name])


def test_what_a_step_or_a_model_does_not_have_names_what_to_write() -> None:
    model = nn.Linear(4, 3)
    step = compiled(model)
    for owner, name, instead in (
        (step, "lr", r"step\.learning_rate"),
        (step, "zero_grad", "computes new gradients"),
        (step, "eval", r"step\.bind"),
        (step, "nothing", r"dir\(step\)"),
        (model, "cuda", "target="),
        (model, "half", r"model\.to\('float32'\)"),
    ):
        with pytest.raises(AttributeError, match=rf"no attribute '{name}'; .*{instead}.*, at .*test_changes"):
            getattr(owner, name)
    assert getattr(step, "nothing", 5) == 5
    assert not hasattr(model, "nothing")
    with pytest.raises(TypeError, match=r"takes a dtype, got 'cuda:0'.*no \.to\(device\).*test_changes"):
        model.to("cuda:0")
    wrong: Any = [np.ones(3)]
    with pytest.raises(TypeError, match=r"a dict of arrays by name.*got list, at .*test_changes"):
        step.set_parameters(wrong)
    wrong = step.parameters()
    with pytest.raises(TypeError, match=r"path of a file, got dict; write step\.set_parameters.*test_changes"):
        step.load(wrong)
    for wrong in ("forward", model):
        with pytest.raises(TypeError, match=r"a function of the model.*step\.bind\(lambda.*test_changes"):
            step.bind(wrong)


@pytest.mark.peers
@pytest.mark.parametrize("hold", [lambda a: [a], lambda a: {"w": (a,)}, lambda a: a, lambda a: lambda x: x * a])
@pytest.mark.parametrize("of_torch", [False, True])
def test_arrays_that_a_model_computes_with_are_told_wherever_it_holds_them(hold: Any, of_torch: bool) -> None:
    array: Any = np.full((3,), 2, "float32")
    array[1] = 3
    if of_torch:
        array = pytest.importorskip("torch").from_numpy(array)

    class Held(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(4, 3)
            self.held = hold(array)
            self.unused = [np.ones(3, "float32")]

        def forward(self, x: Any) -> Any:
            weight = self.held
            weight = weight["w"] if isinstance(weight, dict) else weight
            weight = weight[0] if isinstance(weight, (list, tuple)) else weight
            return weight(self.linear(x)) if callable(weight) else self.linear(x) * weight

    what = "tensor of torch" if of_torch else "NumPy array"
    with pytest.warns(UserWarning, match=rf"held\S*.* is a {what}, used at .*test_changes.*nn\.Parameter") as told:
        gl.plan_step(Held(), loss_fn, optim.SGD(0.1), (X, Y))
    assert len(told) == 1
