"""What is no model, no loss function and no optimizer is told with what was written, where, and what to write."""

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

BATCH = {"x": gl.spec((4, 3)), "y": gl.spec((4, 2))}
MODEL = nn.Linear(3, 2)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch["x"]), batch["y"])


def of_batch(batch: Any) -> Any:
    return batch


def of_output(output: Any, target: Any) -> Any:
    return ((output - target["y"]) ** 2).mean()


def of_three(model: Any, x: Any, y: Any) -> Any:
    return x


def forgets(model: Any, batch: Any) -> None:
    loss_fn(model, batch)


WRITE = r".*write def loss_fn\(model, batch\)"
HERE = r".*test_arguments\.py:\d+"


def swapped(batch: Any, model: Any) -> Any:
    return model(batch["x"]).mean()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (of_batch, r"loss_fn is of_batch\(batch.*, and it is called with two arguments" + WRITE + HERE),
        (of_three, r"loss_fn is of_three\(model.*, and it is called with two" + WRITE + HERE),
        (of_output, r"loss_fn is of_output\(output.* not with what the model returned, and failed" + WRITE),
        (nn.mse_loss, r"loss_fn is gl\.nn\.mse_loss, a function of what a model returns" + WRITE + HERE),
        (nn.MSELoss, "loss_fn is the class MSELoss; it is a function of" + WRITE + HERE),
        (swapped, r"loss_fn is swapped\(batch: .*with \(model, batch\), in this order, and failed" + WRITE),
        (MODEL, "loss_fn is Linear, a module" + WRITE + HERE),
        ((loss_fn, loss_fn), r"loss_fn is one function of .*got a tuple; write their sum, or .*share=" + HERE),
        (None, r"loss_fn is a function of \(model, batch\), got NoneType" + WRITE + HERE),
        (forgets, "it returned NoneType; a `return` may be missing; it is forgets" + HERE),
        (lambda m, b: {"loss": loss_fn(m, b)}, "it returned dict; return loss, metrics"),
        (lambda m, b: m(b["x"]), r"its loss has shape \(4, 2\) \(computed at" + HERE + r".*take \.mean\(\) or \.sum"),
        (lambda m, b: m(b["x"]).argmax(), "its loss is int64.*return a mean or a sum of floats.*<lambda>" + HERE),
        (lambda m, b: (m(b["x"]) > 0).all(), "its loss is bool.*return a mean or a sum of floats"),
        (lambda m, b: 1, "it returned int; .*return a mean or a sum of floats"),
        (lambda m, b: m, "it returned Linear; call the module"),
    ],
)
def test_what_is_no_loss_is_told(loss: Any, message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        gl.plan_step(MODEL, loss, optim.SGD(0.1), BATCH)


def test_an_error_inside_a_loss_function_stays_what_it_is():
    def fails(model: Any, batch: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gl.plan_step(MODEL, fails, optim.SGD(0.1), BATCH)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.Adam(MODEL.parameters()), TypeError, r"got a generator.*write gl\.optim\.Adam\(1e-3\)"),
        (lambda: optim.Adam(MODEL.parameters(), lr=1e-3), TypeError, "Adam: lr is .* got a generator"),
        (lambda: optim.SGD(list(MODEL.parameters()), 0.1), TypeError, "SGD: lr is .* got a list"),
        (lambda: optim.AdamW(MODEL), TypeError, "AdamW: lr is .* got a Linear"),
        (lambda: optim.AdamW(params=[], lr=0.1), TypeError, "AdamW: lr is .* got params"),
        (lambda: optim.Adam(1e-3, foreach=False), TypeError, "Adam has no argument 'foreach'; .*leave it out"),
        (lambda: optim.Adam(1e-3, beta1=0.5), TypeError, "Adam has no argument 'beta1'; similar: betas"),
    ],
)
def test_optimizers_as_torch_has_them_are_told(make: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message + HERE):
        make()


