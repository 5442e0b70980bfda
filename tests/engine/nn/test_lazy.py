"""Layers that find the number of their features or channels: as torch's, and as those that are given it."""

from __future__ import annotations

import inspect
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)
KINDS: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    ("Linear", (5,), (4, 2, 3)),
    *((f"Conv{n}d", (4, 3), (2, 3, 7, 6, 5)[: n + 2]) for n in (1, 2, 3)),
    *((f"ConvTranspose{n}d", (4, 2), (2, 3, 7, 6, 5)[: n + 2]) for n in (1, 2, 3)),
    *((f"BatchNorm{n}d", (1e-3, 0.2), (2, 3, 7, 6, 5)[: n + 2]) for n in (1, 2, 3)),
    *((f"InstanceNorm{n}d", (1e-3, 0.2, True, True), (2, 3, 7, 6, 5)[: n + 2]) for n in (1, 2, 3)),
]


def plain(name: str, args: tuple[Any, ...], size: int) -> nn.Module:
    return getattr(nn, name)(size, *args)


@pytest.mark.parametrize(("name", "args", "shape"), KINDS, ids=[name for name, _, _ in KINDS])
def test_a_lazy_layer_becomes_the_one_that_is_given_its_size(
    name: str, args: tuple[Any, ...], shape: tuple[int, ...]
) -> None:
    lazy = getattr(nn, f"Lazy{name}")(*args)
    given = plain(name, args, 2 if name == "Linear" and len(shape) == 2 else shape[-1 if name == "Linear" else 1])
    assert isinstance(lazy, type(given))
    assert lazy.has_uninitialized_params()
    assert [n for n, _ in lazy.all_stored()] == [n for n, _ in given.all_stored()]
    x = RNG.standard_normal(shape).astype("float32")

    def loss(model: nn.Module, x: Any) -> Any:
        return (model(x) ** 2).mean()

    plans = [gl.plan_step(model, loss, gl.optim.SGD(0.1), gl.spec(shape)) for model in (lazy, given)]
    assert type(lazy) is type(given)
    assert repr(lazy) == repr(given)
    assert plans[0].report.total_bytes == plans[1].report.total_bytes
    ours, theirs = lazy.state_dict(seed=3), given.state_dict(seed=3)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)
    values = [nn.functional_call(model, theirs, x) for model in (lazy, given)]
    np.testing.assert_array_equal(*values)


class Model(nn.Module):
    def __init__(self) -> None:
        self.inside = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten())
        self.out = nn.LazyLinear(2)
        self.scale = nn.Parameter(np.ones(2, "float32"))

    def forward(self, x: Any) -> Any:
        return self.out(self.inside(x)) * self.scale


def test_a_step_finds_the_shapes_from_its_batch() -> None:
    model, x = Model().to("float64"), RNG.standard_normal((5, 3, 6, 7))
    assert "LazyConv2d(0, 4, kernel_size=(3, 3), stride=(1, 1))" in repr(model)
    assert model.out.bias is not None
    nn.init.ones_(model.out.bias)
    step = gl.compile_step(model, lambda m, b: (m(b) ** 2).mean(), gl.optim.Adam(0.01), x)
    losses = [step(x) for _ in range(3)]
    assert losses[2] < losses[0]
    assert step.parameters()["inside.0.weight"].shape == (4, 3, 3, 3)
    assert step.parameters()["out.weight"].dtype == np.float64
    np.testing.assert_array_equal(model.state_dict(seed=0)["out.bias"], 1)
    assert "Lazy" not in repr(model)


def test_a_state_dict_gives_the_shapes() -> None:
    first, second = Model(), Model()
    x = RNG.standard_normal((5, 3, 6, 7)).astype("float32")
    gl.plan_step(first, lambda m, b: m(b).mean(), gl.optim.SGD(0.1), x)
    values = first.state_dict(seed=1)
    assert second.load_state_dict(values) == ([], [])
    np.testing.assert_array_equal(second.state_dict()["out.weight"], values["out.weight"])
    expected = nn.functional_call(first, values, x)
    np.testing.assert_array_equal(nn.functional_call(second, values, x), expected)


def test_what_has_no_shape_yet_says_where_it_comes_from() -> None:
    model = Model()
    with pytest.raises(TypeError, match=r"LazyConv2d\.weight has no shape yet.*compile_step.*at \S*test_lazy\.py"):
        model.state_dict()
    with pytest.raises(TypeError, match="the loss does not call its layer"):
        gl.plan_step(model, lambda m, b: (m.scale * b).mean(), gl.optim.SGD(0.1), gl.spec((3, 2), "float64"))
    with pytest.raises(gl.ShapeError, match=r"LazyConv1d takes in_channels from axis -2 of its input, .*\(3,\)"):
        gl.plan_step(nn.LazyConv1d(2, 1), lambda m, b: m(b).mean(), gl.optim.SGD(0.1), gl.spec((3,)))


@pytest.mark.peers
def test_names_of_what_is_stored_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    for name, args, shape in KINDS:
        theirs = getattr(torch.nn, f"Lazy{name}")(*args)
        ours = getattr(nn, f"Lazy{name}")(*args)
        names = [*dict(theirs.named_parameters()), *dict(theirs.named_buffers())]
        assert sorted(n for n, _ in ours.all_stored()) == sorted(names)
        theirs(torch.ones(shape))
        ours.load_state_dict(theirs.state_dict())


@pytest.mark.peers
def test_defaults_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    for name in [n for n in dir(torch.nn) if n.startswith("Lazy")]:
        theirs = inspect.signature(getattr(torch.nn, name)).parameters
        for argument, parameter in inspect.signature(getattr(nn, name)).parameters.items():
            if argument not in ("device", "dtype"):
                assert parameter.default == theirs[argument].default, (name, argument)
