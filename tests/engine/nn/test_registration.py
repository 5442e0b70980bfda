"""Modules that a model does not see are named, wherever they hide; and what is no module of ours is told from it."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn


@dataclass
class Held:
    layer: Any
    more: list[Any] = field(default_factory=list)


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Owner:
    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def apply(self, x: Any) -> Any:
        return self.layer(x)


def closure(layer: Any) -> Callable[[Any], Any]:
    return lambda x: layer(x)


def default(layer: Any) -> Callable[..., Any]:
    return lambda x, layer=layer: layer(x)


def keyword_default(layer: Any) -> Callable[..., Any]:
    def call(x: Any, *, layer: Any = layer) -> Any:
        return layer(x)

    return call


HIDING: list[tuple[Callable[[Any], Any], str]] = [
    (lambda m: [[m]], r"held\[0\]\[0\] is a Linear that is not registered.*nn\.ModuleList"),
    (lambda m: [m, None], r"held\[0\] is a Linear"),
    (lambda m: ([1, {"a": (m,)}],), r"held\[0\]\[1\]\['a'\]\[0\] is a Linear"),
    (lambda m: {"a": [m]}, r"held\['a'\]\[0\] is a Linear"),
    (lambda m: np.array([[None, m]]), r"held\[0, 1\] is a Linear"),
    (lambda m: {m, 1}, r"held\.pop\(\) is a Linear"),
    (lambda m: {m: 1}, r"held\.keys\(\)\[0\] is a Linear"),
    (Held, r"held\.layer is a Linear"),
    (lambda m: Held(None, [[m]]), r"held\.more\[0\]\[0\] is a Linear"),
    (Slotted, r"held\.inner is a Linear"),
    (lambda m: types.SimpleNamespace(block=Held(m)), r"held\.block\.layer is a Linear"),
    (closure, r"held \(closes over layer\) is a Linear"),
    (default, r"held \(default 0\) is a Linear"),
    (keyword_default, r"held \(default layer\) is a Linear"),
    (lambda m: functools.partial(max, m, key=None), r"held\.args\[0\] is a Linear"),
    (lambda m: functools.partial(max, key=m), r"held\.keywords\['key'\] is a Linear"),
    (lambda m: Owner(m).apply, r"held\.__self__\.layer is a Linear"),
    (lambda m: [closure(closure(m))], r"held\[0\] \(closes over layer\) \(closes over layer\) is a Linear"),
    (lambda m: [m.weight], r"held\[0\] is a parameter that is not registered.*nn\.ParameterList"),
    (lambda m: [nn.Dropout(0.5), 1], r"held\[0\] is a Dropout"),
]


class Holder(nn.Module):
    def __init__(self, held: Any) -> None:
        self.first = nn.Linear(3, 3)
        self.held = held

    def forward(self, x: Any) -> Any:
        return self.first(x)


@pytest.mark.parametrize(("hide", "message"), HIDING, ids=[str(i) for i in range(len(HIDING))])
def test_what_hides_is_named_with_the_place(hide: Callable[[Any], Any], message: str) -> None:
    for path, model in (("", Holder(hide(nn.Linear(3, 3)))), (r"0\.", nn.Sequential(Holder(hide(nn.Linear(3, 3)))))):
        with pytest.raises(TypeError, match=path + message):
            gl.plan_step(model, lambda m, x: m(x).sum(), gl.optim.SGD(0.1), gl.spec((2, 3)))


def test_what_is_registered_elsewhere_may_be_held_anywhere() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(3, 3)
            self.layers = [self.a, nn.ReLU()]
            self.again = [[self.a], {"a": self.a}, Held(self.a), closure(self), [self.a.weight]]
            self.again.append(self.again)
            self.table = np.ones(3)

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

    assert [name for name, _ in Net().named_parameters()] == ["a.weight", "a.bias"]
    gl.plan_step(Net(), lambda m, x: m(x).sum(), gl.optim.SGD(0.1), gl.spec((2, 3)))


def test_modules_that_contain_themselves_are_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    model.append(model)
    with pytest.raises(ValueError, match="the modules contain themselves"):
        list(model.named_parameters())
    assert "(itself)" in repr(model)
    one, other = nn.Sequential(), nn.Sequential()
    one.append(other)
    other.append(one)
    with pytest.raises(ValueError, match="contain themselves"):
        gl.plan_step(one, lambda m, x: m(x).sum(), gl.optim.SGD(0.1), gl.spec((2, 3)))


def test_a_module_of_another_model_says_that_it_is_no_part() -> None:
    head = nn.Linear(3, 1)
    with pytest.raises(TypeError, match=r"parameter Linear\.weight.*no part of the step's model.*nn\.ModuleList"):
        gl.plan_step(nn.Linear(3, 3), lambda m, x: head(m(x)).sum(), gl.optim.SGD(0.1), gl.spec((2, 3)))


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (nn, "DataParallel", r"write the model itself"),
        (nn, "Relu", r"write nn\.ReLU"),
        (nn, "Conv2D", r"write nn\.Conv2d"),
        (nn, "Linaer", r"similar: nn\.Linear"),
        (nn, "QuiteAnother", "a Module whose forward"),
        (nn.functional, "softmax_", r"nothing is written in place: write x = nn\.functional\.softmax\(x\)"),
        (gl.numpy, "putmask", r"gradloom.numpy has no 'putmask'.*np\.where"),
        (gl.numpy, "quite_another", "compute it outside"),
        (gl, "no_grad", r"gl has no 'no_grad'; write gl\.stop_gradient\(x\), or step\.bind"),
        (gl, "manual_seed", r"write the argument of gl\.compile_step: seed="),
        (gl, "Linear", r"write gl\.nn\.Linear or gl\.optim\.Linear"),
        (gl, "sin", r"write gl\.numpy\.sin$"),
        (gl, "compile_stp", r"similar: gl\.compile_step"),
        (gl, "EarlyStopping", r"write gl\.callbacks\.EarlyStopping$"),
        (gl, "DataLoader", r"write gl\.data\.batches\("),
        (gl.data, "Lodaer", r"gl\.data has no 'Lodaer'; similar: gl\.data\.Loader$"),
        (gl.random, "randn", r"write gl\.random\.normal\(shape\)"),
        (gl.random, "seed", r"write with gl\.random\.key\(seed\):"),
        (gl.random, "noraml", r"similar: gl\.random\.normal"),
        (gl.tree, "mapp", r"similar: gl\.tree\.map"),
        (gl.callbacks, "EarlyStoping", r"similar: gl\.callbacks\.EarlyStopping"),
        (gl.metrics, "f1", r"there are accuracy, mean_absolute_error"),
        (gl.debug, "prin", r"similar: gl\.debug\.print"),
        (gl.optim, "adamw", r"write gl\.optim\.AdamW$"),
        (gl.optim, "Rmsprop", r"write gl\.optim\.RMSprop$"),
        (gl.optim, "CosineAnnealingLR", r"write gl\.optim\.Cosine\(lr, steps"),
        (gl.numpy.linalg, "chol", r"similar: gradloom\.numpy\.linalg\.cholesky"),
        (nn.init, "xavier", r"similar: nn\.init\.xavier_normal"),
        (nn.augment, "flip", r"similar: .*nn\.augment\.random_horizontal_flip"),
        (nn.utils, "spectralnorm", r"write nn\.utils\.spectral_norm"),
        (nn, "Dense", r"write nn\.Linear"),
        (nn.Parameter(3), "grad", r"no attribute 'grad'; gradients by name are step\.gradients\(batch\)"),
        (nn.Parameter(3), "quite_another", "a Parameter has no attribute 'quite_another'$"),
    ],
)
def test_names_that_are_not_here_say_what_to_write(module: Any, name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(module, name)
    assert not hasattr(module, "__no_such_protocol__")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("from gradloom.nn import Liner", r"nn has no 'Liner'; similar: nn\.Linear"),
        ("from gradloom.optim import Adamw", r"gl\.optim has no 'Adamw'; write gl\.optim\.AdamW"),
        ("from gradloom import nn, optm", r"gl has no 'optm'; similar: gl\.optim"),
        ("from gradloom.nn.functional import sofmax", r"similar: nn\.functional\.softmax"),
        ("from gradloom.numpy import smu", r"np\.sum"),
    ],
)
def test_an_import_of_a_misspelt_name_says_what_to_write(statement: str, message: str) -> None:
    with pytest.raises(ImportError, match=message):
        exec(statement)


@pytest.mark.peers
def test_modules_of_torch_are_told_from_ours() -> None:
    torch: Any = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"expected a module of gl\.nn, got a torch\.nn\.Linear; write gl\.nn\.Linear"):
        nn.Sequential(torch.nn.Linear(3, 1))
    with pytest.raises(TypeError, match="got a function; write a Module whose forward calls it"):
        nn.Sequential(np.tanh)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"got the class Linear; write Linear\(\.\.\.\)"):
        nn.Sequential(nn.Linear)  # pyright: ignore[reportArgumentType]
    for held, message in (
        (torch.nn.Linear(3, 1), r"held is a torch\.nn\.Linear, which is torch's.*write gl\.nn\.Linear"),
        ([torch.nn.Linear(3, 1)], r"held\[0\] is a torch\.nn\.Linear"),
        (torch.nn.Parameter(torch.ones(3)), r"held is a torch\.nn\.Parameter.*nn\.Parameter\(tensor\.detach"),
    ):
        with pytest.raises(TypeError, match=message):
            gl.plan_step(Holder(held), lambda m, x: m(x).sum(), gl.optim.SGD(0.1), gl.spec((2, 3)))


@pytest.mark.peers
def test_batches_and_files_of_torch(tmp_path: Any) -> None:
    torch: Any = pytest.importorskip("torch")
    x, y = np.ones((2, 3), "float32"), np.ones((2, 1), "float32")
    batch = (torch.tensor(x), torch.tensor(y))
    step = gl.compile_step(
        nn.Linear(3, 1), lambda m, b: nn.mse_loss(m(b[0]), b[1]), gl.optim.SGD(0.1), batch, threads=1
    )
    assert step(batch).dtype == np.float32
    with pytest.raises(TypeError, match=r"the batch is a list, the step was compiled for a tuple; write step\(tuple\("):
        step(list(batch))
    torch.save(torch.nn.Linear(3, 1).state_dict(), tmp_path / "model.pt")
    with pytest.raises(gl.CheckpointError, match=r"a file of torch\.save.*step\.set_parameters\(torch\.load\("):
        step.load(tmp_path / "model.pt")
    step.set_parameters(torch.load(tmp_path / "model.pt", weights_only=True))


def test_a_named_tuple_of_modules_keeps_its_names_and_is_told() -> None:
    class Layers(NamedTuple):
        first: nn.Linear

    model = nn.Sequential(nn.Linear(2, 2))
    model.layers = Layers(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"not registered.*nn.ModuleList"):
        gl.plan_step(model, lambda m, x: np.mean(m(x)), gl.optim.SGD(0.1), gl.spec((2, 2), "float32"))