class Adam:
    """As `torch.optim.Adam` looks from outside."""

    param_groups = ({"lr": 0.25},)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (Adam(), r"got Adam of torch.*write gl\.optim\.Adam\(0\.25\)"),
        (optim.SGD, r"got the class SGD; write SGD\(1e-3\)"),
        ("adam", r"got the text 'adam'; write gl\.optim\.Adam\(1e-3\)"),
        (0.1, "got 0.1"),
        ([optim.SGD(0.1)], r"got a list; write gl\.optim\.groups.* or a step for each: .*share=step"),
        (None, "got None"),
    ],
)
def test_what_is_no_optimizer_is_told(optimizer: Any, message: str):
    with pytest.raises(TypeError, match=r"optimizer is one of gl\.optim, such as gl\.optim\.AdamW.*" + message + HERE):
        gl.plan_step(MODEL, loss_fn, optimizer, BATCH)


def test_what_is_no_model_is_told():
    for model, message in (
        (nn.Linear, r"the class Linear; write Linear\(\.\.\.\)"),
        (np.tanh, "write a class Model"),
        ((nn.Linear(1, 1), nn.Linear(1, 1)), r"got a tuple of 2; write gl\.nn\.ModuleList\(\.\.\.\)"),
        ({"a": nn.Linear(1, 1)}, r"got a dict of 1; write gl\.nn\.ModuleDict\(\.\.\.\)"),
    ):
        with pytest.raises(TypeError, match=message + HERE):
            gl.plan_step(model, loss_fn, optim.SGD(0.1), BATCH)


@pytest.mark.peers
def test_models_and_losses_of_torch_are_told():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"got Linear, .*; write gl\.from_torch\(module, .*its loss" + HERE):
        gl.plan_step(torch.nn.Linear(3, 2), loss_fn, optim.SGD(0.1), BATCH)
    with pytest.raises(TypeError, match="loss_fn is MSELoss, a module" + WRITE):
        gl.plan_step(MODEL, torch.nn.MSELoss(), optim.SGD(0.1), BATCH)


class Own(optim.Optimizer):
    """An optimizer of the user's, with arguments of its own."""

    def __init__(self, sizes: Any, *, lr: float) -> None:
        object.__setattr__(self, "lr", lr)
        object.__setattr__(self, "sizes", sizes)

    def init_parameter(self, type: Any) -> dict[str, Any]:
        return {}

    def scalars(self, step: Any, lr: Any, dtype: Any) -> Any:
        return {"lr": gl.numpy.astype(lr, dtype)}

    def update_parameter(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter - gradient * scalars["lr"], {}


def test_a_subclass_has_arguments_of_its_own():
    assert gl.plan_step(MODEL, loss_fn, Own([1, 2], lr=0.5), BATCH).report.state_bytes > 0


def test_a_loss_function_without_a_module_is_taken():
    """As one that was made by `exec` without a name of the module."""
    names: dict[str, Any] = {"nn": nn}
    exec("def loss(model, batch):\n    return nn.mse_loss(model(batch['x']), batch['y'])\n", names)
    assert names["loss"].__module__ is None
    assert gl.plan_step(MODEL, names["loss"], optim.SGD(0.1), BATCH).report.total_bytes > 0


def test_a_misspelt_name_of_the_batch_is_told_with_those_that_it_has() -> None:
    batch = {"image": gl.spec((2, 3)), "label": gl.spec((2,), "int64")}

    def loss_fn(model: Any, batch: Any) -> Any:
        return gl.nn.cross_entropy(model(batch["images"]), batch["label"])

    with pytest.raises(KeyError, match="images") as caught:
        gl.plan_step(gl.nn.Linear(3, 2), loss_fn, optim.SGD(0.1), batch)
    assert caught.value.__notes__ == ["the batch has image, label; similar: image"]
    with pytest.raises(KeyError) as caught:
        gl.plan_step(gl.nn.Linear(3, 2), lambda model, batch: {}["other"], optim.SGD(0.1), gl.spec((2, 3)))
    assert not hasattr(caught.value, "__notes__")
